# `nix develop`: everything that ./lab and its tests call, so that ./lab installs nothing.
{
  lib,
  callPackage,
  pkgs,
  mkShell,
  rustPlatform,
  halab,
  cargo,
  clippy,
  rustfmt,
  redis,
  process-compose,
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
    shellcheck
    jq
  ]
  ++ (callPackage ./style-tools.nix { }).packages
  ++ lib.optional (pkgs ? rust-analyzer) pkgs.rust-analyzer;

  # For rust-analyzer: the standard library's source.
  RUST_SRC_PATH = rustPlatform.rustLibSrc;
}
