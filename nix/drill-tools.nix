# Tools of drills, which cut links in a separate network, fill and slow disks, and step clocks. A
# drill without its tool is inconclusive.
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
