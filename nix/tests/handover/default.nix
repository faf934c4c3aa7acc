# Planned changes over TLS while the writer writes: a handover, a stop, a rolling restart of every
# node; see test.py.
{ lib, scriptOf, ... }:
{
  imports = [ ../driver/machines.nix ];

  name = "handover";
  defaults.services.redis-ha-lab.settings.security = lib.mapAttrs (_: lib.mkForce) {
    tls = true;
    mutual_tls = true;
  };
  testScript = scriptOf ./test.py;
}
