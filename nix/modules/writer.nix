# services.redis-ha-lab.writer: writes records to the primary and keeps their ledger.
{ config, lib, ... }:
let
  inherit (lib) mkEnableOption mkOption types;
  cfg = config.services.redis-ha-lab;
  role = cfg.writer;
  state = "redis-ha-lab/writer";
  topology = import ../lib/topology.nix cfg.settings;
  ports = import ./lib/ports.nix { inherit config lib; };
  units = import ./lib/units.nix { inherit config lib; };
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
      [ "--endless" ]
  );
in
{
  options.services.redis-ha-lab.writer = ports.options "the writer's metrics" // {
    enable = mkEnableOption "the writer of the lab on this host";

    count = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      example = 1000;
      description = "The number of records to write; `null`: write without end.";
    };

    rate = mkOption {
      type = types.nullOr types.ints.positive;
      default = 100;
      description = "The maximum number of records a second; `null`: no limit.";
    };

    policy = mkOption {
      type = types.enum [
        "replicated"
        "available"
        "none"
      ];
      default = "available";
      description = ''
        When a write counts as acknowledged: `replicated`, every other data node has it;
        `available`, every node that could be promoted has it; `none`, the server answered +OK,
        which loses data.
      '';
    };

    ledger = mkOption {
      type = types.path;
      default = "/var/lib/${state}/writer.ledger";
      readOnly = true;
      description = ''
        The writer's file with the sent and the acknowledged records, for `halab verify --ledger`.
      '';
    };
  };

  config = lib.mkIf role.enable {
    networking.firewall = ports.firewall role (
      lib.optional (topology.monitoring != null) topology.monitoring.writer_port
    );
    systemd.services.halab-writer = units.writer { inherit flags; };
  };
}
