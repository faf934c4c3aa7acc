//! The rule that no two types of the crate have one name, and none the name of a type or trait of
//! the prelude.

use std::collections::BTreeMap;

use crate::source::Sources;

/// What is in scope everywhere: a type of the same name would hide it. Without `Result`, for a
/// module's own alias of it is idiomatic.
const PRELUDE: [&str; 33] = [
    "AsMut",
    "AsRef",
    "Box",
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "DoubleEndedIterator",
    "Drop",
    "Eq",
    "ExactSizeIterator",
    "Extend",
    "Fn",
    "FnMut",
    "FnOnce",
    "From",
    "FromIterator",
    "Future",
    "Hash",
    "Into",
    "IntoFuture",
    "IntoIterator",
    "Iterator",
    "Option",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Send",
    "Sized",
    "String",
    "Sync",
    "Vec",
    "Unpin",
];

/// The types of the program by name, with the modules that define them.
fn definitions(sources: &Sources) -> BTreeMap<&str, Vec<String>> {
    let mut modules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for module in sources.program() {
        for name in &module.types {
            modules
                .entry(name)
                .or_default()
                .push(module.path.join("::"));
        }
    }
    modules
}

fn ambiguous_names(sources: &Sources) -> Vec<String> {
    let definitions = definitions(sources).into_iter();
    let wrong = definitions.filter(|(name, modules)| modules.len() > 1 || PRELUDE.contains(name));
    wrong
        .map(|(name, modules)| format!("{name}: {}", modules.join(", ")))
        .collect()
}

#[test]
fn no_two_types_have_one_name_and_none_that_of_the_prelude() {
    let sources = Sources::of_crate();
    assert!(definitions(sources).len() > 100, "no types are seen");
    crate::assert_none(&ambiguous_names(sources));
}

#[test]
fn a_name_of_two_types_and_one_of_the_prelude_are_found() {
    let violations = |text: &str| ambiguous_names(&Sources::parse(text));
    for second in [
        "pub struct A;",
        "enum A<T> { B(T) }",
        "pub(in crate::b) union A { x: u8 }",
        "trait A {}",
        "type A<'a> = &'a str;",
        "pub mod c { struct A; }",
        "macro_rules! define { ($x:ident) => { pub enum A { $x } } }",
    ] {
        let text = format!("mod a {{ struct A; }} mod b {{ {second}\n }}");
        assert_eq!(violations(&text).len(), 1, "{second}");
    }
    assert_eq!(violations("mod a { struct Vec; }"), ["Vec: crate::a"]);
    for none in [
        "use crate::a::A;",
        "impl B for C { type A = u8; }",
        "fn f() { struct A; }",
        "#[cfg(test)] struct A;",
        "#[cfg(test)] mod tests { struct A; }",
        "fn a() {}",
    ] {
        let text = format!("mod a {{ struct A; }} mod b {{ {none}\n }}");
        crate::assert_none(&violations(&text));
    }
}
