# One redis_exporter for all nodes: Prometheus names the node in /scrape?target=.
{ callPackage, prometheus-redis-exporter }:
callPackage ./lib/monitor.nix { } {
  name = "redis-exporter";
  description = "redis_exporter for the lab: asks Redis and the Sentinels on behalf of Prometheus";
  package = prometheus-redis-exporter;
  port = 9121;
}
