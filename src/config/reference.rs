//! The reference of all keys of `lab.toml` as Markdown, from the descriptions that the check uses.

use std::fmt::Write;

use super::schema::{ElementKind, Key, SECTIONS, Shape, ValueKind};
use super::values::NAME_MAX;

/// A table of keys for each section of `lab.toml`: type, unit, default, meaning.
pub fn key_reference() -> String {
    let mut out = String::new();
    for section in SECTIONS.iter() {
        // Writing to a String cannot fail.
        let _ = write!(out, "## `{}`\n\n{}\n\n", section.header(), section.meaning);
        out.push_str("| key | type | unit | default | meaning |\n| -- | -- | -- | -- | -- |\n");
        for key in &section.keys {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} |",
                key.name,
                kind(key.kind),
                key.unit(),
                default(key, section.shape),
                // In a table, a vertical bar begins the next cell.
                key.meaning.replace('|', "\\|")
            );
        }
        out.push('\n');
    }
    out
}

fn kind(kind: ValueKind) -> String {
    match kind {
        ValueKind::Name => format!("name, 1 to {NAME_MAX} characters"),
        ValueKind::Address => "IPv4 address".into(),
        ValueKind::Integer { min, max } => format!("integer, {}", ValueKind::range(min, max)),
        ValueKind::Flag => "`true` or `false`".into(),
        ValueKind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(" or ")
        }
        ValueKind::List(ElementKind::Keys | ElementKind::Channels) => "list of patterns".into(),
        ValueKind::List(ElementKind::Commands) => "list of ACL rules".into(),
    }
}

fn default(key: &Key, shape: Shape) -> String {
    match &key.default {
        Some(value) => format!("`{value}`"),
        None if shape == Shape::Named => "as in `[timing]`".into(),
        None if !key.required && shape == Shape::List => "by `name`".into(),
        None if !key.required => "see right".into(),
        None => "required".into(),
    }
}
