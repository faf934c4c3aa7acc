# The common parts of all roles: the lab's settings, checked when the system is built, and the
# programs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkOption
    mkPackageOption
    types
    ;
  cfg = config.services.redis-ha-lab;
  toml = pkgs.formats.toml { };
  topology = import ../lib/topology.nix cfg.settings;
  defaults = import ../lib/keys.nix;
  ports = import ./lib/ports.nix { inherit config lib; };

  node = defaults: {
    freeformType = toml.type;
    options = {
      name = mkOption {
        type = types.strMatching "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
        example = "redis-a";
        description = "The node's name in units, state folders, logs and metric labels.";
      };
      address = mkOption {
        type = types.strMatching "[0-9.]+";
        example = "192.0.2.11";
        description = ''
          The node's own IPv4 address. Its server listens at this address only, and its connections
          to other nodes come from it. Each node needs a different address.
        '';
      };
      port = mkOption {
        type = types.port;
        default = defaults.port;
        description = "The TCP port of its server.";
      };
    };
  };

  # Wrong settings fail the build, with the key and the remedy of each problem, not the start of a
  # node.
  checked =
    pkgs.runCommand "lab.toml"
      {
        nativeBuildInputs = [ cfg.package ];
        given = toml.generate "lab-unchecked.toml" cfg.settings;
        profile = lib.optionalString (cfg.profile != null) cfg.profile;
      }
      ''
        halab check-config --config $given ''${profile:+--profile "$profile"}
        cp $given $out
      '';

  used =
    cfg.dataNode.enable
    || cfg.sentinel.enable
    || cfg.writer.enable
    || cfg.proxy.enable
    || cfg.web.enable
    || cfg.monitoring.enable
    || cfg.cadvisor.enable;
  runHere =
    lib.optionals cfg.dataNode.enable cfg.dataNode.names
    ++ lib.optionals cfg.sentinel.enable cfg.sentinel.names;
  loopback = lib.filter (n: lib.hasPrefix "127." n.address) topology.nodes;
  elsewhere = lib.filter (n: !lib.elem n.name runHere) loopback;
in
{
  options.services.redis-ha-lab = ports.optionsOfLab // {
    package = mkOption {
      type = types.package;
      defaultText = lib.literalMD "`packages.halab` of this flake";
      description = "The package with the program `halab`.";
    };

    redisPackage = mkPackageOption pkgs "redis" {
      extraDescription = "Redis 7.0 or later, or Valkey 8; nodes run its `redis-server`.";
    };

    settings = mkOption {
      description = ''
        The content of `lab.toml`, the same on every host. [docs/configuration.md](configuration.md)
        explains each key. `halab check-config` checks the settings when the system is built.
      '';
      type = types.submodule {
        freeformType = toml.type;
        options = {
          lab = mkOption {
            description = "The lab as a whole.";
            type = types.submodule {
              freeformType = toml.type;
              options = {
                name = mkOption {
                  type = types.str;
                  example = "orders";
                  description = "The name of the lab, a label of metrics and reports.";
                };
                primary_name = mkOption {
                  type = types.str;
                  default = cfg.settings.lab.name;
                  defaultText = lib.literalExpression "settings.lab.name";
                  description = ''
                    The name under which the Sentinels monitor the primary. Sentinels with the same
                    name join the same lab, so each lab needs a different name.
                  '';
                };
                seed_primary = mkOption {
                  type = types.str;
                  default = lib.head topology.dataNodeNames;
                  defaultText = lib.literalMD "the first of `settings.data_node`";
                  description = ''
                    The data node that is primary at the first start of the lab; later the Sentinels
                    decide.
                  '';
                };
                quorum = mkOption {
                  type = types.ints.positive;
                  default = lib.length topology.sentinels / 2 + 1;
                  defaultText = lib.literalMD "a majority of `settings.sentinel`";
                  description = ''
                    The number of Sentinels that must agree that the primary is down: a majority or
                    more.
                  '';
                };
              };
            };
          };
          data_node = mkOption {
            type = types.nonEmptyListOf (types.submodule (node defaults.dataNode));
            description = "The Redis servers, two or more.";
          };
          sentinel = mkOption {
            type = types.nonEmptyListOf (types.submodule (node defaults.sentinel));
            description = "The Sentinels: an odd number, three or more.";
          };
        };
      };
    };

    profile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "fast";
      description = ''
        Use the time limits of this profile of `settings.profiles` instead of `settings.timing`.
      '';
    };

    configFile = mkOption {
      type = types.path;
      readOnly = true;
      description = "The checked `lab.toml`, for `halab --config`.";
    };
  };

  config = {
    services.redis-ha-lab.configFile = checked;

    # `halab status` on any host of the lab then uses this lab, and `halab restore` the state of
    # the units of this host.
    environment = lib.mkIf used {
      systemPackages = [ cfg.package ];
      etc."redis-ha-lab/lab.toml".source = cfg.configFile;
      variables = {
        HALAB_CONFIG = "/etc/redis-ha-lab/lab.toml";
        HALAB_STATE = "/var/lib/redis-ha-lab";
        HALAB_START_COMMAND = "systemctl start {unit}";
      }
      // lib.optionalAttrs (cfg.profile != null) { HALAB_PROFILE = cfg.profile; };
    };

    assertions = lib.optionals (cfg.dataNode.enable || cfg.sentinel.enable) [
      {
        assertion = loopback == [ ] || elsewhere == [ ];
        message = ''
          services.redis-ha-lab: ${
            lib.concatMapStringsSep ", " (n: "${n.name} (${n.address})") elsewhere
          } does not run on
          this host, and no other host reaches an address in 127.0.0.0/8. Give each node the address of its host in
          settings, or run all nodes here: add their names to dataNode.names or sentinel.names.
        '';
      }
      {
        assertion = lib.allUnique runHere;
        message = ''
          services.redis-ha-lab: a name occurs twice in dataNode.names or sentinel.names. Remove one of them.
        '';
      }
    ];
  };
}
