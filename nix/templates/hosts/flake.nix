# Three hosts with a highly available Redis: a Sentinel on each, a Redis server on two, writer and
# monitoring on the third. Replace the addresses, add each host's hardware and users, then run:
# nixos-rebuild --flake .#one --target-host one
{
  inputs.redis-ha-lab.url = "github:OWNER/redis-ha-lab";
  inputs.nixpkgs.follows = "redis-ha-lab/nixpkgs";

  outputs =
    { nixpkgs, redis-ha-lab, ... }:
    let
      host =
        name: file:
        nixpkgs.lib.nixosSystem {
          modules = [
            redis-ha-lab.nixosModules.default
            ./lab.nix
            file
            {
              networking.hostName = name;

              # Replace these by the values of the host.
              nixpkgs.hostPlatform = "x86_64-linux";
              fileSystems."/".device = "/dev/disk/by-label/nixos";
              boot.loader.systemd-boot.enable = true;
              system.stateVersion = "26.05";
            }
          ];
        };
    in
    {
      nixosConfigurations = builtins.mapAttrs host {
        one = ./one.nix;
        two = ./two.nix;
        three = ./three.nix;
      };
    };
}
