# services.redis-ha-lab.sentinel: Sentinels, which elect the primary.
{ config, lib, ... }:
let
  cfg = config.services.redis-ha-lab;
  role = cfg.sentinel;
  node = import ./lib/node.nix { inherit config lib; };
  units = import ./lib/units.nix { inherit config lib; };
in
{
  options.services.redis-ha-lab.sentinel = node.options "Sentinels" "sentinel-1";

  config = lib.mkIf role.enable {
    assertions = node.assertions "sentinel" "sentinel" role;
    networking.firewall = node.firewall role;

    systemd.targets.halab-sentinels = units.sentinelsTarget;
    systemd.services = lib.listToAttrs (
      map (name: {
        name = units.names.sentinel name;
        value = units.sentinel;
      }) (node.known role)
    );
  };
}
