# The common parts of the images: lab.toml; and the image of a node, with the server.
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

  # The server only, without redis-cli and other programs. Sentinel is the same program.
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
