# The image of a monitoring service: `halab monitor NAME` and the service's program.
{ lib, callPackage }:
let
  common = callPackage ./node.nix { };
in
# The image's name and the package of the service.
name: package:
common.image {
  inherit name;
  env.PATH = lib.makeBinPath [ package ];
  contents = [ common.config ];
}
