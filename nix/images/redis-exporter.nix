# One redis_exporter for all nodes: Prometheus names the node in /scrape?target=.
{ callPackage, prometheus-redis-exporter }:
callPackage ./lib/monitor.nix { } "redis-exporter" prometheus-redis-exporter
