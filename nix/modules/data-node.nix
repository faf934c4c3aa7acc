# services.redis-ha-lab.dataNode: Redis servers, primary or replica as the Sentinels say.
{ config, lib, ... }:
let
  cfg = config.services.redis-ha-lab;
  role = cfg.dataNode;
  node = import ./lib/node.nix { inherit config lib; };
  unitOf = name: "${name}.service";
  # With several on one host, each stops before the one it comes after: the primary must not hand over to a node
  # that is going as well, and the Sentinels must still be there.
  before = name: lib.take (lib.lists.findFirstIndex (n: n == name) 0 role.names) role.names;
  sentinelsHere = lib.optionals cfg.sentinel.enable cfg.sentinel.names;
in
{
  options.services.redis-ha-lab.dataNode = node.options "Redis data nodes" "redis-a";

  config = lib.mkIf role.enable {
    assertions = node.assertions "dataNode" "data" role;
    networking.firewall = node.firewall role;

    # Redis forks to rewrite its append-only file. The copy shares its memory, which the kernel would otherwise
    # refuse to promise twice.
    boot.kernel.sysctl."vm.overcommit_memory" = lib.mkDefault 1;

    systemd.services = lib.genAttrs (node.known role) (
      name:
      node.unit name {
        description = "Redis data node";
        after = map unitOf (sentinelsHere ++ before name);
        serviceConfig = {
          # Only after an end that nobody decided (a signal to `halab node` itself): whether the server may come
          # back is decided there, with the Sentinels' answers. A node that has given up stays down.
          Restart = "on-abnormal";
          RestartSec = "1s";
          # Long enough for a handover: the other node promoted, and all Sentinels agreed.
          TimeoutStopSec = "45s";
        };
      }
    );
  };
}
