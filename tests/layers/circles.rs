//! The rule that the parts of a module, at any depth, do not use each other in a circle. A module
//! and a part of it may use each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Sources;
use crate::tokens::Names;

/// Each part of a module with the other parts that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// Of each module: its parts and what they use, whatever is below them included.
fn uses_of_parts(sources: &Sources) -> BTreeMap<Names, Uses> {
    let mut uses: BTreeMap<Names, Uses> = BTreeMap::new();
    for module in sources.program() {
        let path = &module.path;
        for used in sources.used_modules(module) {
            let common = path.iter().zip(&used).take_while(|(a, b)| a == b).count();
            if let (Some(part), Some(other)) = (path.get(common), used.get(common)) {
                let parts = uses.entry(path[..common].to_vec()).or_default();
                parts.entry(part.clone()).or_default().insert(other.clone());
            }
        }
    }
    uses
}

/// A circle in the uses, if there is one. It ends with a part that it contains already.
fn circle(mut uses: Uses) -> Option<Vec<String>> {
    // Whatever uses nothing that is left is in no circle.
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        uses.retain(|_, used| !used.is_disjoint(&left));
        if uses.len() == left.len() {
            break;
        }
    }
    let mut way = vec![];
    let mut part = uses.keys().next()?;
    while !way.contains(part) {
        way.push(part.clone());
        part = uses[part].iter().find(|part| uses.contains_key(*part))?;
    }
    way.push(part.clone());
    Some(way)
}

/// Each module whose parts use each other in a circle, with one circle.
fn circles(sources: &Sources) -> Vec<String> {
    let uses = uses_of_parts(sources).into_iter();
    let circles = uses.filter_map(|(module, uses)| {
        let way = circle(uses)?.join(" uses ");
        Some(format!("in {}: {way}", module.join("::")))
    });
    circles.collect()
}

#[test]
fn the_parts_of_a_module_do_not_use_each_other_in_a_circle() {
    crate::assert_none(&circles(Sources::of_crate()));
}

#[test]
fn a_circle_is_found_however_the_use_is_written() {
    let circles_with = |code: &str| {
        let text = format!(
            "mod m {{ pub use a::A; use a::*; use a as renamed; \
             mod a {{ use super::b::B; pub struct G; }} mod b {{ {code}\n }} }} mod n {{ }}"
        );
        circles(&Sources::parse(&text))
    };
    for code in [
        "use super::a::A;",
        "use super::{X, a::{A, C}};",
        "use super::A;",
        "use super::G;",
        "use super::renamed::A;",
        "use super::*; fn f() { a::f(); }",
        "use super::a; fn f() { a::f(); }",
        "fn f() { super::a::f(); }",
        "fn f() { use super::a::A; }",
        "fn f() { crate::m::a::f() }",
        "fn f() { assert!(super::a::f()); }",
        "mod c { use super::super::a::A; }",
        "mod c { fn f() { vec![super::super::A]; } }",
    ] {
        let found = circles_with(code);
        assert_eq!(found, ["in crate::m: a uses b uses a"], "{code}");
    }
    for code in [
        "",
        "use super::X;",
        "use crate::n::A;",
        "use super::b::B;",
        "pub(super) fn f() {}",
    ] {
        crate::assert_none(&circles_with(code));
    }
}

#[test]
fn a_circle_of_three_and_one_between_top_level_modules_are_found() {
    let three = "mod m { mod a { use super::b::B; } mod b { use super::c::C; } \
                 mod c { use super::a::A; } }";
    assert_eq!(
        circles(&Sources::parse(three)),
        ["in crate::m: a uses b uses c uses a"]
    );
    let top = "mod a { mod c { use crate::b::B; } } mod b { use crate::a::A; }";
    assert_eq!(circles(&Sources::parse(top)), ["in crate: a uses b uses a"]);
}
