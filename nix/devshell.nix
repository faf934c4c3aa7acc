# `nix develop`: everything that ./lab and its tests call, so that ./lab installs nothing.
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
    mypy
    (python3.withPackages (packages: [ packages.pyyaml ]))
    python3Packages.pyflakes
    nix
    shellcheck
    jq
  ]
  ++ lib.optional stdenv.hostPlatform.isLinux cadvisor
  ++ (callPackage ./style-tools.nix { }).packages
  ++ lib.optional (pkgs ? rust-analyzer) pkgs.rust-analyzer;

  # For rust-analyzer: the standard library's source.
  RUST_SRC_PATH = rustPlatform.rustLibSrc;
}
