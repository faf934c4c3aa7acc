# Each host of the template evaluates to a system with this flake and its nixpkgs, without failed
# assertions. nix/lib/tests.nix compares the files with docs/nix.md.
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
# The path of the derivation, not its output: a build of a system takes minutes and would show
# nothing more.
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
