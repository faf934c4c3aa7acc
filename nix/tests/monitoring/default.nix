# The monitoring of a lab: Prometheus, redis_exporter and Grafana on the third machine, cAdvisor on
# the others; see test.py.
{ lib, scriptOf, ... }:
{
  imports = [ ../driver/machines.nix ];

  name = "monitoring";
  nodes = {
    one.services.redis-ha-lab.cadvisor.enable = true;
    two.services.redis-ha-lab.cadvisor.enable = true;
    three =
      { nodes, ... }:
      {
        services.redis-ha-lab.monitoring = {
          enable = true;
          cadvisors =
            map
              (
                host:
                let
                  cfg = host.services.redis-ha-lab;
                in
                "${cfg.cadvisor.listenAddress}:${toString cfg.settings.monitoring.cadvisor_port}"
              )
              [
                nodes.one
                nodes.two
              ];
        };
        virtualisation.memorySize = lib.mkForce 1536;
      };
  };
  testScript = scriptOf ./test.py;
}
