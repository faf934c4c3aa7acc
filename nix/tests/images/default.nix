# The images, loaded into Docker and run as a lab: each node a container with an address of its own; see test.py.
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
