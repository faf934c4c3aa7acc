# services.redis-ha-lab.monitoring: Prometheus and Grafana for the lab, by the modules of NixOS,
# with the rules and dashboards of prometheus/ and grafana/, and redis_exporter.
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

  stateOfKey = "redis-ha-lab/grafana";
  keyFile =
    if role.grafanaSecretKeyFile != null then
      role.grafanaSecretKeyFile
    else
      "/var/lib/${stateOfKey}/secret-key";
  online = {
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
  };
in
{
  options.services.redis-ha-lab.monitoring = ports.options "Prometheus and Grafana" // {
    enable = mkEnableOption ''
      Prometheus, redis_exporter and Grafana for the lab on this host, which has the address
      `settings.monitoring.address`'';

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

    grafanaSecretKeyFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/keys/grafana";
      description = ''
        File with the key with which Grafana encrypts secrets in its database. systemd reads it
        (LoadCredential), so only root needs access. `null`: the first start makes one in
        /var/lib/${stateOfKey}.
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

      services.prometheus = {
        enable = true;
        listenAddress = where.address;
        port = where.prometheus_port;
        # One second is short for Prometheus and long for a failover.
        globalConfig = {
          scrape_interval = "1s";
          scrape_timeout = "900ms";
          evaluation_interval = "1s";
        };
        retentionTime = "${toString where.prometheus_retention_days}d";
        extraFlags = [ "--storage.tsdb.retention.size=${toString where.prometheus_retention_mib}MB" ];
        # promtool checks the configuration when the system is built.
        checkConfig = true;
        ruleFiles = lib.filesystem.listFilesRecursive ../../prometheus/rules;
        scrapeConfigs = import ../lib/scraping.nix {
          inherit (cfg) settings;
          inherit (role) cadvisors;
        };
      };

      services.grafana = {
        enable = true;
        settings = {
          server = {
            http_addr = where.address;
            http_port = where.grafana_port;
          };
          # Everyone who reaches Grafana may view; nobody may change anything, so there is no
          # password.
          "auth.anonymous" = {
            enabled = true;
            org_role = "Viewer";
          };
          "auth.basic".enabled = false;
          auth.disable_login_form = true;
          security = {
            disable_initial_admin_creation = true;
            secret_key = "$__file{/run/credentials/grafana.service/secret-key}";
          };
          # No outgoing connections.
          analytics = {
            reporting_enabled = false;
            check_for_updates = false;
            check_for_plugin_updates = false;
          };
          news.news_feed_enabled = false;
          log.level = "warn";
          dashboards.default_home_dashboard_path = "${../../grafana/dashboards}/ha-overview.json";
        };
        provision = {
          enable = true;
          # The same files as in the processes lane; they use the environment variables set below.
          datasources.path = ../../grafana/provisioning/datasources/datasource.yml;
          dashboards.path = ../../grafana/provisioning/dashboards/dashboards.yml;
        };
      };

      systemd.services = {
        prometheus = online;
        halab-redis-exporter = lib.mkMerge [
          units.redisExporter
          { path = [ pkgs.prometheus-redis-exporter ]; }
        ];
        grafana = lib.mkMerge [
          online
          {
            environment = {
              HALAB_PROMETHEUS_URL = "http://${where.address}:${toString where.prometheus_port}";
              HALAB_DASHBOARDS = "${../../grafana/dashboards}";
            };
            serviceConfig.LoadCredential = [ "secret-key:${keyFile}" ];
          }
        ];
        halab-grafana-key = lib.mkIf (role.grafanaSecretKeyFile == null) units.grafanaKeyMaker;
      };
    })
  ];
}
