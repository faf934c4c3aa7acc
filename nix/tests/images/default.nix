# The images, loaded into Docker and run as a lab: each node is a container with its own address;
# see test.py.
{ packages, ... }:
{
  name = "images";
  globalTimeout = 3600;

  nodes.engine = {
    virtualisation = {
      docker.enable = true;
      cores = 2;
      memorySize = 3072;
      diskSize = 8192;
    };
    environment.systemPackages = [ packages.load-images ];
  };

  testScript = builtins.readFile ./test.py;
}
