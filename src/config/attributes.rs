//! Parts of the JSON schema that the attributes of the types in [`super::keys`] state by name.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::values::NAME_MAX;

/// Names as a regular expression; `values::is_good_name` is the same in Rust.
pub(super) const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

/// The schema of a name.
pub(super) fn name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_MAX })
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
