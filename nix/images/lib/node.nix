# What the images have in common: lab.toml; and that of a node, with the server.
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
    install -D -m 644 ${project.sources.lab}/lab.toml $out${project.images.common.config}
  '';

  node =
    name:
    image {
      inherit name;
      env.HALAB_REDIS_SERVER = "${server}/bin/redis-server";
      contents = [ config ];
    };
}
