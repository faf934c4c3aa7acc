# cAdvisor. It reads /sys of the host: -v /sys:/sys:ro.
{ callPackage, cadvisor }: callPackage ./lib/monitor.nix { } "cadvisor" cadvisor
