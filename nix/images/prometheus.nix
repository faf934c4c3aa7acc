# Prometheus, with the rules of prometheus/rules.
{ callPackage, prometheus }: callPackage ./lib/monitor.nix { } "prometheus" prometheus
