# The systemd units of a lab, on NixOS (nix/modules) and on other hosts (units-shipped.nix). A unit
# is a value of the form of systemd.services. Pure, without nixpkgs.
#
# Nodes are instances of templates, named after the node: halab-data-node@redis-a. All differences
# between two nodes of a kind follow from the name, by systemd's %i.
{
  # The program halab.
  program,
  # lab.toml on the host, and the folder with the passwords and certificates.
  config,
  secrets,
  # The table [security] of lab.toml; null: unknown, each host reads its own when a unit starts.
  security ? null,
  # The names of the applications of lab.toml, likewise.
  apps ? [ ],
  # Whether clients of the proxy connect by TLS, in a lab with TLS.
  proxyTls ? true,
  # Environment variables of every unit, and of nodes only.
  everywhere ? { },
  ofNodes ? { },
  # Units that make the secrets on this host; they start first.
  makers ? [ ],
}:
let
  hardening = import ./hardening.nix;
  credentials = import ./credentials.nix {
    inherit security apps proxyTls;
    folder = secrets;
  };
  state = "redis-ha-lab";

  serviceOf =
    {
      # Credentials of the unit: forClient or forNode.
      secrets ? null,
      wants ? [ ],
      after ? [ ],
      environment ? { },
      serviceConfig,
      ...
    }@unit:
    let
      given = secrets != null && credentials.used;
      requires = if given then makers else [ ];
    in
    removeAttrs unit [ "secrets" ]
    // {
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ] ++ wants;
      after = [ "network-online.target" ] ++ requires ++ after;
      inherit requires;
      environment = {
        HALAB_CONFIG = config;
      }
      // (if given then { HALAB_SECRETS = "%d"; } else { })
      // everywhere
      // environment;
      serviceConfig = hardening // (if secrets == null then { } else secrets) // serviceConfig;
    };

  node =
    unit:
    serviceOf (
      {
        documentation = [ "man:halab-node(1)" ];
        secrets = credentials.forNode "%i";
      }
      // unit
      // {
        environment = {
          HALAB_STATE = "/var/lib/${state}";
        }
        // ofNodes;
        serviceConfig = {
          ExecStart = "${program} node %i";
          StateDirectory = "${state}/%i";
          StateDirectoryMode = "0700";
          # Without systemd's slice for instances: the monitoring identifies a node by its cgroup.
          Slice = "system.slice";
          # Only `halab node` gets the stop signal; it stops its server after the handover.
          KillMode = "mixed";
          # If the kernel kills the server for its memory use, the supervisor decides how to
          # proceed.
          OOMPolicy = "continue";
          LimitNOFILE = 65536;
        }
        // unit.serviceConfig;
      }
    );

  # Needed to list the open files of other users' processes and to recognize sockets among them.
  inspecting = [
    "CAP_DAC_READ_SEARCH"
    "CAP_SYS_PTRACE"
  ];

  # A monitoring program: at each start `halab monitor` writes its files and then executes it.
  monitor =
    {
      service,
      environment,
      serviceConfig,
      ...
    }@unit:
    serviceOf (
      removeAttrs unit [ "service" ]
      // {
        documentation = [ "man:halab-monitor(1)" ];
        # Its address may be missing for longer than the default limit permits.
        startLimitIntervalSec = 0;
        inherit environment;
        serviceConfig = {
          ExecStart = "${program} monitor ${service}";
          ProcSubset = "pid";
          Restart = "on-failure";
          RestartSec = "1s";
        }
        // serviceConfig;
      }
    );
  # A monitoring program without persistent state.
  stateless =
    { service, ... }@unit:
    monitor (
      unit
      // {
        environment.HALAB_STATE = "/run/halab-${service}";
        serviceConfig = {
          RuntimeDirectory = "halab-${service}";
          RuntimeDirectoryMode = "0700";
        }
        // unit.serviceConfig or { };
      }
    );
  # A monitoring program with persistent state.
  stateful =
    { service, ... }@unit:
    monitor (
      unit
      // {
        environment = {
          HALAB_STATE = "/var/lib/${state}";
        }
        // unit.environment or { };
        serviceConfig = {
          StateDirectory = "${state}/monitoring/${service}";
          StateDirectoryMode = "0700";
        }
        // unit.serviceConfig or { };
      }
    );

  # A unit that runs once as root and makes files for other units.
  maker =
    { folder, command, ... }@unit:
    {
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        StateDirectory = "${state}/${folder}";
        StateDirectoryMode = "0700";
        ExecStart = "${program} ${command}";
      }
      // removeAttrs hardening [ "DynamicUser" ]
      // {
        RestrictAddressFamilies = "none";
        PrivateNetwork = true;
      };
    }
    // removeAttrs unit [
      "folder"
      "command"
    ];
