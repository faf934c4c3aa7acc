# A Redis server and a Sentinel.
{
  networking.interfaces.eth1.ipv4.addresses = [
    {
      address = "192.0.2.11"; # redis-a
      prefixLength = 24;
    }
    {
      address = "192.0.2.21"; # sentinel-1
      prefixLength = 24;
    }
  ];

  services.redis-ha-lab = {
    dataNode = {
      enable = true;
      names = [ "redis-a" ];
    };
    sentinel = {
      enable = true;
      names = [ "sentinel-1" ];
    };
    cadvisor = {
      enable = true;
      listenAddress = "192.0.2.11";
    };
  };
}
