# A Redis server and a Sentinel.
{
  networking.interfaces.eth1.ipv4.addresses = [
    {
      address = "192.0.2.12"; # redis-b
      prefixLength = 24;
    }
    {
      address = "192.0.2.22"; # sentinel-2
      prefixLength = 24;
    }
  ];

  services.redis-ha-lab = {
    dataNode = {
      enable = true;
      names = [ "redis-b" ];
    };
    sentinel = {
      enable = true;
      names = [ "sentinel-2" ];
    };
    cadvisor = {
      enable = true;
      listenAddress = "192.0.2.12";
    };
  };
}
