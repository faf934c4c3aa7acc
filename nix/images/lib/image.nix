# An OCI image of one program: no shell, no user that is root, the same bytes from the same sources. It is a script
# that writes the image as an archive to standard output, so that no image has to be kept in the store.
{
  lib,
  dockerTools,
  writeTextDir,
  project,
}:
{
  # The image's name, after redis-ha-lab-.
  name,
  description,
  # The program and its first arguments.
  entrypoint,
  cmd ? [ ],
  env ? { },
  # Files beside the closure of the program.
  contents ? [ ],
  # Folders that the user may write to; volumes, so that what is there outlives a container.
  state ? [ ],
  ports ? [ ],
  # The command that tells by its exit code whether the container serves.
  healthcheck,
}:
let
  user = "65532";
  second = 1000000000;
in
(dockerTools.streamLayeredImage {
  name = "redis-ha-lab-${name}";
  tag = project.version;

  contents = contents ++ [
    (writeTextDir "etc/passwd" "halab:x:${user}:${user}:halab:/:/sbin/nologin\n")
    (writeTextDir "etc/group" "halab:x:${user}:\n")
  ];
  fakeRootCommands = ''
    mkdir -m 1777 tmp
    for folder in ${lib.escapeShellArgs state}; do
      mkdir -p ".$folder"
      chown -R ${user}:${user} ".$folder"
      chmod 700 ".$folder"
    done
  '';

  config = {
    Entrypoint = entrypoint;
    Cmd = cmd;
    Env = lib.mapAttrsToList (key: value: "${key}=${value}") env;
    User = "${user}:${user}";
    WorkingDir = "/";
    ExposedPorts = lib.genAttrs (map (port: "${toString port}/tcp") ports) (_: { });
    Volumes = lib.genAttrs state (_: { });
    # Of a data node it is the request to hand over, which has to come to the program itself.
    StopSignal = "SIGTERM";
    Healthcheck = {
      Test = [ "CMD" ] ++ healthcheck;
      Interval = 2 * second;
      Timeout = 3 * second;
      StartPeriod = 20 * second;
      Retries = 3;
    };
    Labels = {
      "org.opencontainers.image.title" = "redis-ha-lab-${name}";
      "org.opencontainers.image.description" = description;
      "org.opencontainers.image.version" = project.version;
      "org.opencontainers.image.licenses" = project.manifest.license;
    };
  };
})
// {
  meta = { inherit description; };
  # For the checks, and for those who write compose files.
  inherit healthcheck;
  reference = "redis-ha-lab-${name}:${project.version}";
}