in
{
  inherit (credentials) used;

  # The name of a node's unit, by kind.
  names = {
    data = name: "halab-data-node@${name}";
    sentinel = name: "halab-sentinel@${name}";
  };

  # Started with the first Sentinel of a host. It stops only after the data nodes, because a
  # handover needs the Sentinels.
  sentinelsTarget = {
    description = "Sentinels of this host";
    documentation = [ "man:halab-node(1)" ];
  };

  dataNode = node {
    description = "Redis data node %i";
    after = [ "halab-sentinels.target" ];
    serviceConfig = {
      # Only after an abnormal end of `halab node` (a signal). Otherwise the supervisor decides, by
      # the Sentinels' answers, whether the server may start again; a node that has given up stays
      # down.
      Restart = "on-abnormal";
      RestartSec = "1s";
      # Long enough for a handover: the other node is promoted and all Sentinels agree.
      TimeoutStopSec = "45s";
    };
  };

  sentinel = node {
    description = "Sentinel %i";
    wants = [ "halab-sentinels.target" ];
    before = [ "halab-sentinels.target" ];
    startLimitIntervalSec = 0;
    serviceConfig = {
      # A Sentinel has no data, and its file names the primary: it may always restart.
      Restart = "always";
      RestartSec = "1s";
      TimeoutStopSec = "15s";
    };
  };

  writer =
    # Flags of the command; words without characters that systemd would need quoted.
    { flags }:
    serviceOf {
      description = "Writer of the lab";
      documentation = [ "man:halab-write(1)" ];
      secrets = credentials.forClient [ "writer" ];
      startLimitIntervalSec = 0;
      serviceConfig = {
        # The ledger of an earlier start is continued: records with unknown outcome are sent again.
        ExecStart = "${program} write --continue --ledger /var/lib/${state}/writer/writer.ledger ${toString flags}";
        StateDirectory = "${state}/writer";
        StateDirectoryMode = "0700";
        # The writer gives up after a minute without an acknowledged record; the next start sends
        # records with unknown outcome again.
        Restart = "on-failure";
        RestartSec = "1s";
        TimeoutStopSec = "15s";
        # Stopped while the outcome of records was unknown, as during a failover: not a failure, the
        # next start sends them again.
        SuccessExitStatus = 3;
      };
    };

  proxy =
    # Flags of the command, as above.
    { flags }:
    serviceOf {
      description = "Proxy of the lab for any Redis client";
      documentation = [ "man:halab-proxy(1)" ];
      secrets = credentials.forProxy;
      # Its address may be missing for longer than the default limit permits.
      startLimitIntervalSec = 0;
      serviceConfig = {
        ExecStart = toString ([ "${program} proxy" ] ++ flags);
        # It has no state, so it may always restart.
        Restart = "always";
        RestartSec = "1s";
        # Commands that were sent are answered first.
        TimeoutStopSec = "15s";
        # Two for each client.
        LimitNOFILE = 65536;
      };
    };

  # The lab in a browser. On hosts it only looks: it is no part of the nodes' units.
  web =
    # Flags of the command, as above.
    { flags }:
    serviceOf {
      description = "The lab in a browser";
      documentation = [ "man:halab-web(1)" ];
      # It reads back what it has written.
      secrets = credentials.forClient [
        "verifier"
        "writer"
      ];
      # Its address may be missing for longer than the default limit permits.
      startLimitIntervalSec = 0;
      environment.HALAB_STATE = "/var/lib/${state}";
      serviceConfig = {
        ExecStart = toString ([ "${program} web --if-configured" ] ++ flags);
        StateDirectory = "${state}/web";
        StateDirectoryMode = "0700";
        Restart = "on-failure";
        RestartSec = "1s";
        TimeoutStopSec = "15s";
      };
    };

  redisExporter = stateless {
    description = "redis_exporter of the lab";
    service = "redis-exporter";
    secrets = credentials.forClient [ "exporter" ];
  };

  # It reads the kernel's cgroups and the open files and sockets of other users' processes.
  cadvisor = stateless {
    description = "cAdvisor of the lab's units on this host";
    service = "cadvisor";
    serviceConfig = {
      # It reads other users' processes.
      PrivateUsers = false;
      ProtectProc = "default";
      ProcSubset = "all";
      AmbientCapabilities = inspecting;
      CapabilityBoundingSet = inspecting;
    };
  };

  prometheus = stateful {
    description = "Prometheus of the lab";
    service = "prometheus";
    # Also services that run on other hosts.
    environment.HALAB_MONITOR_ALL = "true";
  };
  grafana = stateful {
    description = "Grafana of the lab";
    service = "grafana";
    serviceConfig = {
      # It talks to its plugins over Unix sockets, and plugins may compile at run time.
      RestrictAddressFamilies = [
        "AF_INET"
        "AF_UNIX"
      ];
      MemoryDenyWriteExecute = false;
    };
  };

  secretsMaker = maker {
    description = "Makes the passwords and certificates of the lab at the first start";
    folder = "secrets";
    command = "--config ${config} secrets make ${secrets}";
  };
}
