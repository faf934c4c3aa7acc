# A Sentinel: `docker run -e HALAB_NODE=sentinel-1 ...`.
{ callPackage }: (callPackage ./lib/node.nix { }).node "sentinel"
