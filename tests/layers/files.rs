//! The rules that every source file is a module of the crate, and that no code is reached in a way
//! that the other rules do not follow.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use quote::ToTokens;
use walkdir::WalkDir;

use crate::source::Sources;

/// The Rust files in `src`, from there.
fn files() -> BTreeSet<PathBuf> {
    let src = crate::root().join("src");
    let entries = WalkDir::new(&src)
        .into_iter()
        .map(|entry| entry.expect("an entry of src"));
    let files = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
    files
        .map(|file| file.path().strip_prefix(&src).expect("in src").to_owned())
        .collect()
}

/// The files that no `mod` declaration reaches. `main.rs` is the program.
fn not_compiled(files: &BTreeSet<PathBuf>, sources: &Sources) -> Vec<String> {
    let mut compiled: BTreeSet<PathBuf> = sources
        .modules
        .values()
        .map(|module| module.file.clone())
        .collect();
    compiled.insert(PathBuf::from("main.rs"));
    let missing = files.difference(&compiled);
    missing
        .map(|file| format!("{} is not compiled", file.display()))
        .collect()
}

/// What includes a file, or gives a crate another name, in the text of a source file.
fn detours(text: &str) -> Vec<&'static str> {
    let file = syn::parse_file(text).expect("a Rust file");
    let tokens = file.to_token_stream().to_string();
    let known = ["extern crate", "include !"];
    known.into_iter().filter(|d| tokens.contains(d)).collect()
}

#[test]
fn no_source_file_is_included_and_no_crate_renamed() {
    let src = crate::root().join("src");
    for file in files() {
        let text = fs::read_to_string(src.join(&file)).expect("a source file");
        assert!(detours(&text).is_empty(), "{}", file.display());
    }
}

#[test]
fn an_included_file_and_a_renamed_crate_are_found() {
    assert_eq!(detours("extern crate self as me;"), ["extern crate"]);
    assert_eq!(detours("include!(\"../cli/output.rs\");"), ["include !"]);
    assert!(detours("// include!(\"a.rs\")\nmod exit;").is_empty());
}

#[test]
fn every_source_file_is_a_module_of_the_crate() {
    crate::assert_none(&not_compiled(&files(), Sources::of_crate()));
}

#[test]
fn a_file_that_is_not_compiled_is_found() {
    let sources = Sources::parse("//! A crate with one module.\nmod exit;");
    let with = |file: &str| {
        not_compiled(
            &["lib.rs", "exit.rs", "main.rs", file]
                .map(PathBuf::from)
                .into(),
            &sources,
        )
    };
    crate::assert_none(&with("exit.rs"));
    assert_eq!(with("exit/more.rs"), ["exit/more.rs is not compiled"]);
    assert_eq!(with("other.rs"), ["other.rs is not compiled"]);
}
