# The image of a service of the monitoring: `halab monitor NAME` and the service's program.
{ lib, callPackage }:
let
  common = callPackage ./node.nix { };
in
# The image's name, and where the program of the service is.
name: package:
common.image {
  inherit name;
  env.PATH = lib.makeBinPath [ package ];
  contents = [ common.config ];
}
