# The writer; its ledger is in /ledger. The image also runs other commands of halab: `docker run
# IMAGE verify --ledger ...`.
{ callPackage }:
let
  common = callPackage ./lib/node.nix { };
in
common.image {
  name = "writer";
  contents = [ common.config ];
}
