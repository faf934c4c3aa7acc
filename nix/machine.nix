# The machine of `nix run .#vm`: every part of the lab on one virtual machine, to try it out. The
# lab in a browser is at port 8000 of 127.0.0.1 of the host, Grafana at port 3000. Real hosts run
# one part each.
{
  config,
  lib,
  modulesPath,
  project,
  ...
}:
let
  inherit (project.topology) monitoring;
  shown = {
    grafana = monitoring.grafana_port;
    prometheus = monitoring.prometheus_port;
    web = monitoring.web_port;
  };
  # The machine's address in QEMU's user network.
  guest = "10.0.2.15";
in
{
  imports = [ "${modulesPath}/virtualisation/qemu-vm.nix" ];

  services.redis-ha-lab = {
    inherit (project) settings;
    dataNode = {
      enable = true;
      names = project.topology.dataNodeNames;
    };
    sentinel = {
      enable = true;
      names = project.topology.sentinelNames;
    };
    writer.enable = true;
    proxy.enable = true;
    web.enable = true;
    monitoring.enable = true;
    cadvisor.enable = true;
  };

  networking = {
    hostName = "lab";
    firewall.allowedTCPPorts = lib.attrValues shown;
  };

  # The page, Grafana and Prometheus at 127.0.0.1 of the host. QEMU forwards to the machine's
  # address above; proxies forward to the address of lab.toml, at which the services listen.
  virtualisation.forwardPorts = map (port: {
    from = "host";
    host = {
      address = "127.0.0.1";
      inherit port;
    };
    guest = {
      address = guest;
      inherit port;
    };
  }) (lib.attrValues shown);
  systemd.sockets = lib.mapAttrs' (
    name: port:
    lib.nameValuePair "shown-${name}" {
      wantedBy = [ "sockets.target" ];
      listenStreams = [ "${guest}:${toString port}" ];
      # The address comes later, by DHCP.
      socketConfig.FreeBind = true;
    }
  ) shown;
  systemd.services = lib.mapAttrs' (
    name: port:
    lib.nameValuePair "shown-${name}" {
      serviceConfig = {
        ExecStart = "${config.systemd.package}/lib/systemd/systemd-socket-proxyd ${monitoring.address}:${toString port}";
        DynamicUser = true;
      };
    }
  ) shown;
  # No password: the only access is the machine's console.
  users.users.root.initialHashedPassword = "";
  services.getty.autologinUser = "root";

  virtualisation = {
    graphics = false;
    cores = 2;
    memorySize = 2048;
    # The state is in lab.qcow2 in the folder of the start.
    diskSize = 4096;
  };

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
  system.stateVersion = "26.05";
}
