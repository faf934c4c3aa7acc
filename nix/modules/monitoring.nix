# services.redis-ha-lab.monitoring: Prometheus, Grafana and redis_exporter for the lab, with the
# configuration, rules and dashboards of `halab monitor`.
# services.redis-ha-lab.cadvisor is for each host with nodes.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkEnableOption mkOption types;
  cfg = config.services.redis-ha-lab;
  role = cfg.monitoring;
  topology = import ../lib/topology.nix cfg.settings;
  # Without addresses in `settings`, an assertion below fails.
  where =
    if topology.monitoring == null then
      (import ../lib/topology.nix { monitoring.address = "127.0.0.1"; }).monitoring
    else
      topology.monitoring;
  ports = import ./lib/ports.nix { inherit config lib; };
  units = import ./lib/units.nix { inherit config lib; };
in
{
  options.services.redis-ha-lab.monitoring = ports.options "Prometheus and Grafana" // {
    enable = mkEnableOption ''
      Prometheus, redis_exporter and Grafana for the lab on this host, which has the
      address `settings.monitoring.address`'';

    cadvisors = mkOption {
      type = types.listOf types.str;
      default = lib.optional cfg.cadvisor.enable "${cfg.cadvisor.listenAddress}:${toString where.cadvisor_port}";
      defaultText = lib.literalMD "that of this host, if enabled";
      example = [
        "192.0.2.11:8080"
        "192.0.2.12:8080"
      ];
      description = ''
        The addresses of the cAdvisors on the lab's hosts, for the resource usage of each node's
        unit.
      '';
    };
  };

  options.services.redis-ha-lab.cadvisor = {
    enable = mkEnableOption "cAdvisor on this host, for the resource usage of each node's unit";

    listenAddress = mkOption {
      type = types.str;
      default = if role.enable then where.address else "127.0.0.1";
      defaultText = lib.literalMD "`settings.monitoring.address` if `monitoring` is enabled, else 127.0.0.1";
      example = "192.0.2.11";
      description = ''
        The address at which Prometheus reaches cAdvisor; the port is
        `settings.monitoring.cadvisor_port`.
      '';
    };
  }
  // ports.options "cAdvisor";

  config = lib.mkMerge [
    (lib.mkIf (role.enable || cfg.cadvisor.enable) {
      assertions = [
        {
          assertion = topology.monitoring != null;
          message = ''
            services.redis-ha-lab: settings.monitoring is missing. Add its addresses:
            settings.monitoring = { address = "..."; writer_address = "..."; } (docs/configuration.md has every key).
          '';
        }
      ];
    })

    (lib.mkIf cfg.cadvisor.enable {
      networking.firewall = ports.firewall cfg.cadvisor [ where.cadvisor_port ];
      systemd.services.halab-cadvisor = lib.mkMerge [
        units.cadvisor
        {
          path = [ pkgs.cadvisor ];
          environment.HALAB_LISTEN = cfg.cadvisor.listenAddress;
        }
      ];
    })

    (lib.mkIf role.enable {
      networking.firewall = ports.firewall role [
        where.prometheus_port
        where.grafana_port
      ];

      systemd.services = {
        halab-prometheus = lib.mkMerge [
          units.prometheus
          {
            path = [ pkgs.prometheus ];
            environment.HALAB_CADVISORS =
              if role.cadvisors == [ ] then "none" else lib.concatStringsSep "," role.cadvisors;
          }
        ];
        halab-redis-exporter = lib.mkMerge [
          units.redisExporter
          { path = [ pkgs.prometheus-redis-exporter ]; }
        ];
        halab-grafana = lib.mkMerge [
          units.grafana
          { path = [ pkgs.grafana ]; }
        ];
      };
    })
  ];
}
