# services.redis-ha-lab.web: the lab in a browser (docs/web.md).
{ config, lib, ... }:
let
  inherit (lib) mkEnableOption mkOption types;
  cfg = config.services.redis-ha-lab;
  role = cfg.web;
  topology = import ../lib/topology.nix cfg.settings;
  ports = import ./lib/ports.nix { inherit config lib; };
  units = import ./lib/units.nix { inherit config lib; };
in
{
  options.services.redis-ha-lab.web = ports.options "the page" // {
    enable = mkEnableOption "the lab in a browser, on the host with the address of `settings.monitoring`";

    write = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the page writes records of its own, 50 a second, and reads them back. They are
        removed once they were read back.
      '';
    };
  };

  config = lib.mkIf role.enable {
    assertions = [
      {
        assertion = topology.monitoring != null;
        message = "services.redis-ha-lab.web needs the table `monitoring` in `settings`: its address and port";
      }
    ];
    networking.firewall = ports.firewall role (
      lib.optional (topology.monitoring != null) topology.monitoring.web_port
    );
    systemd.services.halab-web = units.web { flags = lib.optional (!role.write) "--no-write"; };
  };
}
