# A Sentinel, the writer, and the monitoring.
{
  networking.interfaces.eth1.ipv4.addresses = [
    {
      address = "192.0.2.23"; # sentinel-3
      prefixLength = 24;
    }
    {
      address = "192.0.2.31"; # monitoring
      prefixLength = 24;
    }
    {
      address = "192.0.2.41"; # the writer
      prefixLength = 24;
    }
  ];

  services.redis-ha-lab = {
    sentinel = {
      enable = true;
      names = [ "sentinel-3" ];
    };
    writer.enable = true;
    monitoring = {
      enable = true;
      cadvisors = [
        "192.0.2.11:8080"
        "192.0.2.12:8080"
      ];
    };
  };
}
