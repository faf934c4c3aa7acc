# services.redis-ha-lab.proxy: one address for any Redis client (docs/proxy.md).
{ config, lib, ... }:
let
  inherit (lib) mkEnableOption mkOption types;
  cfg = config.services.redis-ha-lab;
  role = cfg.proxy;
  topology = import ../lib/topology.nix cfg.settings;
  ports = import ./lib/ports.nix { inherit config lib; };
  units = import ./lib/units.nix { inherit config lib; };
in
{
  options.services.redis-ha-lab.proxy = ports.options "the proxy and of its metrics" // {
    enable = mkEnableOption "the proxy of the lab on this host, for any Redis client";

    address = mkOption {
      type = types.nullOr (types.strMatching "[0-9.]+");
      default = null;
      example = "127.0.0.1";
      description = ''
        The address on this host at which the proxy listens; `null`: that of `settings.proxy`. Each
        of several proxies has an address of its own. With TLS, the lab's certificate of the proxy is
        for the address in `settings.proxy`.
      '';
    };
  };

  config = lib.mkIf role.enable {
    networking.firewall = ports.firewall role (
      [ topology.proxy.port ] ++ lib.optional (topology.monitoring != null) topology.monitoring.proxy_port
    );
    systemd.services.halab-proxy = units.proxy {
      flags = lib.optionals (role.address != null) [
        "--listen"
        role.address
      ];
    };
  };
}
