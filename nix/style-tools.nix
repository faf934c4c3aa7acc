# Formatter and linters of Nix code, by their names in nixpkgs. Only development needs them: if
# another nixpkgs lacks one (an older release has another name for nixfmt), only the check that
# calls it fails, with "command not found", not the evaluation.
{ lib, pkgs }:
{
  packages = lib.concatMap (name: lib.optional (pkgs ? ${name}) pkgs.${name}) [
    "nixfmt"
    "deadnix"
    "statix"
  ];
}
