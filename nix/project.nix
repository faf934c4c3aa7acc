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

  program = map (name: root + "/${name}") (import ./lib/program-files.nix);
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
    program = sourceOf program;
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
        ../deploy/systemd
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
      ../lab.schema.json
      ../README.md
      ../CHANGELOG.md
      ../CONTRIBUTING.md
      ../SECURITY.md
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
