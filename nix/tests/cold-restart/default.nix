# All machines crash at once after a failover and start again; see test.py.
{ scriptOf, ... }:
{
  imports = [ ../driver/machines.nix ];

  name = "cold-restart";
  testScript = scriptOf ./test.py;
}
