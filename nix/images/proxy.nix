# The proxy, an address for any Redis client.
{ callPackage }:
let
  common = callPackage ./lib/node.nix { };
in
common.image {
  name = "proxy";
  contents = [ common.config ];
}
