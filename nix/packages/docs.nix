# The documents, the manual pages, and the generated reference of the NixOS module's options.
{
  lib,
  pkgs,
  runCommand,
  writeText,
  halab,
  project,
}:
let
  evaluated = lib.evalModules {
    modules = [
      ../modules
      {
        # Only the options are evaluated; the options of NixOS that the module sets do not exist
        # here.
        _module.check = false;
        _module.args = { inherit pkgs; };
      }
    ];
  };
  optionsMarkdown = ''
    # Options of the NixOS module

    Generated from `nix/modules`; a check of the flake compares it. To update it:

    ```console
    nix eval --raw .#docs.optionsMarkdown >docs/nixos-options.md
    ```

  ''
  + import ../lib/options-doc.nix { inherit lib; } evaluated.options.services.redis-ha-lab;
in
runCommand "redis-ha-lab-docs-${project.version}"
  {
    passthru = { inherit optionsMarkdown; };
    meta.description = "The documents, the manual pages, the NixOS options";
  }
  ''
    target=$out/share/doc/redis-ha-lab
    mkdir -p $target $out/share/man
    cp -r ${project.sources.documents}/. $target
    chmod -R +w $target
    cp ${writeText "nixos-options.md" optionsMarkdown} $target/docs/nixos-options.md
    cp -r ${halab}/share/man/. $out/share/man
  ''
