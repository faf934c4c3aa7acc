# The shipped prometheus.yml and its rules are right, and the alerts fire when they should, and only then.
{
  lib,
  runCommand,
  prometheus,
}:
let
  source = lib.fileset.toSource {
    root = ../..;
    fileset = ../../prometheus;
  };
in
runCommand "promtool" { nativeBuildInputs = [ prometheus.cli ]; } ''
  cd ${source}/prometheus
  promtool check config prometheus.yml
  promtool test rules tests/*.yml
  touch $out
''
