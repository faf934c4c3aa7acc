# Three hosts with a highly available Redis: a Sentinel on each, a Redis server on two, writer and monitoring on the
# third. Replace the addresses, add each host's hardware and users, then: nixos-rebuild --flake .#one --target-host one
{
  inputs.redis-ha-lab.url = "github:OWNER/redis-ha-lab";
  inputs.nixpkgs.follows = "redis-ha-lab/nixpkgs";

  outputs =
    { nixpkgs, redis-ha-lab, ... }:
    let
      # The network that the hosts and those who write share.
      interface = "eth1";

      # The same on every host. Each node has an address of its own, also where two share a host.
      settings = {
        lab.name = "orders";
        data_node = [
          {
            name = "redis-a";
            address = "192.0.2.11";
          }
          {
            name = "redis-b";
            address = "192.0.2.12";
          }
        ];
        sentinel = [
          {
            name = "sentinel-1";
            address = "192.0.2.21";
          }
          {
            name = "sentinel-2";
            address = "192.0.2.22";
          }
          {
            name = "sentinel-3";
            address = "192.0.2.23";
          }
        ];
        monitoring = {
          address = "192.0.2.31";
          writer_address = "192.0.2.41";
        };
      };

      opened = {
        enable = true;
        openFirewall = true;
        firewallInterfaces = [ interface ];
      };
      nodes = names: opened // { inherit names; };

      host =
        name: addresses: roles:
        nixpkgs.lib.nixosSystem {
          modules = [
            redis-ha-lab.nixosModules.default
            {
              networking.hostName = name;
              networking.interfaces.${interface}.ipv4.addresses = map (address: {
                inherit address;
                prefixLength = 24;
              }) addresses;
              services.redis-ha-lab = roles // {
                inherit settings;
                # Made once by `halab secrets make DIR`, and brought to every host, not by way of the Nix store.
                secretsFolder = "/etc/secrets/redis-ha-lab";
              };

              # Replace these by the host's own.
              nixpkgs.hostPlatform = "x86_64-linux";
              fileSystems."/".device = "/dev/disk/by-label/nixos";
              boot.loader.systemd-boot.enable = true;
              system.stateVersion = "26.05";
            }
          ];
        };
    in
    {
      nixosConfigurations = {
        one = host "one" [ "192.0.2.11" "192.0.2.21" ] {
          dataNode = nodes [ "redis-a" ];
          sentinel = nodes [ "sentinel-1" ];
          cadvisor = opened // {
            listenAddress = "192.0.2.11";
          };
        };
        two = host "two" [ "192.0.2.12" "192.0.2.22" ] {
          dataNode = nodes [ "redis-b" ];
          sentinel = nodes [ "sentinel-2" ];
          cadvisor = opened // {
            listenAddress = "192.0.2.12";
          };
        };
        three = host "three" [ "192.0.2.23" "192.0.2.31" "192.0.2.41" ] {
          sentinel = nodes [ "sentinel-3" ];
          writer = opened;
          monitoring = opened // {
            cadvisors = [
              "192.0.2.11:8080"
              "192.0.2.12:8080"
            ];
          };
        };
      };
    };
}
