# cAdvisor. It needs what it reads, read-only: -v /sys:/sys:ro.
{ callPackage, cadvisor }: callPackage ./lib/monitor.nix { } "cadvisor" cadvisor
