//! The rule that pure files mention no runtime, client, command line, system, clock or log, and
//! use only pure modules.

use crate::assert_none;
use crate::document::{Architecture, Pure, example};
use crate::source::{Module, Sources};
use crate::tokens::Names;

/// Crates that a pure file does not use. Others whose names continue these, like `tokio_util`, are
/// included.
const CRATES: [&str; 7] = [
    "clap",
    "indicatif",
    "rand",
    "redis",
    "rustix",
    "tokio",
    "tracing",
];
/// Modules of the standard library that a pure file does not use.
const STD: [&str; 4] = ["env", "fs", "process", "thread"];
/// Names that a pure file does not use, whatever their path. Socket addresses are values.
const NAMES: [&str; 8] = [
    "File",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "stdin",
    "stdout",
    "stderr",
];
/// Types whose function `now` reads a clock.
const CLOCKS: [&str; 4] = ["Instant", "Local", "SystemTime", "Utc"];
/// Macros that print.
const PRINTING: [&str; 5] = ["dbg!", "eprint!", "eprintln!", "print!", "println!"];
/// The parts of `drill` that only have values: pure files of it use no other part.
const PURE_PARTS_OF_DRILL: [&str; 2] = ["judging", "report"];

/// Whether the path of a definition is of something impure.
fn is_impure(path: &Names) -> bool {
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    let by_path = match segments[..] {
        // One segment is a variable.
        [_] | ["crate", ..] => false,
        ["std", module, ..] => STD.contains(&module),
        [name, ..] => CRATES.iter().any(|begin| name.starts_with(begin)),
        [] => false,
    };
    let by_end = match segments[..] {
        [.., clock, "now"] => CLOCKS.contains(&clock),
        [.., last] => PRINTING.contains(&last),
        [] => false,
    };
    let is_name = |name: &&str| segments.len() > 1 && NAMES.contains(name);
    by_path || by_end || segments.iter().any(is_name)
}

/// What a pure module mentions although it must not.
fn impurities(sources: &Sources, document: &Architecture, module: &Module) -> Vec<String> {
    let mut found: Vec<String> = sources
        .definitions(module)
        .iter()
        .filter(|path| is_impure(path))
        .map(|path| path.join("::"))
        .collect();
    if module.mentions.is_async {
        found.push("async".to_owned());
    }
    let top = &module.path[1];
    let is_pure = |name: &String| {
        document
            .rows
            .get(name)
            .is_some_and(|row| matches!(row.pure, Pure::All | Pure::AllBut(_)))
    };
    let others = sources.used_parts(module, &["crate"]).into_iter();
    found.extend(others.filter(|other| other != top && !is_pure(other)));
    if top == "drill" {
        found.extend(impure_parts_of_drill(sources, module));
    }
    let file = module.file.display();
    found
        .iter()
        .map(|what| format!("{file} is pure and uses {what}"))
        .collect()
}

/// What a module of `drill` uses of impure parts, its own part included.
fn impure_parts_of_drill(sources: &Sources, module: &Module) -> Vec<String> {
    let own = module.path.get(2);
    let is_pure = |part: &String| PURE_PARTS_OF_DRILL.contains(&part.as_str());
    let others = sources.used_parts(module, &["crate", "drill"]).into_iter();
    let others = others.filter(|part| Some(part) != own && !is_pure(part));
    let siblings = sources.used_modules(module).into_iter().filter(|used| {
        let in_own_part = used.get(1).is_some_and(|top| top == "drill") && used.get(2) == own;
        in_own_part && own.is_some_and(|part| !is_pure(part)) && !used.starts_with(&module.path)
    });
    let siblings = siblings.map(|used| used[2..].join("::"));
    others
        .chain(siblings)
        .map(|used| format!("drill::{used}"))
        .collect()
}

