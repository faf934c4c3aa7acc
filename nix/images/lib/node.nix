# What the images of nodes and of the writer have in common: the program, the server, lab.toml.
{
  lib,
  callPackage,
  runCommand,
  halab,
  redis,
  project,
}:
rec {
  image = callPackage ./image.nix { };

  # Only the server: redis-cli and the rest stay behind. Sentinel is the same program.
  server = runCommand "redis-server-${redis.version}" { } ''
    install -D -m 755 ${lib.getExe' redis "redis-server"} $out/bin/redis-server
  '';

  config = runCommand "lab-toml" { nativeBuildInputs = [ halab ]; } ''
    halab check-config --config ${project.sources.lab}/lab.toml
    install -D -m 644 ${project.sources.lab}/lab.toml $out/etc/redis-ha-lab/lab.toml
  '';

  # HALAB_NODE says which node of lab.toml it is; HALAB_SUBNET moves all addresses into the containers' network;
  # another lab.toml is mounted over this one.
  env.HALAB_CONFIG = "/etc/redis-ha-lab/lab.toml";

  node =
    {
      name,
      description,
      port,
    }:
    image {
      inherit name description;
      entrypoint = [
        (lib.getExe halab)
        "node"
      ];
      env = env // {
        HALAB_STATE = "/state";
        HALAB_REDIS_SERVER = "${server}/bin/redis-server";
      };
      contents = [ config ];
      state = [ "/state" ];
      ports = [ port ];
      healthcheck = [
        (lib.getExe halab)
        "health"
      ];
    };
}
