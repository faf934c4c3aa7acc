# `nix run` and `nix run .#NAME`: the lab, and its commands with the lab's settings.
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
  # The configuration of the machine is for one system; here it runs on the current one.
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
  halab = app halab "The program halab";
  write = command "write" "Write records to the primary";
  verify = command "verify" "Read every acknowledged record back";
  drill = command "drill" "Run a fault in a separate lab under load and verify all records";
  status = command "status" "Primary, replica lag, agreement of the Sentinels";
}
// lib.optionalAttrs onLinux {
  load-images = app packages.load-images "Load every image into docker or podman";
  vm = app machine.config.system.build.vm "One virtual machine with every part of the lab";
}
