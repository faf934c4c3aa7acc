# A lab on three machines, as the hosts of nix/templates/hosts: two with a Redis server and a Sentinel each, a third with a Sentinel,
# the writer and the monitoring. Imported by the tests; what a test is called, and its script, are its own. `./lab machines
# test` runs the same scripts on machines of Debian's packages (docs/machines.md).
{
  lib,
  project,
  self,
  ...
}:
let
  # In the network of all machines, with the last number that lab.toml gives it; the driver counts from 1 itself.
  placed = address: "192.168.1.${lib.last (lib.splitString "." address)}";
  addressed = map (node: node // { address = placed node.address; });
  settings = project.settings // {
    monitoring = project.settings.monitoring // {
      address = placed project.settings.monitoring.address;
      writer_address = placed project.settings.monitoring.writer_address;
    };
    data_node = addressed project.settings.data_node;
    sentinel = addressed project.settings.sentinel;
    # With that rate ten batches a second, and little data: each start of a server reads all of it.
    writer = project.settings.writer // {
      batch = 20;
    };
    # Without KVM the machines share what one has otherwise: nothing healthy may be taken for down.
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
    ]
  );
  # Which machine has which node, and which part of the lab.
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
    ];
  };
  hosts = lib.concatMap (machine: map (part: ''"${part}": ${machine}'') placement.${machine}) (
    lib.attrNames placement
  );
  # What the panels of the shipped dashboards ask, with Grafana's variables as it would fill them in.
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
  # What every machine has that runs these parts of a lab.
  running = parts: {
    networking.interfaces.eth1.ipv4.addresses = map (part: {
      address = addressOf.${part};
      prefixLength = 24;
    }) parts;
  };
  # The settings of a machine with a server and a Sentinel; `cadvisor` is for a test of the monitoring.
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
  # A test's script, with what it finds before it: which machine has which node, the dashboards' queries, and lab.py.
  _module.args.scriptOf =
    file:
    "hosts = {${lib.concatStringsSep ", " hosts}}\n"
    + "DASHBOARD_QUERIES = ${builtins.toJSON queries}\n"
    # NixOS' firewall goes by port and interface: the lab's ports are open to all of eth1.
    + "CLOSED_TO_STRANGERS: list[str] = []\n"
    + builtins.readFile ./lab.py
    + builtins.readFile file;

  # Longer than any step may take with all of them failing one after the other; a hang ends here.
  globalTimeout = 3600;

  defaults =
    { config, pkgs, ... }:
    let
      cfg = config.services.redis-ha-lab;
      # Of a test, and so for everyone to read; on real hosts they never are in the Nix store. Certificates end a year
      # after this was built.
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
        # The network of all; eth0 is the driver's.
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
        };
        environment.systemPackages = [
          pkgs.jq
          pkgs.redis
        ];
      };
  };
}
