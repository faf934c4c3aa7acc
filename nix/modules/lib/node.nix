# The common parts of both kinds of nodes: options, ports and assertions.
{ config, lib }:
let
  inherit (lib) mkEnableOption mkOption types;
  cfg = config.services.redis-ha-lab;
  topology = import ../../lib/topology.nix cfg.settings;
  ports = import ./ports.nix { inherit config lib; };
in
rec {
  inherit topology;

  options =
    what: example:
    {
      enable = mkEnableOption "${what} of the lab on this host";

      names = mkOption {
        type = types.nonEmptyListOf types.str;
        default = [ config.networking.hostName ];
        defaultText = lib.literalExpression "[ config.networking.hostName ]";
        example = [ example ];
        description = ''
          The nodes of `settings` that run on this host. Run one per host, otherwise the loss of
          this host is the loss of several nodes. The default is the node with the host's name.
        '';
      };
    }
    // ports.options "the nodes and of their metrics";

  # The ports of the servers and of their metrics.
  firewall =
    role:
    ports.firewall role (
      lib.unique (
        map (name: topology.byName.${name}.port) (known role)
        ++ lib.optional (topology.monitoring != null) topology.monitoring.node_port
      )
    );

  # The assertion below reports names that are not in settings.
  known = role: lib.filter (name: topology.byName ? ${name}) role.names;

  assertions =
    path: kind: role:
    let
      ofKind = map (n: n.name) (lib.filter (n: n.kind == kind) topology.nodes);
    in
    map (name: {
      assertion = lib.elem name ofKind;
      message = ''
        services.redis-ha-lab.${path}.names has "${name}", which is no node of this kind in settings: ${lib.concatStringsSep ", " ofKind}.
        Name one of these, or add "${name}" to settings. The default of `names` is the host's name.
      '';
    }) role.names;
}
