# `nix run`: the processes lane, by the very process-compose.yaml that ./lab runs.
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
    # `halab monitor` runs what it finds on PATH.
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
    # What ./lab has beside itself; the writer is the part that only the terminal interface shows.
    LAB_COMPOSE = "${project.sources.lab}/process-compose.yaml";
    LAB_COMPOSE_WRITER = "${./writer.yaml}";
    LAB_TOML = "${project.sources.lab}/lab.toml";
    LAB_REDIS_SERVER = lib.getExe' redis "redis-server";
  };
  text = builtins.readFile ./lab.sh;
  meta.description = "The whole lab as processes, in process-compose's terminal interface";
}
