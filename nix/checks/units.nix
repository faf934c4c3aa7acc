# How much of the system each unit is left with, as systemd judges it: `systemd-analyze security`, 0 best, 10 worst. The
# figures in docs/nix.md are of systemd 252; a later one may ask for more, so the limits leave room for that.
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
  limits =
    lib.genAttrs (map (node: node.name) project.topology.nodes ++ [ "redis-ha-lab-writer" ]) (_: 2)
    // {
      redis-ha-lab-grafana-key = 2;
      cadvisor = 4;
    };
in
runCommand "units" { nativeBuildInputs = [ systemd ]; } (
  lib.concatMapStrings (name: ''
    cp ${machine.config.systemd.units."${name}.service".unit}/${name}.service .
    # In tenths.
    systemd-analyze security --offline=true --no-pager --threshold=${toString (limits.${name} * 10)} ./${name}.service
  '') (lib.attrNames limits)
  + "touch $out"
)
