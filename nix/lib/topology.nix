# What the flake derives from the content of a lab.toml: the nodes by name, with their kind. Pure, and without
# nixpkgs; whether the content is right is for `halab check-config` to say.
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
  # Where metrics are served and gathered; null: nowhere.
  monitoring = if watched then defaults.monitoring // monitoring else null;
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
