# `nix develop`: everything that ./lab and its tests call, so that ./lab installs nothing. Not a Docker engine, nor a
# browser: what needs those is left out of the tests where they are not.
{
  lib,
  callPackage,
  pkgs,
  mkShell,
  stdenv,
  rustPlatform,
  halab,
  cargo,
  clippy,
  rustfmt,
  redis,
  process-compose,
  prometheus,
  prometheus-redis-exporter,
  grafana,
  cadvisor,
  procps,
  curl,
  git,
  mypy,
  python3,
  python3Packages,
  nix,
  shellcheck,
  jq,
}:
mkShell {
  inputsFrom = [ halab ];
  packages = [
    cargo
    clippy
    rustfmt
    redis
    process-compose
    prometheus
    prometheus.cli # promtool
    prometheus-redis-exporter
    grafana
    procps
    curl
    git
    mypy
    (python3.withPackages (packages: [ packages.pyyaml ]))
    python3Packages.pyflakes
    nix
    shellcheck
    jq
  ]
  ++ lib.optionals stdenv.hostPlatform.isLinux [
    cadvisor
  ]
  ++ (callPackage ./drill-tools.nix { }).packages
  ++ (callPackage ./style-tools.nix { }).packages
  ++ lib.optional (pkgs ? rust-analyzer) pkgs.rust-analyzer;

  # For rust-analyzer: the standard library's source.
  RUST_SRC_PATH = rustPlatform.rustLibSrc;
}
