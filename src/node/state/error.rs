//! Why a state folder can't be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::access::SecretsError;

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has locked it.
    #[error(
        "the state folder {0} is in use by another halab node: stop that one, or give --state another folder"
    )]
    InUse(PathBuf),
    /// It belongs to another lab, or to this one before its name or addresses were changed.
    #[error(
        "{file}: {what} was {was} when this state was made, and is {now} in lab.toml (with --subnet, if given). Restore the old \
         lab.toml, or stop all nodes and run `halab move`, which keeps the data. A node at another address that joins a running \
         lab needs another name"
    )]
    OtherLab {
        /// The config file.
        file: PathBuf,
        /// The difference.
        what: String,
        /// In the state.
        was: String,
        /// In `lab.toml`.
        now: String,
    },
    /// The passwords.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// It can't be read or written.
    #[error("{what} {path}: {source}{}", remedy(source))]
    Io {
        /// The operation that failed.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The remedy for the most common errors.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there, then start the node again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; make it writable (mount -o remount,rw), or give --state another folder, then start the node again"
        }
        io::ErrorKind::PermissionDenied => {
            "; give the folder to the user that runs the node, or give --state another one"
        }
        _ => "",
    }
}

pub(in crate::node) fn io_error(
    what: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { what, path, source }
}
