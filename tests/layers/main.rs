//! The source code against its rules: the layers of `docs/architecture.md`, and the conventions of
//! `CONTRIBUTING.md`. Each rule is a function from sources to violations; its tests apply it to
//! this crate, and to small sources that violate it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of these files are tests; clippy exempts only the functions marked as one"
)]

mod circles;
mod document;
mod drill;
mod files;
mod heads;
mod layers;
mod names;
mod purity;
mod reading;
mod resolve;
mod source;
mod tokens;
mod writers;

use std::path::Path;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Text without the backquotes around it.
fn unquoted(text: &str) -> String {
    text.trim().trim_matches('`').to_owned()
}

/// Fails with the violations of a rule, if there are any.
#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
