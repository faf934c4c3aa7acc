# What the images of the monitoring have in common: `halab monitor NAME` makes the service's configuration for the
# lab at hand (lab.toml, moved by HALAB_SUBNET), and becomes the service. All four listen at the one address of
# [monitoring], so their containers share one network (docker run --network container:prometheus).
{
  lib,
  callPackage,
  halab,
}:
let
  common = callPackage ./node.nix { };
in
{
  name,
  description,
  # Where the program of the service is.
  package,
  port,
}:
common.image {
  inherit name description;
  entrypoint = [
    (lib.getExe halab)
    "monitor"
    name
  ];
  env = common.env // {
    HALAB_STATE = "/state";
    PATH = lib.makeBinPath [ package ];
    # The others are there, each in a container of its own.
    HALAB_MONITOR_ALL = "true";
  };
  contents = [ common.config ];
  state = [ "/state" ];
  ports = [ port ];
  # It asks those services whose programs are here: this one.
  healthcheck = [
    (lib.getExe halab)
    "monitor"
  ];
}
