//! The reference of all keys of `lab.toml` as Markdown, from the descriptions that the parser uses.

use std::fmt::Write;

use super::keys::{Default, Key, Kind, NAME_MAX, SECTIONS};

/// A table of keys for each section of `lab.toml`: type, unit, default, meaning.
pub fn key_reference() -> String {
    let mut out = String::new();
    for section in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(out, "## `{}`\n\n{}\n\n", section.header(), section.meaning);
        out.push_str("| key | type | unit | default | meaning |\n|---|---|---|---|---|\n");
        for key in section.keys {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} |",
                key.name,
                kind(key.kind),
                unit(key.kind),
                default(key),
                key.meaning
            );
        }
        out.push('\n');
    }
    out
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Name => format!("name, 1 to {NAME_MAX} characters"),
        Kind::Address => "IPv4 address".into(),
        Kind::Integer { min, max: i64::MAX } => format!("integer, {min} or more"),
        Kind::Integer { min, max } | Kind::Millis { min, max } => {
            format!("integer, {min} to {max}")
        }
        Kind::Flag => "`true` or `false`".into(),
    }
}

fn unit(kind: Kind) -> &'static str {
    match kind {
        Kind::Millis { .. } => "ms",
        Kind::Name | Kind::Address | Kind::Integer { .. } | Kind::Flag => "",
    }
}

fn default(key: &Key) -> String {
    match key.default {
        Default::Required => "required".into(),
        Default::Value(value) => format!("`{value}`"),
        Default::Flag(value) => format!("`{value}`"),
        Default::Inherited => "as in `[timing]`".into(),
    }
}
