# The units of deploy/systemd, by the names of their files: for a host that is not of NixOS, with the program where packages
# have it, and a lab.toml that is not known here. Written, and held to their files, by scripts/units.py.
let
  text = import ./unit-text.nix;
  units = import ./units.nix {
    program = "/usr/bin/halab";
    config = "/etc/redis-ha-lab/lab.toml";
    secrets = "/etc/redis-ha-lab/secrets";
  };
in
builtins.mapAttrs (_: text) {
  "halab-data-node@.service" = units.dataNode;
  "halab-sentinel@.service" = units.sentinel;
  "halab-sentinels.target" = units.sentinelsTarget;
  "halab-writer.service" = units.writer {
    # Those of the NixOS module's defaults.
    flags = [
      "--policy available"
      "--rate 100"
      "--endless"
    ];
  };
  "halab-redis-exporter.service" = units.redisExporter;
  "halab-cadvisor.service" = units.cadvisor;
  "halab-prometheus.service" = units.prometheus;
  "halab-grafana.service" = units.grafana;
}
