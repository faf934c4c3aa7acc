# `nix develop`: all tools of ./lab and its tests, so that ./lab installs nothing. It has no Docker
# engine and no browser; tests that need them are skipped without them.
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

  # The source of the standard library, for rust-analyzer.
  RUST_SRC_PATH = rustPlatform.rustLibSrc;
}
