# The same on every host.
{
  services.redis-ha-lab = {
    settings = {
      lab.name = "orders";
      # Each node has its own address, even if two share a host.
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
      # Protects against eavesdropping and impersonation on the network.
      security.tls = true;
    };

    # Made once with halab secrets make DIR; each host gets its part, not through the Nix store.
    secretsFolder = "/etc/secrets/redis-ha-lab";

    # The network that the hosts share.
    openFirewall = true;
    firewallInterfaces = [ "eth1" ];
  };
}
