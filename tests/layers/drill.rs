//! The rules on the parts of `drill`, which are the modules directly in it: the document states
//! them and what each uses, from the bottom up.

use std::collections::BTreeSet;

use crate::assert_none;
use crate::document::{Architecture, example};
use crate::layers::leaves_by_super;
use crate::source::Sources;

const DRILL: [&str; 2] = ["crate", "drill"];

/// Differences between the table and the code, and uses of parts that are not above in the table.
fn misstated_parts(sources: &Sources, document: &Architecture) -> Vec<String> {
    let mut violations = vec![];
    let stated: BTreeSet<String> = document
        .drill
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    for name in stated.symmetric_difference(&sources.parts_of(&DRILL)) {
        violations.push(format!("{name}: the table and src/drill differ"));
    }
    let mut above = BTreeSet::new();
    for (name, uses) in &document.drill {
        let modules = sources.below(&["crate", "drill", name]);
        let mut used: BTreeSet<String> = modules
            .into_iter()
            .flat_map(|module| sources.used_parts(module, &DRILL))
            .collect();
        used.remove(name);
        if used != *uses {
            violations.push(format!("{name} uses {used:?}, the table states {uses:?}"));
        }
        for part in used.difference(&above) {
            violations.push(format!("{name} uses {part}, which is not above it"));
        }
        above.insert(name.clone());
    }
    violations
}

#[test]
fn the_parts_of_drill_use_only_parts_above_them_in_the_table() {
    assert_none(&misstated_parts(Sources::of_crate(), &Architecture::read()));
}

#[test]
fn a_use_of_a_part_that_is_not_stated_or_not_above_is_found() {
    let violations = |code: &str, table: &str| {
        let text = format!("mod drill {{ pub use a::A; mod a {{}} mod b {{ {code} }} }}");
        misstated_parts(&Sources::parse(&text), &example("", "", table))
    };
    let (unused, used) = (
        "| `a` | | A. |\n| `b` | | B. |",
        "| `a` | | A. |\n| `b` | `a` | B. |",
    );
    let below = "| `b` | `a` | B. |\n| `a` | | A. |";
    for code in [
        "use crate::drill::a::A;",
        "use crate::drill::{a, b};",
        "use super::a::A;",
        "fn f() { println!(\"{}\", crate::drill::a::N); }",
    ] {
        assert_eq!(violations(code, unused).len(), 1, "{code}");
        assert_none(&violations(code, used));
        assert_eq!(violations(code, below).len(), 1, "{code}");
    }
    assert!(!violations("use crate::drill::A;", unused).is_empty());
    assert_none(&violations("", unused));
    assert_eq!(violations("", "| `a` | | A. |").len(), 1);
}

#[test]
fn no_code_leaves_its_part_of_drill_but_by_crate() {
    let mut modules = Sources::of_crate().below(&DRILL).into_iter();
    let violation = modules.find(|module| module.path.len() > 2 && leaves_by_super(module, 2));
    let path = violation.map(|module| module.path.join("::"));
    assert_eq!(path, None, "say `crate::drill::`");
}
