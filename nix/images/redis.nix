# A data node: `docker run -e HALAB_NODE=redis-a ...`.
{ callPackage }:
(callPackage ./lib/node.nix { }).node {
  name = "redis";
  description = "A Redis data node of the lab, primary or replica as the Sentinels say";
  port = 6379;
}
