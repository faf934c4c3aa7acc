# services.redis-ha-lab.dataNode: Redis servers; the Sentinels decide which one is primary.
{ config, lib, ... }:
let
  cfg = config.services.redis-ha-lab;
  role = cfg.dataNode;
  node = import ./lib/node.nix { inherit config lib; };
  units = import ./lib/units.nix { inherit config lib; };
  # Several data nodes on one host stop one after the other, so that the primary does not hand over
  # to a node that is stopping too; the Sentinels stop last. They are ordered by unit names, not
  # only by the target of all Sentinels, because `nixos-rebuild switch` stops units individually.
  before = name: lib.take (lib.lists.findFirstIndex (n: n == name) 0 role.names) role.names;
  sentinelsHere = lib.optionals cfg.sentinel.enable cfg.sentinel.names;
in
{
  options.services.redis-ha-lab.dataNode = node.options "Redis data nodes" "redis-a";

  config = lib.mkIf role.enable {
    assertions = node.assertions "dataNode" "data" role;
    networking.firewall = node.firewall role;

    # Redis forks to rewrite its append-only file. The child shares its memory; by default the
    # kernel may refuse to commit it twice.
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
