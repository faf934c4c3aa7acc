# The result of scraping.nix for the shipped lab.toml and the processes lane. scripts/nix-checks.sh
# compares it with prometheus/prometheus.yml, which halab generated.
let
  settings = builtins.fromTOML (builtins.readFile ../../lab.toml);
  topology = import ./topology.nix settings;
in
import ./scraping.nix {
  inherit settings;
  cadvisors = [ "${topology.monitoring.address}:${toString topology.monitoring.cadvisor_port}" ];
}
