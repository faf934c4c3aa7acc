# The machine of `nix run .#vm`: every part of the lab on one host, for a look around. Real hosts run one part each.
{
  lib,
  modulesPath,
  project,
  ...
}:
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
    monitoring.enable = true;
    cadvisor.enable = true;
  };

  networking.hostName = "lab";
  # No password, and no way in but the machine's own console.
  users.users.root.initialHashedPassword = "";
  services.getty.autologinUser = "root";

  virtualisation = {
    graphics = false;
    cores = 2;
    memorySize = 2048;
    # State stays in lab.qcow2, in the folder it was started from.
    diskSize = 4096;
  };

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
  system.stateVersion = "26.05";
}
