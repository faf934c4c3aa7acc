//! What is written about drills, against the program and against measured reports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Holds what stands between two marks in a document to `wanted`; with UPDATE_DOCS it is written there.
fn hold(document: &str, mark: &str, wanted: &str) {
    let mark = format!("<!-- {mark} -->\n");
    let text = read(document);
    let parts: Vec<&str> = text.split(&mark).collect();
    let [before, now, after] = parts[..] else {
        panic!("{mark} does not stand twice in {document}");
    };
    if now == wanted {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(
            file(document),
            [before, &mark, wanted, &mark, after].concat(),
        )
        .unwrap();
    } else {
        assert_eq!(
            now, wanted,
            "{document}: UPDATE_DOCS=1 cargo test --test drills"
        );
    }
}

/// The types of the report as tables: each field or variant with its comment.
fn fields() -> String {
    let source = read("src/drill/report.rs");
    let mut text = String::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        let trimmed = line.trim();
        if let Some(words) = trimmed.strip_prefix("///") {
            comment.push(words.trim());
        } else if let Some(name) = opened(line) {
            inside = name != "Soak";
            if inside {
                text += &format!(
                    "\n## {name}\n\n{}\n\n| field | what |\n|---|---|\n",
                    comment.join(" ")
                );
            }
            comment.clear();
        } else if line == "}" {
            inside = false;
            comment.clear();
        } else if inside && !trimmed.starts_with('#') && !trimmed.is_empty() {
            let field = trimmed.trim_start_matches("pub ").trim_end_matches(',');
            text += &format!(
                "| `{}` | {} |\n",
                field.replace('|', "\\|"),
                comment.join(" ")
            );
            comment.clear();
        } else if !trimmed.starts_with('#') {
            comment.clear();
        }
    }
    text.push('\n');
    text
}

fn opened(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub struct ")
        .or_else(|| line.strip_prefix("pub enum "))?;
    rest.strip_suffix(" {")
}

#[test]
fn results_md_explains_every_field_of_a_report() {
    let fields = fields();
    for part in [
        "## Report\n",
        "## Run\n",
        "| `rto_ms: Option<f64>` |",
        "## Samples\n",
    ] {
        assert!(fields.contains(part), "{part}");
    }
    hold("docs/results.md", "fields", &fields);
}
