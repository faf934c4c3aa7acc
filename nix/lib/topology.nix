# The nodes of a lab.toml by name, with their kind, for the flake. Pure, without nixpkgs. `halab
# check-config` validates the content.
settings:
let
  defaults = import ./keys.nix;
  node = kind: defaults: given: {
    inherit kind;
    inherit (given) name address;
    port = given.port or defaults.port;
  };
  dataNodes = map (node "data" defaults.dataNode) (settings.data_node or [ ]);
  sentinels = map (node "sentinel" defaults.sentinel) (settings.sentinel or [ ]);
  nodes = dataNodes ++ sentinels;
  names = map (n: n.name);
  watched = settings ? monitoring;
  monitoring = settings.monitoring or { };
in
{
  # The addresses and ports of the monitoring; null: there is none.
  monitoring = if watched then defaults.monitoring // monitoring else null;
  # The settings of the proxy, whether the lab has one or not.
  proxy = defaults.proxy // (settings.proxy or { });
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
