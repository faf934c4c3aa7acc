# services.redis-ha-lab.monitoring: Prometheus, redis_exporter and Grafana for the lab, by NixOS' own modules, with
# the rules and dashboards of prometheus/ and grafana/; and .cadvisor, on each host that runs nodes.
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
  # Where `settings` say nothing, an assertion below does.
  where =
    if topology.monitoring == null then
      (import ../lib/topology.nix { monitoring.address = "127.0.0.1"; }).monitoring
    else
      topology.monitoring;
  ports = import ./lib/ports.nix { inherit config lib; };
  credentials = import ./lib/credentials.nix { inherit config lib; };
  hardening = import ./lib/hardening.nix;
  exporterPasswords = "/run/redis-ha-lab-exporter/passwords.json";
  scheme = if credentials.tls then "rediss" else "redis";

  stateOfKey = "redis-ha-lab/grafana";
  keyFile =
    if role.grafanaSecretKeyFile != null then
      role.grafanaSecretKeyFile
    else
      "/var/lib/${stateOfKey}/secret-key";
  # To list the open files of other users' processes, and to tell which of them are sockets.
  inspecting = [
    "CAP_DAC_READ_SEARCH"
    "CAP_SYS_PTRACE"
  ];
  online = {
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
  };
in
{
  options.services.redis-ha-lab.monitoring = ports.options "Prometheus and Grafana" // {
    enable = mkEnableOption "Prometheus, redis_exporter and Grafana for the lab on this host, the one with the address `settings.monitoring.address`";

    cadvisors = mkOption {
      type = types.listOf types.str;
      default = lib.optional cfg.cadvisor.enable "${cfg.cadvisor.listenAddress}:${toString where.cadvisor_port}";
      defaultText = lib.literalMD "the one of this host, if there is one";
      example = [
        "192.0.2.11:8080"
        "192.0.2.12:8080"
      ];
      description = "Where the cAdvisors of the lab's hosts are asked for what each node's unit uses.";
    };

    grafanaSecretKeyFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/keys/grafana";
      description = ''
        File with the key by which Grafana encrypts secrets in its database; read by systemd (LoadCredential), so
        root alone needs to read it. `null`: one is made at the first start, in /var/lib/${stateOfKey}.
      '';
    };
  };

  options.services.redis-ha-lab.cadvisor = {
    enable = mkEnableOption "cAdvisor on this host, for what each node's unit uses";

    listenAddress = mkOption {
      type = types.str;
      default = if role.enable then where.address else "127.0.0.1";
      defaultText = lib.literalMD "`settings.monitoring.address` where `monitoring` is enabled, else 127.0.0.1";
      example = "192.0.2.11";
      description = "The address that Prometheus reaches it at; its port is `settings.monitoring.cadvisor_port`.";
    };
  }
  // ports.options "cAdvisor";

  config = lib.mkMerge [
    (lib.mkIf (role.enable || cfg.cadvisor.enable) {
      assertions = [
        {
          assertion = topology.monitoring != null;
          message = ''
            services.redis-ha-lab: settings say nothing of monitoring. Add its addresses:
            settings.monitoring = { address = "..."; writer_address = "..."; } (docs/configuration.md has every key).
          '';
        }
      ];
    })

    (lib.mkIf cfg.cadvisor.enable {
      networking.firewall = ports.firewall cfg.cadvisor [ where.cadvisor_port ];
      services.cadvisor = {
        enable = true;
        inherit (cfg.cadvisor) listenAddress;
        port = where.cadvisor_port;
        extraOptions = [
          "-docker_only"
          "-raw_cgroup_prefix_whitelist=/system.slice"
          "-housekeeping_interval=1s"
          "-disable_metrics=percpu,disk,diskIO"
        ];
      };
      # NixOS runs it as root, with all that root may. It reads: cgroups, which everybody may, and the open files and
      # sockets of other users' processes, for which it has two capabilities. docs/nix.md has what that leaves open.
      systemd.services.cadvisor = online // {
        serviceConfig =
          removeAttrs hardening [
            # It looks at processes that are not its own.
            "PrivateUsers"
            "ProtectProc"
          ]
          // {
            AmbientCapabilities = inspecting;
            CapabilityBoundingSet = inspecting;
          };
      };
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
        # A second is short for Prometheus, and long for a failover.
        globalConfig = {
          scrape_interval = "1s";
          scrape_timeout = "900ms";
          evaluation_interval = "1s";
        };
        retentionTime = "2d";
        extraFlags = [ "--storage.tsdb.retention.size=512MB" ];
        # promtool judges all of it when the system is built.
        checkConfig = true;
        ruleFiles = lib.filesystem.listFilesRecursive ../../prometheus/rules;
        scrapeConfigs = import ../lib/scraping.nix {
          inherit (cfg) settings;
          inherit (role) cadvisors;
        };
        exporters.redis = {
          enable = true;
          listenAddress = where.address;
          port = where.redis_exporter_port;
          extraFlags = [
            # No target of its own: each scrape names one. A node that hangs may not hold up a scrape.
            "-redis.addr="
            "-connection-timeout=800ms"
            # CONFIG GET shows passwords, so its user may not; nothing here shows what else it says.
            "-config-command=-"
          ]
          ++ lib.optionals credentials.acl [
            "-redis.user=exporter"
            "-redis.password-file=${exporterPasswords}"
          ]
          # systemd's name for the folder of a unit's credentials.
          ++ lib.optional credentials.tls "-tls-ca-cert-file=%d/${credentials.ca}"
          # Key and certificate are one file.
          ++ lib.optionals credentials.mutual [
            "-tls-client-cert-file=%d/${credentials.client}"
            "-tls-client-key-file=%d/${credentials.client}"
          ];
        };
      };

      services.grafana = {
        enable = true;
        settings = {
          server = {
            http_addr = where.address;
            http_port = where.grafana_port;
          };
          # Everyone who reaches it may look; nobody may change anything, so there is no password to protect.
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
          # It calls no one.
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
          # The very files of the processes lane; both read their environment, set below.
          datasources.path = ../../grafana/provisioning/datasources/datasource.yml;
          dashboards.path = ../../grafana/provisioning/dashboards/dashboards.yml;
        };
      };

      systemd.services = {
        prometheus = online;
        prometheus-redis-exporter = lib.mkMerge [
          online
          {
            # What NixOS leaves it and it does not need: it asks nodes and is asked by Prometheus, over IPv4. By force, since what
            # NixOS says of these itself differs from release to release.
            serviceConfig = lib.mapAttrs (_: lib.mkForce) {
              inherit (hardening)
                DevicePolicy
                KeyringMode
                LimitCORE
                PrivateMounts
                PrivateUsers
                ProtectProc
                RestrictAddressFamilies
                SystemCallErrorNumber
                SystemCallFilter
                ;
              ProcSubset = "pid";
            };
          }
          (lib.mkIf credentials.used {
            inherit (credentials) requires;
            after = credentials.requires;
            serviceConfig.LoadCredential = credentials.forClient [ "exporter" ];
          })
          (lib.mkIf credentials.acl {
            # It wants the password once for each node that it may be asked for.
            preStart = ''
              umask 077
              password=$(cat "$CREDENTIALS_DIRECTORY/exporter")
              {
                printf '{"": ""'
                for node in ${
                  lib.escapeShellArgs (map (node: "${node.address}:${toString node.port}") topology.nodes)
                }; do
                  printf ', "${scheme}://exporter@%s": "%s"' "$node" "$password"
                done
                printf '}'
              } >${exporterPasswords}
            '';
            serviceConfig = {
              RuntimeDirectory = "redis-ha-lab-exporter";
              RuntimeDirectoryMode = "0700";
            };
          })
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
        redis-ha-lab-grafana-key = lib.mkIf (role.grafanaSecretKeyFile == null) {
          description = "Makes Grafana's secret key at the first start";
          requiredBy = [ "grafana.service" ];
          before = [ "grafana.service" ];
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            StateDirectory = stateOfKey;
            StateDirectoryMode = "0700";
            ExecStart = lib.getExe (
              pkgs.writeShellApplication {
                name = "redis-ha-lab-grafana-key";
                runtimeInputs = [ pkgs.coreutils ];
                text = ''
                  [ ! -s ${keyFile} ] || exit 0
                  head -c 32 /dev/urandom | base64 >${keyFile}.new
                  mv ${keyFile}.new ${keyFile}
                '';
              }
            );
          }
          // removeAttrs hardening [ "DynamicUser" ]
          // {
            RestrictAddressFamilies = "none";
            PrivateNetwork = true;
          };
        };
      };
    })
  ];
}
