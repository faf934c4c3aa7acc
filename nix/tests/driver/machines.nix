# A lab of machines: each node of the shipped lab.toml on a machine of its own that is called as the node, one for
# the writer, one for the monitoring. Imported by the tests; what a test is called, and its script, are its own.
{
  config,
  lib,
  project,
  self,
  ...
}:
let
  # The driver gives each machine an address in the network of all; the lab takes these.
  addressed = map (node: node // { address = addressOf node.name; });
  addressOf = name: config.nodes.${name}.networking.primaryIPAddress;
  settings = project.settings // {
    monitoring = project.settings.monitoring // {
      address = addressOf "monitoring";
      writer_address = addressOf "writer";
    };
    data_node = addressed project.settings.data_node;
    sentinel = addressed project.settings.sentinel;
    # Without KVM seven machines share what one has otherwise: nothing healthy may be taken for down.
    timing = {
      down_after_ms = 10000;
      failover_timeout_ms = 10000;
      hang_timeout_ms = 5000;
    };
  };
  # Not the driver's own list of machines: it may hold others than virtual ones, which can't crash.
  pythonName = lib.replaceStrings [ "-" ] [ "_" ];
  named = map pythonName (map (node: node.name) project.topology.nodes);
  # A node's own host, and what its unit uses told by a cAdvisor there.
  host =
    role:
    { config, ... }:
    {
      services.redis-ha-lab = {
        ${role}.enable = true;
        cadvisor = {
          enable = true;
          listenAddress = config.networking.primaryIPAddress;
        };
      };
    };
in
{
  # A test's script, with what it finds before it: the machines of the nodes, and lab.py.
  _module.args.scriptOf =
    file:
    "nodes = [${lib.concatStringsSep ", " named}]\n"
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
        memorySize = 512;
      };
    };

  nodes =
    lib.genAttrs project.topology.dataNodeNames (_: host "dataNode")
    // lib.genAttrs project.topology.sentinelNames (_: host "sentinel")
    // {
      writer =
        { pkgs, ... }:
        {
          services.redis-ha-lab.writer = {
            enable = true;
            rate = 1000;
          };
          environment.systemPackages = [
            pkgs.jq
            pkgs.redis
          ];
        };
      monitoring = {
        services.redis-ha-lab.monitoring = {
          enable = true;
          cadvisors = map (
            node: "${addressOf node.name}:${toString project.topology.monitoring.cadvisor_port}"
          ) project.topology.nodes;
        };
        virtualisation.memorySize = lib.mkForce 1536;
      };
    };
}
