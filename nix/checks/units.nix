# How much of the system each unit is left with, as systemd judges it: `systemd-analyze security`, 0 best, 10 worst. None is
# left with more than 2.0; docs/nix.md has the figures, and what they are made of.
{
  lib,
  stdenv,
  runCommand,
  systemd,
  nixpkgs,
  project,
  self,
}:
let
  machine = nixpkgs.lib.nixosSystem {
    modules = [
      self.nixosModules.default
      ../machine.nix
      { nixpkgs.hostPlatform = stdenv.hostPlatform.system; }
    ];
    specialArgs = { inherit project; };
  };
  names =
    map (node: "halab-data-node@${node.name}") project.topology.dataNodes
    ++ map (node: "halab-sentinel@${node.name}") project.topology.sentinels
    ++ [
      "halab-writer"
      "halab-secrets"
      "halab-grafana-key"
      "halab-redis-exporter"
      "halab-cadvisor"
      "prometheus"
      "grafana"
    ];
in
runCommand "units" { nativeBuildInputs = [ systemd ]; } (
  lib.concatMapStrings (name: ''
    cp ${machine.config.systemd.units."${name}.service".unit}/${name}.service .
    # 2.0, in tenths.
    systemd-analyze security --offline=true --no-pager --threshold=20 ./${name}.service
  '') names
  + "touch $out"
)
