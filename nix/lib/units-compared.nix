# Normalizes the text of a unit, so that the unit of NixOS and that of deploy/systemd must be equal
# byte for byte. Only the parts removed or replaced here may differ. Pure, without nixpkgs.
{
  # The paths of the program and of lab.toml in the text, which differ between hosts.
  program,
  config,
}:
text:
let
  startsWith = prefix: line: builtins.substring 0 (builtins.stringLength prefix) line == prefix;
  explained = [
    # NixOS sets them for every service.
    "Environment=\"LOCALE_ARCHIVE="
    "Environment=\"PATH="
    "Environment=\"TZDIR="
    # NixOS sets the server and the addresses of cAdvisors; elsewhere the server is found on PATH,
    # and the address is that of lab.toml unless an administrator sets others.
    "Environment=\"HALAB_REDIS_SERVER="
    "Environment=\"HALAB_LISTEN="
    "Environment=\"HALAB_CADVISORS="
    # Elsewhere the unit does not know whether the lab has certificates, so their files are
    # optional.
    "SetCredential="
  ];
  placed =
    builtins.replaceStrings
      [
        program
        config
      ]
      [
        "/usr/bin/halab"
        "/etc/redis-ha-lab/lab.toml"
      ]
      (builtins.unsafeDiscardStringContext text);
  # NixOS knows the other nodes of the host and stops a data node before them.
  withoutNodes =
    line:
    if startsWith "After=" line then
      builtins.concatStringsSep " " (
        builtins.filter (word: builtins.match "halab-(data-node|sentinel)@.*" word == null) (
          builtins.filter builtins.isString (builtins.split " " line)
        )
      )
    else
      line;
  lines = builtins.filter (line: builtins.isString line && line != "") (builtins.split "\n" placed);
in
map withoutNodes (
  builtins.filter (line: !builtins.any (prefix: startsWith prefix line) explained) lines
)
