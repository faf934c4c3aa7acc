# The dashboards are up to date with their source and follow the rules of Grafana's linter.
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
      ../../scripts/dashboards-rules.py
    ];
  };
in
runCommand "dashboards" { nativeBuildInputs = [ python3 ]; } ''
  cd ${source}
  python3 scripts/dashboards.py --check
  python3 scripts/dashboards-rules.py grafana/dashboards/*.json
  touch $out
''
