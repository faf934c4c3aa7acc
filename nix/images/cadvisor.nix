# cAdvisor. It needs what it reads, read-only: -v /sys:/sys:ro.
{ callPackage, cadvisor }:
callPackage ./lib/monitor.nix { } {
  name = "cadvisor";
  description = "cAdvisor for the lab: what each node's cgroup uses";
  package = cadvisor;
  port = 8080;
}
