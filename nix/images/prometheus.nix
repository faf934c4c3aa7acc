# Prometheus, with the rules of prometheus/rules.
{ callPackage, prometheus }:
callPackage ./lib/monitor.nix { } {
  name = "prometheus";
  description = "Prometheus for the lab: gathers all metrics, judges the alerts";
  package = prometheus;
  port = 9090;
}
