# A Sentinel: `docker run -e HALAB_NODE=sentinel-1 ...`.
{ callPackage }:
(callPackage ./lib/node.nix { }).node {
  name = "sentinel";
  description = "A Sentinel of the lab: watches the primary, votes on its failover";
  port = 26379;
}
