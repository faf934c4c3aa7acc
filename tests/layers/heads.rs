//! The rules on the documentation at the beginning of a module's file: it is there, and the list in
//! it names modules that exist.

use crate::assert_none;
use crate::source::{Module, Sources};

/// Files of the program that do not begin with `//!`.
fn missing_heads(sources: &Sources) -> Vec<String> {
    let files = sources.program().filter(|module| !module.is_inline);
    let missing = files.filter(|module| module.head.trim().is_empty());
    missing
        .map(|module| format!("{} does not begin with `//!`", module.file.display()))
        .collect()
}

/// The parts that the list in a head names: of "- `a`, `b`: text; `c`: text" they are `a`, `b` and
/// `c`. rustdoc checks the names that are links.
fn named_parts(head: &str) -> Vec<String> {
    let mut items: Vec<String> = vec![];
    let mut in_item = false;
    for line in head.lines() {
        if let Some(item) = line.strip_prefix(" - ") {
            items.push(item.to_owned());
            in_item = true;
        } else if let Some(more) = line.strip_prefix("   ").filter(|_| in_item) {
            let item = items.last_mut().expect("an item");
            *item = format!("{item} {more}");
        } else {
            in_item = false;
        }
    }
    let quoted = |name: &str| -> Option<String> {
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(is_name).then(|| name.to_owned())
    };
    let labels = items.iter().flat_map(|item| item.split("; "));
    let labels = labels.filter_map(|part| Some(part.split_once(": ")?.0));
    let names = labels.map(|label| label.split(", ").map(quoted).collect::<Option<Vec<_>>>());
    names.flatten().flatten().collect()
}

/// The modules with parts. The lists of all others are about something else.
fn with_parts(sources: &Sources) -> impl Iterator<Item = &Module> {
    let modules = sources.modules.values();
    modules.filter(|module| !module.parts.is_empty())
}

/// Names in the lists of heads that are no part of their module.
fn unknown_parts(sources: &Sources) -> Vec<String> {
    let mut violations = vec![];
    for module in with_parts(sources) {
        for name in named_parts(&module.head) {
            if !module.parts.contains(&name) {
                violations.push(format!("{}: {name}", module.file.display()));
            }
        }
    }
    violations
}

#[test]
fn every_file_of_the_program_has_a_head() {
    assert_none(&missing_heads(Sources::of_crate()));
}

#[test]
fn a_missing_head_is_found() {
    let violations = |text| missing_heads(&Sources::parse(text)).len();
    assert_eq!(violations("//! What it does.\n\nmod a {}"), 0);
    for text in [
        "mod a {}",
        "// What it does.\n",
        "/// A.\nmod a {}",
        "//!\n",
        "mod a { //! A.\n }",
    ] {
        assert_eq!(violations(text), 1, "{text}");
    }
}

#[test]
fn the_lists_in_the_heads_of_modules_name_parts_that_exist() {
    let sources = Sources::of_crate();
    let named = with_parts(sources).flat_map(|module| named_parts(&module.head));
    assert!(named.count() > 50, "no lists are seen");
    assert_none(&unknown_parts(sources));
}

#[test]
fn a_name_in_a_head_that_is_no_part_is_found() {
    let sources = Sources::parse("//! Head:\n//! - `exit`: A; `b`: B\nmod exit;");
    assert_eq!(unknown_parts(&sources), ["lib.rs: b"]);
    let list = " A `x`: y\n\n - `a`, `b_2`: what; `c`:\n   more of `d`: e; `f`: g\n - [`h`]: i\n \
                - `J`: k\n - no `l`: m\n\n   `n`: o\n";
    assert_eq!(named_parts(list), ["a", "b_2", "c", "f"]);
}
