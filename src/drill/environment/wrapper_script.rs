//! A script that sets up the environment of a program and then runs it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes a shell script with these lines; the program and its arguments follow the last one.
/// Returns its path.
///
/// # Errors
/// When it can't be written.
pub fn write_wrapper(program: &Path, lines: &str, folder: &Path) -> io::Result<PathBuf> {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let script = folder.join(name);
    let text = format!("#!/bin/sh\n{lines} '{}' \"$@\"\n", program.display());
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    Ok(script)
}
