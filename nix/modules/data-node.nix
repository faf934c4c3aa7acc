# services.redis-ha-lab.dataNode: Redis servers, primary or replica as the Sentinels say.
{ config, lib, ... }:
let
  cfg = config.services.redis-ha-lab;
  role = cfg.dataNode;
  node = import ./lib/node.nix { inherit config lib; };
  units = import ./lib/units.nix { inherit config lib; };
  # With several on one host, each stops before the one it comes after: the primary must not hand over to a node
  # that is going as well, and the Sentinels must still be there. By their names, and not only by the target of all Sentinels:
  # `nixos-rebuild switch` stops units alone.
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

    systemd.services = lib.listToAttrs (
      map (name: {
        name = units.names.data name;
        value = units.dataNode // {
          after =
            units.dataNode.after
            ++ map (n: "${units.names.sentinel n}.service") sentinelsHere
            ++ map (n: "${units.names.data n}.service") (before name);
        };
      }) (node.known role)
    );
  };
}
