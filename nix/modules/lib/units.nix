# The units of nix/lib/units.nix for this host.
{ config, lib }:
let
  cfg = config.services.redis-ha-lab;
in
import ../../lib/units.nix {
  program = lib.getExe cfg.package;
  config = "${cfg.configFile}";
  secrets = if cfg.secretsFolder != null then cfg.secretsFolder else "/var/lib/redis-ha-lab/secrets";
  security = cfg.settings.security or { };
  apps = map (app: app.name) (cfg.settings.app or [ ]);
  proxyTls = cfg.settings.proxy.tls or true;
  everywhere = lib.optionalAttrs (cfg.profile != null) { HALAB_PROFILE = cfg.profile; };
  ofNodes.HALAB_REDIS_SERVER = lib.getExe' cfg.redisPackage "redis-server";
  makers = lib.optional (cfg.secretsFolder == null) "halab-secrets.service";
}
