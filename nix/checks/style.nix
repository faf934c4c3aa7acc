# Nix, Rust and shell files are formatted and pass their linters.
{
  runCommand,
  callPackage,
  format,
  shellcheck,
  project,
}:
runCommand "style"
  {
    nativeBuildInputs = [
      format
      shellcheck
    ]
    ++ (callPackage ../style-tools.nix { }).packages;
  }
  ''
    cp -r ${project.sources.everything} project
    chmod -R +w project
    cd project
    HOME=$TMPDIR format --check
    deadnix --fail .
    statix check .
    shellcheck -x lab scripts/*.sh nix/packages/*/*.sh .ci/run
    touch $out
  ''
