# Grafana, with the dashboards of grafana/dashboards.
{ callPackage, grafana }: callPackage ./lib/monitor.nix { } "grafana" grafana
