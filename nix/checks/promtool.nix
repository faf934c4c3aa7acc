# The shipped prometheus.yml and its rules are valid, and the alerts fire exactly when they should.
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
