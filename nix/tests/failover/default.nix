# Nodes fail one after the other while the writer writes; see test.py.
{ scriptOf, ... }:
{
  imports = [ ../driver/machines.nix ];

  name = "failover";
  testScript = scriptOf ./test.py;
}
