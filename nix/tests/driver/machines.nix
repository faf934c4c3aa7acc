# A lab on three machines, as on the hosts of nix/templates/hosts: two with a Redis server and a
# Sentinel each, and one with a Sentinel, the writer, the proxy and the monitoring. The tests import
# it and add their name and script. `./lab machines test` runs the same scripts on machines of
# Debian packages (docs/machines.md).
{
  lib,
  project,
  self,
  ...
}:
let
  # An address in the network of the machines with the last number of lab.toml. The driver assigns
  # numbers from 1 to the machines.
  placed = address: "192.168.1.${lib.last (lib.splitString "." address)}";
  addressed = map (node: node // { address = placed node.address; });
  settings = project.settings // {
    monitoring = project.settings.monitoring // {
      address = placed project.settings.monitoring.address;
      writer_address = placed project.settings.monitoring.writer_address;
    };
    proxy = project.settings.proxy // {
      address = placed project.settings.proxy.address;
    };
    data_node = addressed project.settings.data_node;
    sentinel = addressed project.settings.sentinel;
    # Ten batches a second at the tests' rate, and little data: each start of a server reads all
    # data.
    writer = project.settings.writer // {
      batch = 20;
    };
    # For slow machines without KVM: a healthy node must not count as down.
    timing = {
      down_after_ms = 10000;
      failover_timeout_ms = 10000;
      hang_timeout_ms = 5000;
      raise_limit_ms = 2000;
    };
  };
  addressOf = lib.listToAttrs (
    map (node: lib.nameValuePair node.name node.address) (settings.data_node ++ settings.sentinel)
    ++ [
      (lib.nameValuePair "monitoring" settings.monitoring.address)
      (lib.nameValuePair "writer" settings.monitoring.writer_address)
      (lib.nameValuePair "proxy" settings.proxy.address)
    ]
  );
  # The nodes and other parts of the lab by machine.
  placement = {
    one = [
      "redis-a"
      "sentinel-1"
    ];
    two = [
      "redis-b"
      "sentinel-2"
    ];
    three = [
      "sentinel-3"
      "monitoring"
      "writer"
      "proxy"
    ];
  };
  hosts = lib.concatMap (machine: map (part: ''"${part}": ${machine}'') placement.${machine}) (
    lib.attrNames placement
  );
  # The queries of the shipped dashboards, with Grafana's variables filled in.
  queries =
    let
      dashboards = map (file: lib.importJSON file) (
        lib.filesystem.listFilesRecursive ../../../grafana/dashboards
      );
      ofPanel =
        panel:
        map (target: target.expr) (panel.targets or [ ]) ++ lib.concatMap ofPanel (panel.panels or [ ]);
    in
    map (lib.replaceStrings
      [
        "$lab"
        "$node"
        "$__rate_interval"
      ]
      [
        settings.lab.name
        ".*"
        "10s"
      ]
    ) (lib.concatMap (dashboard: lib.concatMap ofPanel dashboard.panels) dashboards);
  # Settings of every machine that runs these parts of a lab.
  running = parts: {
    networking.interfaces.eth1.ipv4.addresses = map (part: {
      address = addressOf.${part};
      prefixLength = 24;
    }) parts;
  };
  # Settings of a machine with a server and a Sentinel; only the test of the monitoring uses
  # cAdvisor.
  withServer =
    parts:
    lib.mkMerge [
      (running parts)
      {
        services.redis-ha-lab = {
          dataNode = {
            enable = true;
            names = lib.filter (lib.hasPrefix "redis-") parts;
          };
          sentinel = {
            enable = true;
            names = lib.filter (lib.hasPrefix "sentinel-") parts;
          };
          cadvisor.listenAddress = addressOf.${lib.head parts};
        };
      }
    ];
in
{
  # The whole script of a test: the machine of each node, the dashboards' queries, lab.py, and its
  # own script.
  _module.args.scriptOf =
    file:
    "hosts = {${lib.concatStringsSep ", " hosts}}\n"
    + "DASHBOARD_QUERIES = ${builtins.toJSON queries}\n"
    # The firewall of NixOS works by port and interface: the lab's ports are open to all of eth1.
    + "FIREWALLED_PORTS: list[str] = []\n"
    # What the test of the monitoring has beside Prometheus and redis_exporter, stated apart from
    # the module, so that a missing one fails the test.
    + "CADVISORS = 2\nGRAFANA = True\nPROXIES = 1\nNOT_EXPORTED: list[str] = []\n"
    + builtins.readFile ./lab.py
    + builtins.readFile file;

  # The limit of a test that hangs, longer than the sum of all steps' limits.
  globalTimeout = 3600;

  defaults =
    { config, pkgs, ... }:
    let
      cfg = config.services.redis-ha-lab;
      # Secrets of a test may be in the Nix store, which everyone can read; those of real hosts
      # never are. Certificates expire a year after this build.
      secrets = pkgs.runCommand "secrets-of-a-test" { nativeBuildInputs = [ cfg.package ]; } ''
        halab --config ${cfg.configFile} secrets make $out
      '';
    in
    {
      imports = [ self.nixosModules.default ];
      networking.hosts = lib.mapAttrs' (name: address: lib.nameValuePair address [ name ]) addressOf;
      services.redis-ha-lab = {
        inherit settings;
        secretsFolder = "/etc/redis-ha-lab/secrets";
        openFirewall = true;
        # The network of the machines; eth0 belongs to the driver.
        firewallInterfaces = [ "eth1" ];
      };
      environment.etc."redis-ha-lab/secrets".source = secrets;
      virtualisation = {
        cores = 1;
        memorySize = lib.mkDefault 512;
      };
    };

  nodes = {
    one = withServer placement.one;
    two = withServer placement.two;
    three =
      { pkgs, ... }:
      {
        imports = [ (running placement.three) ];
        services.redis-ha-lab = {
          sentinel = {
            enable = true;
            names = [ "sentinel-3" ];
          };
          writer = {
            enable = true;
            rate = 200;
          };
          proxy.enable = true;
        };
        environment.systemPackages = [
          pkgs.jq
          pkgs.redis
        ];
      };
  };
}