/// The violations of all pure files, and the files in the table that do not exist.
fn violations(sources: &Sources, document: &Architecture) -> Vec<String> {
    let mut violations = vec![];
    for (name, row) in &document.rows {
        let modules: Vec<&Module> = sources.below(&["crate", name]);
        let file_name = |module: &Module| {
            module
                .file
                .file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned()
        };
        for file in row.pure.files() {
            if !modules.iter().any(|module| file_name(module) == *file) {
                violations.push(format!("{name} has no {file}"));
            }
        }
        for module in modules {
            if row.pure.covers(&file_name(module)) {
                violations.extend(impurities(sources, document, module));
            }
        }
    }
    violations
}

#[test]
fn pure_files_are_pure() {
    assert_none(&violations(Sources::of_crate(), &Architecture::read()));
}

#[test]
fn impure_code_is_found_however_it_is_written() {
    let document = example(
        "",
        "| `a` | | yes | A. |\n| `b` | | no | B. |\n| `c` | | yes | C. |",
        "",
    );
    let violations = |code: &str| {
        let text = format!("mod a {{ {code}\n }} mod b {{}} mod c {{}}");
        violations(&Sources::parse(&text), &document)
    };
    for code in [
        "use tokio::sync::watch;",
        "use tokio_util::codec;",
        "use std::{fmt, fs};",
        "use std as base; fn f() { base::env::var(x); }",
        "fn f() { std::process::exit(1); }",
        "fn f() { ::std::thread::sleep(x); }",
        "use std::time::Instant; fn f() { Instant::now(); }",
        "use std::time::SystemTime as Clock; fn f() { Clock::now(); }",
        "fn f() { chrono::Utc::now(); }",
        "fn f() { println!(); }",
        "fn f() { tracing::info!(\"x\"); }",
        "fn f() { format!(\"{:?}\", std::env::args()); }",
        "fn f() { std::io::stdin(); }",
        "use std::net::TcpStream;",
        "async fn f() {}",
        "fn f() { async { 1 }; }",
        "#[derive(clap::Parser)] struct S;",
        "macro_rules! m { () => { std::fs::read(x) } }",
        "use parent::fs; mod parent { pub use std::fs; }",
        "use crate::b::B;",
        "fn f() { crate::b::f(); }",
    ] {
        assert!(!violations(code).is_empty(), "{code}");
    }
    for code in [
        "use std::net::SocketAddr;",
        "use std::time::{Duration, Instant}; fn f(now: Instant) {}",
        "use crate::c::C;",
        "fn f() { let process = 1; operand::x(process); }",
        "// tokio::spawn",
        "#[cfg(test)] mod tests { use std::fs; }",
    ] {
        assert_none(&violations(code));
    }
}

#[test]
fn a_pure_file_that_uses_an_impure_part_of_drill_or_does_not_exist_is_found() {
    let pure = example("", "| `drill` | | yes | D. |", "");
    let sources = |part: &str| {
        Sources::parse(&format!(
            "mod drill {{ mod report {{ use crate::drill::{part}::X; }} mod judging {{}} mod soak {{}} }}"
        ))
    };
    assert_eq!(violations(&sources("soak"), &pure).len(), 1);
    assert_none(&violations(&sources("judging"), &pure));
    let sibling = "mod drill { mod soak { mod b {} \
                   mod a { use super::b::B; use self::c::C; mod c {} } } }";
    assert_eq!(violations(&Sources::parse(sibling), &pure).len(), 1);
    let missing = example("", "| `drill` | | yes, but for `x.rs` | D. |", "");
    assert_eq!(
        violations(&sources("judging"), &missing),
        ["drill has no x.rs"]
    );
}

/// The rule holds nothing if impure code of this crate is not seen.
#[test]
fn impure_modules_of_this_crate_are_seen() {
    let sources = Sources::of_crate();
    for (module, begin) in [
        ("ledger", "std::fs::File"),
        ("client", "tokio::"),
        ("writer", "rand::"),
    ] {
        let mut paths = sources
            .below(&["crate", module])
            .into_iter()
            .flat_map(|module| sources.definitions(module));
        assert!(
            paths.any(|path| is_impure(&path) && path.join("::").starts_with(begin)),
            "{begin} in {module}"
        );
    }
}
