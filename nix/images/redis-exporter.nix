# One redis_exporter for all nodes: Prometheus names the node in /scrape?target=.
{
  lib,
  callPackage,
  curlMinimal,
  prometheus-redis-exporter,
}:
callPackage ./lib/image.nix { } {
  name = "redis-exporter";
  description = "redis_exporter, for the metrics of the lab's Redis servers and Sentinels";
  entrypoint = [
    (lib.getExe prometheus-redis-exporter)
    # No node of its own.
    "-redis.addr="
    "-web.listen-address=:9121"
  ];
  ports = [ 9121 ];
  healthcheck = [
    (lib.getExe curlMinimal)
    "-fsS"
    "http://127.0.0.1:9121/health"
  ];
}
