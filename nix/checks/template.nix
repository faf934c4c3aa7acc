# The hosts of the template are ones: each evaluates to a system, with this flake and its nixpkgs. And docs/nix.md shows
# what they say: its examples, put together, are the same settings.
{
  lib,
  runCommand,
  nixpkgs,
  self,
}:
let
  hosts =
    ((import ../templates/hosts/flake.nix).outputs {
      inherit nixpkgs;
      redis-ha-lab = self;
    }).nixosConfigurations;

  examples = map lib.head (
    lib.filter lib.isList (builtins.split "```nix\n([^`]*)```" (builtins.readFile ../../docs/nix.md))
  );
  example = lib.elemAt examples;
  # "The same with the next node of each kind."
  next =
    lib.replaceStrings
      [
        "redis-a"
        "sentinel-1"
        "192.0.2.11"
      ]
      [
        "redis-b"
        "sentinel-2"
        "192.0.2.12"
      ];
  documented =
    lib.mapAttrs
      (
        name: text:
        nixpkgs.lib.nixosSystem {
          modules = [
            self.nixosModules.default
            (import (builtins.toFile "everywhere.nix" "{ ${example 0} }"))
            (import (builtins.toFile "host.nix" "{ ${text} }"))
            {
              nixpkgs.hostPlatform = "x86_64-linux";
              networking.hostName = name;
              fileSystems."/".device = "none";
              boot.loader.grub.enable = false;
              system.stateVersion = "26.05";
            }
          ];
        }
      )
      {
        one = example 1;
        two = next (example 1);
        three = example 2;
      };

  said =
    host:
    removeAttrs host.config.services.redis-ha-lab [
      "package"
      "redisPackage"
      "configFile"
    ];
  # Neither may be what a host would refuse to build.
  wrong = lib.filter (
    name:
    said documented.${name} != said hosts.${name}
    || !lib.all (a: a.assertion) documented.${name}.config.assertions
  ) (lib.attrNames hosts);
in
assert lib.assertMsg (
  lib.length examples == 3 && wrong == [ ]
) "docs/nix.md and nix/templates/hosts do not say the same of: ${lib.concatStringsSep ", " wrong}";
# The path of the derivation, not what it builds: a system takes minutes, and brings nothing new here.
runCommand "template" { } ''
  printf '%s\n' ${
    lib.escapeShellArgs (
      lib.mapAttrsToList (
        name: host:
        "${name} ${builtins.unsafeDiscardStringContext host.config.system.build.toplevel.drvPath}"
      ) hosts
    )
  } >$out
''
