# An OCI image of one program, described in containers/images.toml: no shell, no root user, the same
# bytes from the same sources. The package is a script that writes the image to standard output as
# an archive, so that images are not kept in the store. scripts/images.py makes the same images
# without Nix; scripts/nix-checks.sh compares both.
{
  lib,
  dockerTools,
  runCommand,
  writeTextDir,
  halab,
  project,
}:
{
  # The image's name, after redis-ha-lab-.
  name,
  # Environment variables with paths in the store.
  env ? { },
  # Packages in addition to the program.
  contents ? [ ],
}:
let
  inherit (project.images) common;
  described = project.images.image.${name};
  inherit (common) user;
  # The owner of state folders.
  uid = builtins.head (builtins.split ":" user);
  state = described.state or [ ];
  second = 1000000000;
  # The program only, without manual and completions.
  program = runCommand "halab-program-${halab.version}" { } ''
    install -D -m 755 ${lib.getExe halab} $out/bin/halab
  '';
  # Every command is one of `halab`.
  command = words: [ "${program}/bin/halab" ] ++ builtins.tail words;
in
(dockerTools.streamLayeredImage {
  name = "redis-ha-lab-${name}";
  tag = project.version;

  # Also at a fixed path, for commands from outside: /bin/halab.
  contents = contents ++ [
    program
    (writeTextDir "etc/passwd" "halab:x:${user}:halab:/:/sbin/nologin\n")
    (writeTextDir "etc/group" "halab:x:${uid}:\n")
  ];
  fakeRootCommands = ''
    mkdir -m 1777 tmp
    for folder in ${lib.escapeShellArgs state}; do
      mkdir -p ".$folder"
      chown -R ${user} ".$folder"
      chmod 700 ".$folder"
    done
  '';

  config = {
    Entrypoint = command described.entrypoint;
    Cmd = described.cmd or [ ];
    Env = lib.mapAttrsToList (key: value: "${key}=${value}") (
      { HALAB_CONFIG = common.config; } // described.env or { } // env
    );
    User = user;
    WorkingDir = "/";
    ExposedPorts = lib.genAttrs (map (port: "${toString port}/tcp") (described.ports or [ ])) (_: { });
    Volumes = lib.genAttrs state (_: { });
    # The signal triggers the handover of a data node, so it must reach the program itself.
    StopSignal = common.stop_signal;
    Healthcheck = {
      Test = [ "CMD" ] ++ command described.healthcheck;
      Interval = common.health.interval_s * second;
      Timeout = common.health.timeout_s * second;
      StartPeriod = common.health.start_period_s * second;
      Retries = common.health.retries;
    };
    Labels = {
      "org.opencontainers.image.title" = "redis-ha-lab-${name}";
      "org.opencontainers.image.description" = described.description;
      "org.opencontainers.image.version" = project.version;
      "org.opencontainers.image.licenses" = project.manifest.license;
    };
  };
})
// {
  meta = { inherit (described) description; };
  reference = "redis-ha-lab-${name}:${project.version}";
}
