# Nodes are lost one after the other while the writer writes; see test.py.
{
  imports = [ ../driver/machines.nix ];

  name = "failover";
  testScript = builtins.readFile ../driver/lab.py + builtins.readFile ./test.py;
}
