# services.redis-ha-lab: a node of a lab on this host, its writer, its monitoring. Every role is off until it is
# enabled, so that all hosts of a lab can import the same module and the same settings.
{ lib, ... }:
{
  imports = lib.attrValues (removeAttrs (import ../lib/discover.nix ./.) [ "default" ]);
}
