# { NAME = path; } for each NAME.nix and each NAME/default.nix of a folder: a new package, check or
# test only needs a new file, and no entry in a list. Pure, without nixpkgs.
folder:
let
  entries = builtins.readDir folder;
  found =
    entry:
    let
      stem = builtins.match "(.*)\\.nix" entry;
    in
    if entries.${entry} == "regular" && stem != null then
      [
        {
          name = builtins.head stem;
          value = folder + "/${entry}";
        }
      ]
    else if
      entries.${entry} == "directory" && builtins.pathExists (folder + "/${entry}/default.nix")
    then
      [
        {
          name = entry;
          value = folder + "/${entry}";
        }
      ]
    else
      [ ];
in
builtins.listToAttrs (builtins.concatMap found (builtins.attrNames entries))
