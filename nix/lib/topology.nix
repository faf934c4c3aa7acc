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
in
{
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
