//! Output of commands.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::Failure;

/// Prints a value and a line break. A closed pipe (`halab status | head`) is not an error.
pub(super) fn print_text(value: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{value}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints a line on standard error. There is no other place to report that this failed.
pub(super) fn print_note(value: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{value}");
}

/// Prints a value as one JSON document.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print_text(serde_json::to_string_pretty(value)?)
}
