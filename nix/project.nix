# What is the same for every system: version, sources, the lab's description. No package set is in reach here.
{ lib }:
let
  root = ../.;
  inherit (lib) fileset;
  sourceOf =
    files:
    fileset.toSource {
      inherit root;
      fileset = fileset.unions files;
    };

  # Compiled into the program, or read by its unit tests.
  program = [
    ../Cargo.toml
    ../Cargo.lock
    ../clippy.toml
    ../rustfmt.toml
    ../src
    ../lab.toml
    ../redis
    ../sentinel
    ../prometheus
    ../grafana
  ];
in
rec {
  manifest = (lib.importTOML ../Cargo.toml).package;
  inherit (manifest) version;

  # The lab as it is shipped; NixOS hosts give settings of their own.
  settings = lib.importTOML ../lab.toml;
  topology = import ./lib/topology.nix settings;
  # What the images hold.
  images = lib.importTOML ../containers/images.toml;

  discover = import ./lib/discover.nix;

  # Each holds only what its build reads, so that editing another file builds nothing anew.
  sources = {
    # The documents that unit tests compare the code with.
    program = sourceOf (
      program
      ++ map (name: ../docs + "/${name}.md") [
        "configuration"
        "ledger"
        "metrics"
        "protocol"
      ]
    );
    # What all tests of the program read.
    tests = sourceOf (
      program
      ++ [
        ../tests
        ../docs
        ../README.md
        ../process-compose.yaml
        ../lab
        ../scripts
        ../deny.toml
        ../fuzz
        ../.github
      ]
    );
    # What the process lane runs.
    lab = sourceOf [
      ../process-compose.yaml
      ../lab.toml
    ];
    documents = sourceOf [
      ../docs
      ../README.md
      ../CHANGELOG.md
      ../CONTRIBUTING.md
      ../LICENSE-MIT
      ../LICENSE-APACHE
    ];
    # What the style checks read.
    everything = fileset.toSource {
      inherit root;
      fileset = root;
    };
  };
}
