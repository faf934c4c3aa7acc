# docs/nixos-options.md is up to date with the module's options, and the documents have no broken
# links.
{
  lib,
  runCommand,
  cacert,
  lychee,
  docs,
  project,
}:
assert lib.assertMsg (builtins.readFile ../../docs/nixos-options.md == docs.optionsMarkdown)
  "docs/nixos-options.md is not up to date: nix eval --raw .#docs.optionsMarkdown >docs/nixos-options.md";
runCommand "documents"
  {
    nativeBuildInputs = [
      # lychee 0.24 and later needs CA certificates to start, also with --offline.
      cacert
      lychee
    ];
  }
  ''
    cd ${project.sources.everything}
    lychee --offline --no-progress README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs
    touch $out
  ''
