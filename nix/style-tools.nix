# The tools that judge Nix code, by nixpkgs' names for them. They are of this project's development only, so one
# that another nixpkgs lacks (an older release calls nixfmt otherwise) fails the check that calls it, by "command
# not found", and not the evaluation of everything else.
{ lib, pkgs }:
{
  packages = lib.concatMap (name: lib.optional (pkgs ? ${name}) pkgs.${name}) [
    "nixfmt"
    "deadnix"
    "statix"
  ];
}
