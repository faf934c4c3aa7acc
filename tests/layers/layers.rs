//! The rules on top-level modules: the document states which there are and what each uses, and a
//! module uses only layers below its own.

use std::collections::BTreeSet;

use crate::assert_none;
use crate::document::{Architecture, example};
use crate::source::{Module, Sources};

/// Modules that are not in the diagram and in the table, or only there.
fn unlisted(sources: &Sources, document: &Architecture) -> Vec<String> {
    let modules = sources.parts_of(&["crate"]);
    let in_table: BTreeSet<String> = document.rows.keys().cloned().collect();
    let in_diagram: BTreeSet<String> = document.depths.keys().cloned().collect();
    let differ = |listed: &BTreeSet<String>, place: &str| -> Vec<String> {
        let differences = modules.symmetric_difference(listed);
        differences
            .map(|module| format!("{module}: src/lib.rs and the {place} differ"))
            .collect()
    };
    [differ(&in_table, "table"), differ(&in_diagram, "diagram")].concat()
}

/// Modules that use others than the table states.
fn misstated_uses(sources: &Sources, document: &Architecture) -> Vec<String> {
    let mut violations = vec![];
    for (name, row) in &document.rows {
        let modules = sources.below(&["crate", name]);
        let mut used: BTreeSet<String> = modules
            .into_iter()
            .flat_map(|module| sources.used_parts(module, &["crate"]))
            .collect();
        used.remove(name);
        if used != row.uses {
            violations.push(format!(
                "{name} uses {used:?}, the table states {:?}",
                row.uses
            ));
        }
    }
    violations
}

/// Modules that use one of their own layer or above, by the table.
fn uses_upwards(document: &Architecture) -> Vec<String> {
    let mut violations = vec![];
    for (module, row) in &document.rows {
        for used in &row.uses {
            if document.depths.get(used) <= document.depths.get(module) {
                violations.push(format!("{module} uses {used}, which is not below it"));
            }
        }
    }
    violations
}

/// Whether code of a module leaves it by `super::`, with the module's name at `depth` of the path.
pub fn leaves_by_super(module: &Module, depth: usize) -> bool {
    let imports = module.imports.iter().map(|import| &import.path);
    imports.chain(&module.mentions.paths).any(|path| {
        let levels = path.iter().take_while(|name| *name == "super").count();
        levels > 0 && module.path.len() <= levels + depth
    })
}

#[test]
fn the_diagram_and_the_table_have_every_module_once() {
    assert_none(&unlisted(Sources::of_crate(), &Architecture::read()));
}

#[test]
fn a_module_that_is_not_in_the_document_is_found() {
    let sources = Sources::parse("mod a {} mod b {}");
    let violations = |diagram, table| unlisted(&sources, &example(diagram, table, "")).len();
    let (a, both) = (
        "| `a` | | no | A. |",
        "| `a` | | no | A. |\n| `b` | | no | B. |",
    );
    assert_eq!(violations("| a b |", both), 0);
    assert_eq!(violations("| a b |", a), 1);
    assert_eq!(violations("| a |", both), 1);
    assert_eq!(violations("| a b c |", both), 1);
}

#[test]
fn the_table_states_what_each_module_uses() {
    assert_none(&misstated_uses(Sources::of_crate(), &Architecture::read()));
}

#[test]
fn a_use_that_the_table_does_not_state_is_found_however_it_is_written() {
    let document = example("| a |\n| b |", "| `a` | | no | A. |", "");
    let violations = |code: &str| {
        let text = format!(
            "mod a {{ {code}\n }} mod b {{ pub mod c {{}} pub use c::C; pub use d::D; }} mod d {{}}"
        );
        misstated_uses(&Sources::parse(&text), &document)
    };
    for code in [
        "use crate::b::B;",
        "use crate::{b::{self, B}};",
        "use crate::b as other;",
        "pub use crate::b::*;",
        "use super::b::B;",
        "mod part { use super::super::b::B; }",
        "fn f() { use crate::b::B; }",
        "fn f() { crate::b::f(); }",
        "fn f() -> Vec<crate::b::B> { vec![] }",
        "fn f() { println!(\"{}\", crate::b::N); }",
        "macro_rules! m { () => { $crate::b::f() } }",
        "#[derive(crate::b::B)] struct S;",
        "struct S { #[serde(with = \"crate::b\")] x: u8 }",
        "impl S { fn f() { <S as crate::b::B>::f(); } }",
    ] {
        assert_eq!(violations(code).len(), 1, "{code}");
    }
    for code in [
        "",
        "// crate::b",
        "/// [`crate::b`]\nstruct S;",
        "use std::fmt;",
        "#[cfg(test)] mod tests { use crate::b::B; }",
        "#[cfg(test)] use crate::b::B;",
        "fn f() { #[cfg(test)] fn g() { crate::b::f(); } }",
        "impl S { #[cfg(test)] fn f() { crate::b::f(); } }",
        "fn f() { self::b::f(); } mod b { pub fn f() {} }",
    ] {
        assert_none(&violations(code));
    }
    // A re-export is a use of the module that it is from, too.
    assert!(violations("use crate::b::D;")[0].contains("\"b\""));
}

#[test]
fn modules_use_only_layers_below() {
    assert_none(&uses_upwards(&Architecture::read()));
}

#[test]
fn a_use_of_the_same_layer_or_of_one_above_is_found() {
    let violations = |diagram| uses_upwards(&example(diagram, "| `a` | `b` | no | A. |", ""));
    assert_none(&violations("| a |\n| b |"));
    assert_eq!(violations("| a b |").len(), 1);
    assert_eq!(violations("| b |\n| a |").len(), 1);
}

#[test]
fn no_code_leaves_its_top_level_module_but_by_crate() {
    let mut modules = Sources::of_crate().program();
    let violation = modules.find(|module| leaves_by_super(module, 1));
    let path = violation.map(|module| module.path.join("::"));
    assert_eq!(path, None, "say `crate::`");
}

#[test]
fn code_that_leaves_its_module_by_super_is_found() {
    let violations = |text: &str| {
        Sources::parse(text)
            .program()
            .filter(|module| leaves_by_super(module, 1))
            .count()
    };
    assert_eq!(violations("mod a { use super::b::B; }"), 1);
    assert_eq!(
        violations("mod a { mod c { fn f() { super::super::b::f(); } } }"),
        1
    );
    assert_eq!(
        violations("mod a { mod c { use super::D; pub(super) fn f() {} } }"),
        0
    );
}
