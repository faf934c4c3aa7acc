# The units of deploy/systemd by file name, for hosts without NixOS: the program is where a package
# installs it, and lab.toml is unknown. scripts/units.py writes and checks the files.
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
    # The defaults of the NixOS module.
    flags = [
      "--policy available"
      "--rate 100"
      "--endless"
    ];
  };
  "halab-proxy.service" = units.proxy { flags = [ ]; };
  "halab-web.service" = units.web { flags = [ ]; };
  "halab-redis-exporter.service" = units.redisExporter;
  "halab-cadvisor.service" = units.cadvisor;
  "halab-prometheus.service" = units.prometheus;
  "halab-grafana.service" = units.grafana;
}
