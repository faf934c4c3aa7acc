# The writer; its ledger is in /ledger. Any other command of the program: `docker run IMAGE verify --ledger ...`.
{ callPackage }:
let
  common = callPackage ./lib/node.nix { };
in
common.image {
  name = "writer";
  contents = [ common.config ];
}
