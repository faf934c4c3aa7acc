# What the systemd units of a lab say, on NixOS (nix/modules) and on any other host (units-shipped.nix). A unit is a value as
# systemd.services has them. Pure, and without nixpkgs.
#
# Nodes are instances, and the name of the instance is that of the node: halab-data-node@redis-a. Everything that differs
# between two nodes of a kind follows from it, by systemd's %i.
{
  # The program halab.
  program,
  # lab.toml on the host, and the folder with the passwords and certificates.
  config,
  secrets,
  # The table [security] of lab.toml; null: each host's own, read when a unit starts.
  security ? null,
  # Added to the environment of every unit, and of nodes alone.
  everywhere ? { },
  ofNodes ? { },
  # Units that make the secrets on this host, and so come first.
  makers ? [ ],
}:
let
  hardening = import ./hardening.nix;
  credentials = import ./credentials.nix {
    inherit security;
    folder = secrets;
  };
  state = "redis-ha-lab";

  serviceOf =
    {
      # What it is given of them: forClient or forNode.
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
          # Without the slice that systemd has for instances: cAdvisor and what asks it know a node by its cgroup.
          Slice = "system.slice";
          # The signal to stop goes to `halab node` alone, which ends its server after what has to come before.
          KillMode = "mixed";
          # A server that the kernel has killed for its memory: what follows is its parent's decision.
          OOMPolicy = "continue";
          LimitNOFILE = 65536;
        }
        // unit.serviceConfig;
      }
    );

  # To list the open files of other users' processes, and to tell which of them are sockets.
  inspecting = [
    "CAP_DAC_READ_SEARCH"
    "CAP_SYS_PTRACE"
  ];

  # A program of the monitoring: `halab monitor` makes its files anew at each start, and becomes it.
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
  # One that keeps nothing.
  passing =
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
  # One that keeps what it gathers.
  keeping =
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

  # Run by root, once, and left as done: what it makes is for other units.
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

  # The unit of a node, by its kind.
  names = {
    data = name: "halab-data-node@${name}";
    sentinel = name: "halab-sentinel@${name}";
  };

  # Started with the first Sentinel of a host, and stopped only after the data nodes: theirs is the last word on a handover.
  sentinelsTarget = {
    description = "Sentinels of this host";
    documentation = [ "man:halab-node(1)" ];
  };

  dataNode = node {
    description = "Redis data node %i";
    after = [ "halab-sentinels.target" ];
    serviceConfig = {
      # Only after an end that nobody decided (a signal to `halab node` itself): whether the server may come back is
      # decided there, with the Sentinels' answers. A node that has given up stays down.
      Restart = "on-abnormal";
      RestartSec = "1s";
      # Long enough for a handover: the other node promoted, and all Sentinels agreed.
      TimeoutStopSec = "45s";
    };
  };

  sentinel = node {
    description = "Sentinel %i";
    wants = [ "halab-sentinels.target" ];
    before = [ "halab-sentinels.target" ];
    serviceConfig = {
      # A Sentinel holds no data, and its file knows who is primary: it may always come back.
      Restart = "always";
      RestartSec = "1s";
      TimeoutStopSec = "15s";
    };
  };

  writer =
    # What is added to the command, as words that systemd needs no quotes for.
    { flags }:
    serviceOf {
      description = "Writer of the lab";
      documentation = [ "man:halab-write(1)" ];
      secrets = credentials.forClient [ "writer" ];
      serviceConfig = {
        # A ledger of an earlier start is continued: what it left unknown is sent again.
        ExecStart = "${program} write --continue --ledger /var/lib/${state}/writer/writer.ledger ${toString flags}";
        StateDirectory = "${state}/writer";
        StateDirectoryMode = "0700";
        # It gives up after a minute without an acknowledged record; what was unknown then is sent again.
        Restart = "on-failure";
        RestartSec = "1s";
        TimeoutStopSec = "15s";
        # It was stopped while records were unknown, as in a failover: no failure, the next start sends them again.
        SuccessExitStatus = 3;
      };
    };

  redisExporter = passing {
    description = "redis_exporter of the lab";
    service = "redis-exporter";
    secrets = credentials.forClient [ "exporter" ];
  };

  # It reads the kernel's cgroups, and of other users' processes the open files and which of them are sockets.
  cadvisor = passing {
    description = "cAdvisor of the lab's units on this host";
    service = "cadvisor";
    serviceConfig = {
      # It looks at processes that are not its own.
      PrivateUsers = false;
      ProtectProc = "default";
      ProcSubset = "all";
      AmbientCapabilities = inspecting;
      CapabilityBoundingSet = inspecting;
    };
  };

  # Of hosts without NixOS, which has modules of its own for both.
  prometheus = keeping {
    description = "Prometheus of the lab";
    service = "prometheus";
    # Whatever runs on other hosts.
    environment.HALAB_MONITOR_ALL = "true";
  };
  grafana = keeping {
    description = "Grafana of the lab";
    service = "grafana";
    serviceConfig = {
      # It talks to its plugins by sockets of files, and they may compile at run time.
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

  grafanaKeyMaker = maker {
    description = "Makes Grafana's secret key at the first start";
    requiredBy = [ "grafana.service" ];
    before = [ "grafana.service" ];
    folder = "grafana";
    command = "secrets key /var/lib/${state}/grafana/secret-key";
  };
}
