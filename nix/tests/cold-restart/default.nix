# All machines go down at once after a failover, and come back; see test.py.
{ scriptOf, ... }:
{
  imports = [ ../driver/machines.nix ];

  name = "cold-restart";
  testScript = scriptOf ./test.py;
}
