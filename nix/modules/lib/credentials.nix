# What gives a unit the passwords that it needs, and no others: systemd reads the files, the unit gets a folder of its
# own with them, which is in memory and gone with it.
{ config, lib }:
let
  cfg = config.services.redis-ha-lab;
  service = "redis-ha-lab-secrets.service";
in
rec {
  acl = cfg.settings.security.acl or true;

  # All of them; a node keeps the hash of each.
  users = [
    "writer"
    "verifier"
    "replication"
    "sentinel"
    "exporter"
    "node"
    "operator"
  ];

  folder = if cfg.secretsFolder != null then cfg.secretsFolder else "/var/lib/redis-ha-lab/secrets";

  load = names: lib.optionals acl (map (name: "${name}:${folder}/${name}") names);

  # Where they are made on this host, that comes first.
  requires = lib.optional (acl && cfg.secretsFolder == null) service;

  environment = lib.optionalAttrs acl { HALAB_SECRETS = "%d"; };
}
