//! The JSON schema of `lab.toml`, and the descriptions of its keys for the check and the reference.
//!
//! schemars derives the schema from the types in [`super::keys`], so a key is described only there.
//! Editors use the schema as `lab.schema.json`, and Nix takes defaults from that file.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::attributes::{CHANNEL_FORMAT, COMMAND_FORMAT, KEY_FORMAT, NAME_PATTERN};
use super::keys::Tables;

/// The units: the suffix of a key's name, and the notation after a number.
const UNITS: [(&str, &str); 3] = [("ms", "ms"), ("days", "days"), ("mib", "MiB")];

/// All tables, in the order in which `lab.toml` states them.
pub(super) static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let schema = lab_schema();
    let properties = entries(schema.get("properties"));
    properties
        .map(|(name, section)| Section::of(name, section, is_required(schema.as_value(), name)))
        .collect()
});

/// The JSON schema of `lab.toml`, for editors: draft 7, which all of them support.
///
/// It covers types, ranges and patterns. Only the check covers usable addresses, the number of
/// nodes, and rules on several keys.
pub fn lab_schema() -> Schema {
    // Inlined, so that readers of the schema have no references to follow.
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Tables>()
}

/// One table of `lab.toml`.
#[derive(Debug)]
pub(super) struct Section {
    /// The key of the table at the top of the file.
    pub name: String,
    /// How often the table occurs in the file, and under which header.
    pub shape: Shape,
    /// Whether it is required.
    pub required: bool,
    /// Its keys, in the order of the documentation.
    pub keys: Vec<Key>,
    /// Its description, in Markdown.
    pub meaning: String,
}

/// The notation of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `[name]`, once.
    Table,
    /// `[[name]]`, once for each element.
    List,
    /// `[name.ANY]`, once for each name in the file.
    Named,
}

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    /// The key as written in the file.
    pub name: String,
    /// The valid values.
    pub kind: ValueKind,
    /// The default; `None`: the key is required, inherited from `[timing]`, or derived from
    /// another key.
    pub default: Option<Value>,
    /// Whether it is required.
    pub required: bool,
    /// A valid value.
    example: Value,
    /// Its description, in Markdown.
    pub meaning: String,
}

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// A name: lower-case letters, digits and inner `-`, at most 63.
    Name,
    /// An IPv4 address of a host.
    Address,
    /// An integer between both limits, inclusive.
    Integer {
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
    },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [String]),
    /// A list of strings.
    List(ElementKind),
}

/// The type of the strings in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementKind {
    /// Key patterns.
    Keys,
    /// Channel patterns.
    Channels,
    /// ACL rules for commands.
    Commands,
}

impl Section {
    fn of(name: &str, schema: &Value, required: bool) -> Section {
        let (shape, table) = match &schema["type"] {
            Value::String(kind) if kind == "array" => (Shape::List, &schema["items"]),
            _ if schema["additionalProperties"].is_object() => {
                (Shape::Named, &schema["additionalProperties"])
            }
            _ => (Shape::Table, schema),
        };
        let keys = entries(table.get("properties"))
            .map(|(name, key)| Key::of(name, key, is_required(table, name)));
        Section {
            name: name.to_owned(),
            shape,
            required,
            keys: keys.collect(),
            meaning: one_line(&schema["description"]),
        }
    }

    /// Whether it has required keys.
    pub fn has_required_keys(&self) -> bool {
        self.keys.iter().any(|key| key.required)
    }

    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The header under which the section is written, for example `[[sentinel]]`.
    pub fn header(&self) -> String {
        match self.shape {
            Shape::Table => format!("[{}]", self.name),
            Shape::List => format!("[[{}]]", self.name),
            Shape::Named => format!("[{}.NAME]", self.name),
        }
    }
}

impl Key {
    fn of(name: &str, schema: &Value, required: bool) -> Key {
        let default = schema.get("default").cloned();
        let example = schema["examples"].get(0).or(default.as_ref());
        Key {
            name: name.to_owned(),
            kind: ValueKind::of(schema),
            example: example.cloned().unwrap_or_default(),
            default,
            required,
            meaning: one_line(&schema["description"]),
        }
    }

    /// The key with a valid value, as written in the file.
    pub fn assignment(&self) -> String {
        // Strings, integers, flags and lists of them are the same in JSON and TOML.
        format!("{} = {}", self.name, self.example)
    }

    /// The unit of its number, by the suffix of its name; empty if it has none.
    pub fn unit(&self) -> &'static str {
        let end = self.name.rsplit('_').next();
        let unit = UNITS.iter().find(|(name, _)| end == Some(name));
        unit.map_or("", |(_, unit)| unit)
    }
}

impl ValueKind {
    /// The numbers between two limits, in words.
    pub fn range(min: i64, max: i64) -> String {
        match max {
            i64::MAX => format!("{min} or more"),
            max => format!("{min} to {max}"),
        }
    }

    fn of(schema: &Value) -> ValueKind {
        let limit = |name: &str| schema[name].as_i64();
        match schema["type"].as_str() {
            Some("boolean") => ValueKind::Flag,
            Some("array") => ValueKind::List(match schema["items"]["format"].as_str() {
                Some(KEY_FORMAT) => ElementKind::Keys,
                Some(CHANNEL_FORMAT) => ElementKind::Channels,
                Some(COMMAND_FORMAT) => ElementKind::Commands,
                _ => unreachable!("the check does not know such a list: {schema}"),
            }),
            Some("string") if schema["format"] == "ipv4" => ValueKind::Address,
            Some("string") if schema["pattern"] == NAME_PATTERN => ValueKind::Name,
            Some("string") if schema["enum"].is_array() => {
                let words = schema["enum"].as_array().into_iter().flatten();
                let words = words.filter_map(|word| word.as_str().map(str::to_owned));
                // Leaked once, because the sections live as long as the process.
                ValueKind::Choice(words.collect::<Vec<_>>().leak())
            }
            Some("integer") => ValueKind::Integer {
                min: limit("minimum").unwrap_or(i64::MIN),
                max: limit("maximum").unwrap_or(i64::MAX),
            },
            // This runs before any file is read, so every test fails if a new type of key is not
            // handled.
            _ => unreachable!("the check does not know such a key: {schema}"),
        }
    }
}

fn entries(object: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    let object = object.and_then(Value::as_object).into_iter().flatten();
    object.map(|(name, value)| (name.as_str(), value))
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema["required"].as_array();
    required.is_some_and(|names| names.iter().any(|n| n == name))
}

/// The text without the line breaks of the source comment.
fn one_line(text: &Value) -> String {
    text.as_str().unwrap_or_default().replace('\n', " ")
}
