# Defaults of the keys of lab.toml, from lab.schema.json, which is generated from
# src/config/keys.rs.
let
  inherit (builtins.fromJSON (builtins.readFile ../../lab.schema.json)) properties;

  # The defaults of a table; keys without a default are left out.
  defaultsOf =
    table:
    let
      keys = table.properties;
      silent = builtins.filter (name: !(keys.${name} ? default)) (builtins.attrNames keys);
    in
    builtins.mapAttrs (_: key: key.default) (removeAttrs keys silent);
in
{
  dataNode = defaultsOf properties.data_node.items;
  sentinel = defaultsOf properties.sentinel.items;
  monitoring = defaultsOf properties.monitoring;
  proxy = defaultsOf properties.proxy;
}
