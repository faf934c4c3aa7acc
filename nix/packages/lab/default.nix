# `nix run`: the processes lane, with the same process-compose.yaml as ./lab.
{
  lib,
  stdenv,
  callPackage,
  writeShellApplication,
  cadvisor,
  grafana,
  prometheus,
  prometheus-redis-exporter,
  coreutils,
  gnugrep,
  halab,
  process-compose,
  redis,
  project,
}:
writeShellApplication {
  name = "redis-ha-lab";
  runtimeInputs = [
    coreutils
    gnugrep
    halab
    process-compose
    redis
    # `halab monitor` finds these on PATH.
    grafana
    prometheus
    prometheus-redis-exporter
  ]
  ++ lib.optionals stdenv.hostPlatform.isLinux [
    # It reads the kernel's cgroups.
    cadvisor
  ]
  ++ (callPackage ../../drill-tools.nix { }).packages;
  runtimeEnv = {
    # Files that ./lab has in its folder, and the writer, which only the terminal interface runs.
    LAB_COMPOSE = "${project.sources.lab}/process-compose.yaml";
    LAB_COMPOSE_WRITER = "${./writer.yaml}";
    LAB_TOML = "${project.sources.lab}/lab.toml";
    LAB_REDIS_SERVER = lib.getExe' redis "redis-server";
  };
  text = builtins.readFile ./lab.sh;
  meta.description = "The whole lab as processes, in process-compose's terminal interface";
}
