# Planned changes: a handover, a stop, a rolling restart of every node, while the writer writes; see test.py.
{
  imports = [ ../driver/machines.nix ];

  name = "handover";
  testScript = builtins.readFile ../driver/lab.py + builtins.readFile ./test.py;
}
