# What the two kinds of node have in common: their options, and the unit that runs one by `halab node`.
{ config, lib }:
let
  inherit (lib) mkEnableOption mkOption types;
  cfg = config.services.redis-ha-lab;
  topology = import ../../lib/topology.nix cfg.settings;
  ports = import ./ports.nix { inherit config lib; };
  credentials = import ./credentials.nix { inherit config lib; };
in
rec {
  inherit topology;

  options =
    what: example:
    {
      enable = mkEnableOption "${what} of the lab on this host";

      names = mkOption {
        type = types.nonEmptyListOf types.str;
        default = [ config.networking.hostName ];
        defaultText = lib.literalExpression "[ config.networking.hostName ]";
        example = [ example ];
        description = ''
          Which nodes of `settings` run here. One a host, or the loss of this host is the loss of several nodes; by
          default the one that is called as the host is.
        '';
      };
    }
    // ports.options "the nodes and of their metrics";

  # Their servers' ports, and that of their metrics.
  firewall =
    role:
    ports.firewall role (
      lib.unique (
        map (name: topology.byName.${name}.port) (known role)
        ++ lib.optional (topology.monitoring != null) topology.monitoring.node_port
      )
    );

  # Names that settings don't have are for the assertion below to report.
  known = role: lib.filter (name: topology.byName ? ${name}) role.names;

  assertions =
    path: kind: role:
    let
      ofKind = map (n: n.name) (lib.filter (n: n.kind == kind) topology.nodes);
    in
    map (name: {
      assertion = lib.elem name ofKind;
      message = ''
        services.redis-ha-lab.${path}.names has "${name}", which is none of this kind in settings: ${lib.concatStringsSep ", " ofKind}.
        Name one of these, or add "${name}" to settings; without `names` it is the host's name.
      '';
    }) role.names;

  unit =
    name:
    {
      description,
      after ? [ ],
      serviceConfig,
    }:
    {
      description = "${description} of the lab ${cfg.settings.lab.name}: ${name}";
      documentation = [ "man:halab-node(1)" ];
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ] ++ credentials.requires ++ after;
      inherit (credentials) requires;
      environment = {
        HALAB_CONFIG = cfg.configFile;
        HALAB_STATE = "/var/lib/redis-ha-lab";
        HALAB_REDIS_SERVER = lib.getExe' cfg.redisPackage "redis-server";
      }
      // lib.optionalAttrs (cfg.profile != null) { HALAB_PROFILE = cfg.profile; }
      // credentials.environment;
      serviceConfig = {
        ExecStart = "${lib.getExe cfg.package} node ${name}";
        StateDirectory = "redis-ha-lab/${name}";
        StateDirectoryMode = "0700";
        LoadCredential = credentials.forNode name;
        # The signal to stop goes to `halab node` alone, which ends its server after what has to come before.
        KillMode = "mixed";
        # A server that the kernel has killed for its memory: what follows is its parent's decision.
        OOMPolicy = "continue";
        LimitNOFILE = 65536;
      }
      // import ./hardening.nix
      // serviceConfig;
    };
}
