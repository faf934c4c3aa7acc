# services.redis-ha-lab.secretsFolder: the passwords of the users of the lab's servers, and with TLS
# their certificates, as systemd credentials.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.redis-ha-lab;
  topology = import ../lib/topology.nix cfg.settings;
  units = import ./lib/units.nix { inherit config lib; };
  made = "redis-ha-lab/secrets";
  runHere =
    lib.optionals cfg.dataNode.enable cfg.dataNode.names
    ++ lib.optionals cfg.sentinel.enable cfg.sentinel.names;
  used =
    cfg.dataNode.enable
    || cfg.sentinel.enable
    || cfg.writer.enable
    || cfg.proxy.enable
    || cfg.web.enable
    || cfg.monitoring.enable;
  allHere = lib.all (node: lib.elem node.name runHere) topology.nodes;
in
{
  options.services.redis-ha-lab.secretsFolder = mkOption {
    type = types.nullOr (types.strMatching "/.*[^/]");
    default = null;
    example = "/run/keys/redis-ha-lab";
    description = ''
      Folder on this host with the password of each user of the lab's servers, one file per user:
      writer, proxy, verifier, replication, sentinel, exporter, node, operator; and app-NAME of each
      application in `settings.app`. Every host that runs a node needs the same files; a host that
      only writes needs writer, one with only a proxy needs proxy, one with only the page in the
      browser needs verifier and writer, one that only monitors needs exporter. With
      `settings.security.tls` every host also needs ca.pem, and node-NAME.pem of each node that it
      runs, and proxy.pem for the proxy; with `mutual_tls` also client.pem.
      `halab secrets make DIR` makes all files. systemd reads them (LoadCredential), so only root
      needs access; never put them into the Nix store. `null`: the first start makes them in
      /var/lib/${made}, which is sufficient if all nodes of the lab run on this host.
    '';
  };

  config = lib.mkIf (used && units.used) {
    assertions = [
      {
        assertion = cfg.secretsFolder != null || allHere;
        message = ''
          services.redis-ha-lab: the lab's nodes run on several hosts,
          which need the same passwords and certificates. Make them once by
          `halab secrets make DIR`, copy to every host what it needs of DIR (docs/nix.md), and
          name that folder in services.redis-ha-lab.secretsFolder.
        '';
      }
    ];

    environment.variables.HALAB_SECRETS =
      if cfg.secretsFolder != null then cfg.secretsFolder else "/var/lib/${made}";

    systemd.services.halab-secrets = lib.mkIf (cfg.secretsFolder == null) units.secretsMaker;
  };
}
