# Values that are the same for every system: version, sources, lab.toml. Without a package set.
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

  # The shipped lab; NixOS hosts have their own settings.
  settings = lib.importTOML ../lab.toml;
  topology = import ./lib/topology.nix settings;
  # The description of the images.
  images = lib.importTOML ../containers/images.toml;

  discover = import ./lib/discover.nix;

  # Each source has only the files that its build reads, so that other changes rebuild nothing.
  sources = {
    program = sourceOf program;
    # The files that the program's tests read.
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
        ../deploy
        ../packaging/debian/README.Debian
        ../nix/lib/credentials.nix
        ../fuzz
        ../examples
        ../.github
      ]
    );
    # The files of the processes lane.
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
    # The files of the style checks.
    everything = fileset.toSource {
      inherit root;
      fileset = root;
    };
  };
}
