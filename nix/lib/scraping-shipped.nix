# What scraping.nix makes of the shipped lab.toml for the processes lane: by scripts/nix-checks.sh compared with
# prometheus/prometheus.yml, which `halab` made.
let
  settings = builtins.fromTOML (builtins.readFile ../../lab.toml);
  topology = import ./topology.nix settings;
in
import ./scraping.nix {
  inherit settings;
  cadvisors = [ "${topology.monitoring.address}:${toString topology.monitoring.cadvisor_port}" ];
}
