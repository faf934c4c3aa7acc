# docs/nixos-options.md is what the module's options say, and no link between the documents is dead.
{
  lib,
  runCommand,
  cacert,
  lychee,
  docs,
  project,
}:
assert lib.assertMsg (builtins.readFile ../../docs/nixos-options.md == docs.optionsMarkdown)
  "docs/nixos-options.md is not what nix/modules says: nix eval --raw .#docs.optionsMarkdown >docs/nixos-options.md";
runCommand "documents"
  {
    nativeBuildInputs = [
      # lychee 0.24 and later does not start without certificates of a CA, with --offline either.
      cacert
      lychee
    ];
  }
  ''
    cd ${project.sources.everything}
    lychee --offline --no-progress README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs
    touch $out
  ''
