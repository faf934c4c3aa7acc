//! A server started by a script in its place, which gives it what its parent and the drill do not have.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Puts a script into the folder that runs these lines of a shell, the last of them up to where the server and its arguments
/// follow; its path.
///
/// # Errors
/// When it can't be written.
pub fn wrap(server: &Path, lines: &str, folder: &Path) -> io::Result<PathBuf> {
    let name = server.file_name().unwrap_or(server.as_os_str());
    let script = folder.join(name);
    let text = format!("#!/bin/sh\n{lines} '{}' \"$@\"\n", server.display());
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    Ok(script)
}
