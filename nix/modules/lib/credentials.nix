# What gives a unit the passwords and certificates that it needs, and no others: systemd reads the files, the unit gets
# a folder of its own with them, which is in memory and gone with it.
{ config, lib }:
let
  cfg = config.services.redis-ha-lab;
  security = {
    acl = true;
    tls = false;
    mutual_tls = false;
  }
  // cfg.settings.security or { };
  inherit (security) acl tls;
  service = "redis-ha-lab-secrets.service";
in
rec {
  inherit acl tls;
  mutual = tls && security.mutual_tls;
  used = acl || tls;

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

  # By whom a server is known, and who is known to it where it asks.
  ca = "ca.pem";
  client = "client.pem";
  ofClient = lib.optional tls ca ++ lib.optional mutual client;

  load = names: map (name: "${name}:${folder}/${name}") names;
  # Of who connects as these users.
  forClient = names: load (lib.optionals acl names ++ ofClient);
  # Of a node, whose server has a certificate of its own.
  forNode = name: forClient users ++ load (lib.optional tls "node-${name}.pem");

  # Where they are made on this host, that comes first.
  requires = lib.optional (used && cfg.secretsFolder == null) service;

  environment = lib.optionalAttrs used { HALAB_SECRETS = "%d"; };
}
