# A unit as the text of its file, in the form in which NixOS writes systemd.services and
# systemd.targets: sections in this order, keys in alphabetical order, one line per element of a
# list. Pure, without nixpkgs.
unit:
let
  concatMap = f: list: builtins.concatStringsSep "" (map f list);
  value =
    v:
    if v == true then
      "true"
    else if v == false then
      "false"
    else
      toString v;
  section =
    keys:
    concatMap (
      key:
      let
        given = keys.${key};
      in
      concatMap (v: "${key}=${value v}\n") (if builtins.isList given then given else [ given ])
    ) (builtins.attrNames keys);

  # One line with all elements of the list.
  joined =
    key: name:
    let
      list = unit.${name} or [ ];
    in
    if list == [ ] then { } else { ${key} = toString list; };
  environment = unit.environment or { };
in
''
  [Unit]
  ${section (
    {
      Description = unit.description;
    }
    // joined "After" "after"
    // joined "Before" "before"
    // joined "Documentation" "documentation"
    // joined "Requires" "requires"
    // (
      if unit ? startLimitIntervalSec then
        { StartLimitIntervalSec = unit.startLimitIntervalSec; }
      else
        { }
    )
    // joined "Wants" "wants"
  )}
''
+ (
  if unit ? serviceConfig then
    "[Service]\n"
    + concatMap (name: "Environment=${builtins.toJSON "${name}=${environment.${name}}"}\n") (
      builtins.attrNames environment
    )
    + section unit.serviceConfig
  else
    ""
)
+ (
  if unit.wantedBy or [ ] == [ ] then
    ""
  else
    ''

      [Install]
      WantedBy=${toString unit.wantedBy}
    ''
)
