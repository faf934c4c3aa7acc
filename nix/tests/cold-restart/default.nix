# All machines go down at once after a failover, and come back; see test.py.
{
  imports = [ ../driver/machines.nix ];

  name = "cold-restart";
  testScript = builtins.readFile ../driver/lab.py + builtins.readFile ./test.py;
}
