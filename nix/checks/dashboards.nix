# The dashboards are what their source makes.
{
  lib,
  runCommand,
  python3,
}:
let
  source = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../grafana
      ../../scripts/dashboards.py
    ];
  };
in
runCommand "dashboards" { nativeBuildInputs = [ python3 ]; } ''
  cd ${source}
  python3 scripts/dashboards.py --check
  touch $out
''
