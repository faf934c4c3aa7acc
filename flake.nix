{
  description = "A lab of highly available Redis: the loss of any one node loses no acknowledged write";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  # Wiring only: nix/ has the definitions, one file per output.
  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      project = import ./nix/project.nix { inherit lib; };

      # Linux runs everything; macOS runs parts that need neither cgroups nor systemd.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
      perSystem = lib.genAttrs systems (
        system:
        import ./nix/per-system.nix {
          inherit
            lib
            nixpkgs
            project
            self
            ;
          pkgs = nixpkgs.legacyPackages.${system};
          onLinux = lib.hasSuffix "-linux" system;
        }
      );
      output = name: lib.mapAttrs (_: outputs: outputs.${name}) perSystem;
    in
    {
      packages = output "packages";
      apps = output "apps";
      checks = output "checks";
      devShells = output "devShells";
      formatter = output "formatter";

      nixosModules.default =
        { pkgs, ... }:
        {
          imports = [ ./nix/modules ];
          services.redis-ha-lab.package =
            lib.mkDefault
              self.packages.${pkgs.stdenv.hostPlatform.system}.halab;
        };

      # A virtual machine with every part of the lab: `nix run .#vm`.
      nixosConfigurations.lab = lib.nixosSystem {
        modules = [
          self.nixosModules.default
          ./nix/machine.nix
        ];
        specialArgs = { inherit project; };
      };

      templates.default = {
        path = ./nix/templates/hosts;
        description = "Three NixOS hosts with a highly available Redis, its writer and its monitoring";
      };

      overlays.default = final: _: {
        halab = final.callPackage ./nix/packages/halab.nix { inherit project; };
      };
    };
}
