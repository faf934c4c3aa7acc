# What the flake derives from the content of a lab.toml: the nodes by name, with their kind. Pure, and without
# nixpkgs; whether the content is right is for `halab check-config` to say.
settings:
let
  node = kind: defaultPort: given: {
    inherit kind;
    inherit (given) name address;
    port = given.port or defaultPort;
  };
  dataNodes = map (node "data" 6379) (settings.data_node or [ ]);
  sentinels = map (node "sentinel" 26379) (settings.sentinel or [ ]);
  nodes = dataNodes ++ sentinels;
  names = map (n: n.name);
  watched = settings ? monitoring;
  monitoring = settings.monitoring or { };
in
{
  # Where metrics are served and gathered; null: nowhere.
  monitoring =
    if !watched then
      null
    else
      {
        prometheus_port = 9090;
        grafana_port = 3000;
        redis_exporter_port = 9121;
        cadvisor_port = 8080;
        node_port = 9400;
        writer_port = 9401;
      }
      // monitoring;
  inherit dataNodes sentinels nodes;
  dataNodeNames = names dataNodes;
  sentinelNames = names sentinels;
  byName = builtins.listToAttrs (
    map (value: {
      inherit (value) name;
      inherit value;
    }) nodes
  );
}
