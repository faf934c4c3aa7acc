# The exposure of each unit by `systemd-analyze security` (0 best, 10 worst) is at most 2.0;
# docs/nix.md has the figures and explains them. The evaluation also checks that the units of
# deploy/systemd are equal to those of NixOS, except for the differences listed in
# nix/lib/units-compared.nix.
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
      "halab-proxy"
      "halab-secrets"
      "halab-redis-exporter"
      "halab-cadvisor"
      "halab-prometheus"
      "halab-grafana"
    ];

  shipped = import ../lib/units-shipped.nix;
  # As deploy/systemd expects: with a folder of secrets, including certificates.
  given =
    (machine.extendModules {
      modules = [
        {
          services.redis-ha-lab = {
            secretsFolder = "/etc/redis-ha-lab/secrets";
            settings.security = lib.mapAttrs (_: lib.mkForce) {
              tls = true;
              mutual_tls = true;
            };
          };
        }
      ];
    }).config;
  cfg = given.services.redis-ha-lab;
  comparable = import ../lib/units-compared.nix {
    program = lib.getExe cfg.package;
    config = "${cfg.configFile}";
  };
  # A template is compared by one of its instances.
  evaluated =
    name:
    lib.replaceStrings
      [ "halab-data-node@." "halab-sentinel@." ]
      [
        "halab-data-node@${lib.head project.topology.dataNodeNames}."
        "halab-sentinel@${lib.head project.topology.sentinelNames}."
      ]
      name;
  differences = lib.concatMap (
    name:
    let
      here = comparable given.systemd.units.${evaluated name}.text;
      there = comparable shipped.${name};
    in
    lib.optional (here != there)
      "${name}: only in NixOS: ${toString (lib.subtractLists there here)}; only in deploy/systemd: ${toString (lib.subtractLists here there)}"
  ) (lib.attrNames shipped);
in
assert lib.assertMsg (differences == [ ]) "units: ${lib.concatStringsSep "\n" differences}";
runCommand "units" { nativeBuildInputs = [ systemd ]; } (
  lib.concatMapStrings (name: ''
    cp ${machine.config.systemd.units."${name}.service".unit}/${name}.service .
    # 2.0, in tenths.
    systemd-analyze security --offline=true --no-pager --threshold=20 ./${name}.service
  '') names
  + "touch $out"
)
