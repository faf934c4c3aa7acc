# services.redis-ha-lab.sentinel: Sentinels, which decide together who is primary.
{ config, lib, ... }:
let
  cfg = config.services.redis-ha-lab;
  role = cfg.sentinel;
  node = import ./lib/node.nix { inherit config lib; };
in
{
  options.services.redis-ha-lab.sentinel = node.options "Sentinels" "sentinel-1";

  config = lib.mkIf role.enable {
    assertions = node.assertions "sentinel" "sentinel" role;
    networking.firewall = node.firewall role;

    systemd.services = lib.genAttrs (node.known role) (
      name:
      node.unit name {
        description = "Sentinel";
        serviceConfig = {
          # A Sentinel holds no data, and its file knows who is primary: it may always come back.
          Restart = "always";
          RestartSec = "1s";
          TimeoutStopSec = "15s";
        };
      }
    );
  };
}
