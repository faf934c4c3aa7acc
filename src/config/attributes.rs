//! Parts of the JSON schema, which the attributes of the types in [`super::keys`] refer to.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::values::{DEFAULT_COMMANDS, NAME_MAX, RULE_MAX};

/// The valid names as a regular expression, equivalent to `values::is_valid_name`.
pub(super) const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

/// The schema of a name.
pub(super) fn name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_MAX })
}

/// The format of each element of a list, which editors ignore.
pub(super) const KEY_FORMAT: &str = "redis-keys";
pub(super) const CHANNEL_FORMAT: &str = "redis-channels";
pub(super) const COMMAND_FORMAT: &str = "redis-acl-commands";

/// The schema of key patterns. It does not exclude the patterns reserved for the lab; the check
/// does.
pub(super) fn keys_schema(_: &mut SchemaGenerator) -> Schema {
    strings(KEY_FORMAT, "^[!-~]+$", &["shop:*"])
}

/// The schema of channel patterns.
pub(super) fn channels_schema(_: &mut SchemaGenerator) -> Schema {
    strings(CHANNEL_FORMAT, "^[!-~]+$", &["shop:*"])
}

/// The schema of ACL rules for commands.
pub(super) fn commands_schema(_: &mut SchemaGenerator) -> Schema {
    let rule = "^[+-](@[a-z]+|[a-z0-9_.-]+(\\|[a-z0-9_.-]+)?)$";
    strings(COMMAND_FORMAT, rule, &DEFAULT_COMMANDS)
}

/// The schemas of keys with a fixed set of words, the same as those of their types.
pub(super) fn reads_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["linearizable", "local"] })
}

pub(super) fn unanswered_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["disconnect", "retry"] })
}

/// Adapts the schema of a key whose default is derived from another key.
pub(super) fn without_default(schema: &mut Schema) {
    schema.remove("default");
}

fn strings(format: &str, pattern: &str, example: &[&str]) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string", "format": format, "pattern": pattern, "maxLength": RULE_MAX },
        "examples": [example],
    })
}

/// Adapts the schema of named tables: their names have to be valid, and an absent key has no
/// default, because its value is inherited from another table.
pub(super) fn inherited(schema: &mut Schema) {
    schema.insert(
        "propertyNames".into(),
        name_schema(&mut SchemaGenerator::default()).to_value(),
    );
    let table = schema.get_mut("additionalProperties");
    let keys = table.and_then(|table| table.get_mut("properties")?.as_object_mut());
    for key in keys
        .into_iter()
        .flat_map(|keys| keys.values_mut().filter_map(Value::as_object_mut))
    {
        if let Some(default) = key.remove("default") {
            key.insert("examples".into(), Value::Array(vec![default]));
        }
    }
}
