# All machines go down at once after a failover, and come back; see test.py.
{
  name = "cold-restart";
  testScript = builtins.readFile ../driver/lab.py + builtins.readFile ./test.py;
}
