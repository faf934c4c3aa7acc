# What drills break a lab with, beside signals: links cut in a network of their own, disks filled and slowed, clocks
# stepped. A drill whose tool is missing says so, and is inconclusive.
{ lib, pkgs }:
{
  packages = lib.optionals pkgs.stdenv.hostPlatform.isLinux (
    [
      pkgs.iproute2
      pkgs.nftables
      pkgs.util-linux
    ]
    ++ lib.concatMap (name: lib.optional (pkgs ? ${name}) pkgs.${name}) [
      "libfaketime"
      "strace"
    ]
  );
}
