# A data node: `docker run -e HALAB_NODE=redis-a ...`.
{ callPackage }: (callPackage ./lib/node.nix { }).node "redis"
