# Grafana, with the dashboards of grafana/dashboards.
{ callPackage, grafana }:
callPackage ./lib/monitor.nix { } {
  name = "grafana";
  description = "Grafana for the lab: shows what Prometheus gathers, to anyone, read-only";
  package = grafana;
  port = 3000;
}
