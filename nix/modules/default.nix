# services.redis-ha-lab: nodes, writer, proxy and monitoring of a lab on this host. Every role is
# off by default, so that all hosts of a lab can import the same module and settings.
{ lib, ... }:
{
  imports = lib.attrValues (removeAttrs (import ../lib/discover.nix ./.) [ "default" ]);
}
