//! Parts of the JSON schema that the attributes of the types in [`super::keys`] state by name.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::values::{DEFAULT_COMMANDS, NAME_MAX, RULE_MAX};

/// Names as a regular expression; `values::is_good_name` is the same in Rust.
pub(super) const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

/// The schema of a name.
pub(super) fn name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_MAX })
}

/// The format of each element of a list, which editors ignore.
pub(super) const KEY_FORMAT: &str = "redis-keys";
pub(super) const CHANNEL_FORMAT: &str = "redis-channels";
pub(super) const COMMAND_FORMAT: &str = "redis-acl-commands";

/// The schema of patterns of keys. Which ones are the lab's, only the check knows.
pub(super) fn keys_schema(_: &mut SchemaGenerator) -> Schema {
    strings(KEY_FORMAT, "^[!-~]+$", &["shop:*"])
}

/// The schema of patterns of channels.
pub(super) fn channels_schema(_: &mut SchemaGenerator) -> Schema {
    strings(CHANNEL_FORMAT, "^[!-~]+$", &["shop:*"])
}

/// The schema of ACL rules of commands.
pub(super) fn commands_schema(_: &mut SchemaGenerator) -> Schema {
    let rule = "^[+-](@[a-z]+|[a-z0-9_.-]+(\\|[a-z0-9_.-]+)?)$";
    strings(COMMAND_FORMAT, rule, &DEFAULT_COMMANDS)
}

/// The schemas of keys that take one of a few words; the types have them, too.
pub(super) fn reads_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["linearizable", "local"] })
}

pub(super) fn unanswered_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["disconnect", "retry"] })
}

/// Makes the schema of a key whose default follows from another key.
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

/// Makes the schema of tables by name: the names are good ones, and a key that is absent has no
/// default, but is as in another table.
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
