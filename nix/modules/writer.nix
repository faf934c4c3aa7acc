# services.redis-ha-lab.writer: writes records through whoever is primary, and keeps the ledger of them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkEnableOption mkOption types;
  cfg = config.services.redis-ha-lab;
  role = cfg.writer;
  state = "redis-ha-lab/writer";
  topology = import ../lib/topology.nix cfg.settings;
  ports = import ./lib/ports.nix { inherit config lib; };
  credentials = import ./lib/credentials.nix { inherit config lib; };
  flags = [
    "--policy"
    role.policy
  ]
  ++ lib.optionals (role.rate != null) [
    "--rate"
    role.rate
  ]
  ++ (
    if role.count != null then
      [
        "--count"
        role.count
      ]
    else
      # For as long as a hundred years.
      [
        "--duration"
        "876000h"
      ]
  );
in
{
  options.services.redis-ha-lab.writer = ports.options "the writer's metrics" // {
    enable = mkEnableOption "the writer of the lab on this host";

    count = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      example = 1000;
      description = "Write so many records, and end; `null`: keep writing.";
    };

    rate = mkOption {
      type = types.nullOr types.ints.positive;
      default = 100;
      description = "Records a second at most; `null`: as fast as they are acknowledged.";
    };

    policy = mkOption {
      type = types.enum [
        "replicated"
        "available"
        "none"
      ];
      default = "available";
      description = ''
        What counts as acknowledged: `replicated`, every other data node has it; `available`, every node that could be
        promoted has it; `none`, the server's +OK, which loses data.
      '';
    };

    ledger = mkOption {
      type = types.path;
      default = "/var/lib/${state}/writer.ledger";
      readOnly = true;
      description = "Where the writer keeps what it sent and what was acknowledged, for `halab verify --ledger`.";
    };
  };

  config = lib.mkIf role.enable {
    networking.firewall = ports.firewall role (
      lib.optional (topology.monitoring != null) topology.monitoring.writer_port
    );
    systemd.services.redis-ha-lab-writer = {
      description = "Writer of the lab ${cfg.settings.lab.name}";
      documentation = [ "man:halab-write(1)" ];
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ] ++ credentials.requires;
      inherit (credentials) requires;
      environment = {
        HALAB_CONFIG = cfg.configFile;
      }
      // credentials.environment;
      serviceConfig = {
        ExecStart = lib.getExe (
          pkgs.writeShellApplication {
            name = "redis-ha-lab-writer";
            runtimeInputs = [ cfg.package ];
            # A ledger of an earlier start is gone on with: what it left unknown is sent again.
            text = ''
              resume=()
              [ ! -s ${role.ledger} ] || resume=(--resume)
              exec halab write --ledger ${role.ledger} "''${resume[@]}" ${lib.escapeShellArgs flags}
            '';
          }
        );
        StateDirectory = state;
        StateDirectoryMode = "0700";
        LoadCredential = credentials.forClient [ "writer" ];
        # It gives up after a minute without an acknowledged record; what was unknown then is sent again.
        Restart = "on-failure";
        RestartSec = "1s";
        TimeoutStopSec = "15s";
      }
      // import ./lib/hardening.nix;
    };
  };
}
