# The writer; its ledger is in /ledger. Any other command of the program: `docker run IMAGE verify --ledger ...`.
{
  lib,
  callPackage,
  halab,
}:
let
  common = callPackage ./lib/node.nix { };
in
common.image {
  name = "writer";
  description = "Writes records through whoever is primary, and keeps the ledger of what was acknowledged";
  entrypoint = [ (lib.getExe halab) ];
  cmd = [
    "write"
    "--ledger"
    "/ledger/writer.ledger"
  ];
  inherit (common) env;
  contents = [ common.config ];
  state = [ "/ledger" ];
  # It serves nobody; what it can be asked is whether the lab that it writes to is there.
  healthcheck = [
    (lib.getExe halab)
    "status"
  ];
}
