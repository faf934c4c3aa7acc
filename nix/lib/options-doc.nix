# Options of a NixOS module as Markdown: a heading, the description and a list per option.
{ lib }:
options:
let
  text = value: value.text or value;
  code =
    value:
    if lib.hasInfix "\n" value then "\n\n  ```nix\n  ${indented value}\n  ```" else " `${value}`";
  indented = value: lib.concatStringsSep "\n  " (lib.splitString "\n" (lib.trim value));
  shown =
    value:
    if value._type or null == "literalMD" then " ${value.text}" else code (lib.trim (text value));

  section =
    option:
    lib.concatStringsSep "\n" (
      [
        "## `${option.name}`"
        ""
        (lib.trim (text option.description))
        ""
        "- type: `${option.type}`"
      ]
      ++ lib.optional (option ? default) "- default:${shown option.default}"
      ++ lib.optional (option ? example) "- example:${shown option.example}"
      ++ lib.optional (option.readOnly or false) "- read only"
      ++ [ "" ]
    );

  documented = lib.filter (option: option.visible && !option.internal) (
    lib.optionAttrSetToDocList options
  );
in
lib.concatMapStringsSep "\n" section (lib.sort (a: b: a.loc < b.loc) documented)
