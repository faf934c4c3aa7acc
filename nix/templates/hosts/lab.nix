# The same on every host.
{
  services.redis-ha-lab = {
    settings = {
      lab.name = "orders";
      # Each node has an address of its own, also where two share a host.
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
      # Nobody on the network reads along, or stands in for a node.
      security.tls = true;
    };

    # Made once by halab secrets make DIR, and brought to every host, not by way of the Nix store.
    secretsFolder = "/etc/secrets/redis-ha-lab";

    # On the network that the hosts share.
    openFirewall = true;
    firewallInterfaces = [ "eth1" ];
  };
}
