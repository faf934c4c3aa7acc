# `nix run` and `nix run .#NAME`: the lab, and its commands in the lab's environment.
{
  lib,
  writeShellApplication,
  halab,
  lab,
  onLinux,
  packages,
  self,
  system,
}:
let
  # The machine is described for one system, and runs here as a machine of this one.
  machine = self.nixosConfigurations.lab.extendModules {
    modules = [ { nixpkgs.hostPlatform = system; } ];
  };
  app = package: description: {
    type = "app";
    program = lib.getExe package;
    meta = { inherit description; };
  };
  command =
    name:
    app (writeShellApplication {
      name = "lab-${name}";
      runtimeInputs = [ lab ];
      text = ''exec redis-ha-lab ${name} "$@"'';
    });
in
{
  default = app lab "The whole lab, in process-compose's terminal interface";
  halab = app halab "The program itself";
  write = command "write" "Write records through whoever is primary";
  verify = command "verify" "Read every acknowledged record back";
  drill = command "drill" "Break a lab of its own in one way under load, and prove what was kept";
  status = command "status" "Who is primary, and do the Sentinels agree";
}
// lib.optionalAttrs onLinux {
  load-images = app packages.load-images "Load every image into docker or podman";
  vm = app machine.config.system.build.vm "One virtual machine with every part of the lab";
}
