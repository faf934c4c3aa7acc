# The hosts of the template are ones: each evaluates to a system, with this flake and its nixpkgs, that no assertion
# refuses. What docs/nix.md shows of them is held to their files by nix/lib/tests.nix.
{
  lib,
  runCommand,
  nixpkgs,
  self,
}:
let
  hosts =
    ((import ../templates/hosts/flake.nix).outputs {
      inherit nixpkgs;
      redis-ha-lab = self;
    }).nixosConfigurations;
in
# The path of the derivation, not what it builds: a system takes minutes, and brings nothing new here.
runCommand "template" { } ''
  printf '%s\n' ${
    lib.escapeShellArgs (
      lib.mapAttrsToList (
        name: host:
        "${name} ${builtins.unsafeDiscardStringContext host.config.system.build.toplevel.drvPath}"
      ) hosts
    )
  } >$out
''
