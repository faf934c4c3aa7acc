# The keys of lab.toml as the program reads them, of lab.schema.json, which is made of src/config/keys.rs.
let
  inherit (builtins.fromJSON (builtins.readFile ../../lab.schema.json)) properties;

  # Of the keys of a table that have one.
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
}
