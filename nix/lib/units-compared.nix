# A unit's text as it is comparable between hosts: that which NixOS evaluates to and that of deploy/systemd are then the same,
# byte for byte. What is taken away or replaced here is all that may differ. Pure, and without nixpkgs.
{
  # What the text calls the program and lab.toml, which lie elsewhere on each host.
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
    # NixOS names the server and the address of cAdvisor; elsewhere the server is found on PATH, and the address is that of
    # lab.toml until an administrator says otherwise.
    "Environment=\"HALAB_REDIS_SERVER="
    "Environment=\"HALAB_LISTEN="
    # Elsewhere the unit does not know whether the lab has certificates, so that their files may be missing.
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
  # NixOS knows the other nodes of the host, and stops a data node before them.
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
