//! The state folder of one node: locked while in use, initialised once, never overwritten.
//!
//! ```text
//! STATE/NAME/lock               held by the node's process
//! STATE/NAME/redis.conf         or sentinel.conf; the server rewrites it
//! STATE/NAME/redis.damaged      or sentinel.damaged: the last config file that could not be used
//! STATE/NAME/users.acl          the server's users, their rights, the hashes of their passwords
//! STATE/NAME/users.seen         users that are not of the lab
//! STATE/NAME/users.removed.acl  such users that were removed
//! STATE/NAME/buffer-limit       the limit of the server's output buffer before it was enlarged
//! STATE/NAME/holds              the copy, in words, for display while the server is down
//! STATE/NAME/ended.json         how the node has ended, with its last report
//! STATE/NAME/data/              the server's working folder
//! STATE/NAME/data/trash/        what is being removed
//! STATE/NAME/data/appendonlydir/            append-only files; their server's version: written-by
//! STATE/NAME/data/appendonlydir.aside/      set aside until a copy replaces them
//! STATE/NAME/data/appendonlydir.kept-N/     kept for an operator
//! STATE/NAME/data/appendonlydir.restoring/  a backup that is being restored
//! STATE/NAME/data/appendonlydir.restored/   a restored backup that is not in place yet
//! ```
//!
//! - `config_file`: the server's config file, updated from `lab.toml`
//! - `users`: users on the server that are not of the lab
//! - `set_aside`: append-only files that are set aside; `placing`: a backup replaces them
//! - `unfinished`: removes what a killed server left
//! - `error`: why a state folder can't be used

pub(super) mod config_file;
pub(super) mod error;
mod placing;
mod set_aside;
#[cfg(test)]
mod tests;
mod unfinished;
pub(super) mod users;

use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;
use tracing::debug;

use crate::config::{Lab, Node};
use crate::files;
use crate::protocol::vote::Elected;
use crate::report::COPY_NOTE;

use super::trash::Trash;

use error::{StateError, io_error};

/// With less free space than this a server is not started: it would end at its first writes.
const MIN_FREE: u64 = 1 << 20;
/// How long a lock that has just been given up may still be held: a child process has a copy of it
/// from its fork until it executes its program.
const FORK_LIMIT: Duration = Duration::from_millis(200);
/// A server's list of the parts of its append-only file.
pub(super) const AOF_LIST: &str = "appendonly.aof.manifest";

/// A node's state folder, locked.
#[derive(Debug)]
pub struct StateDir {
    folder: PathBuf,
    /// Unlocked when the process ends, even by `kill -9`.
    _lock: File,
    first_start: bool,
    /// The config file existed and is now missing, empty or unreadable.
    conf_lost: bool,
    /// The primary that the other Sentinels name, for a Sentinel that has lost its state.
    learned: Option<Elected>,
    /// The Sentinel starts for the first time and must not lead failovers.
    passive: bool,
    trash: Trash,
    /// Unfinished files that were removed and not counted yet.
    unfinished: Cell<u64>,
}

impl StateDir {
    /// Locks the folder of `node` under `root`, and makes it if it is missing.
    ///
    /// # Errors
    /// If another process has locked it, it belongs to another lab, or it can't be written.
    pub fn open(root: &Path, lab: &Lab, node: &Node) -> Result<Self, StateError> {
        let folder = root.join(&node.name);
        let data = folder.join("data");
        // The data is private. Existing folders keep their mode.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data)
            .map_err(io_error("cannot make", &data))?;
        let lock = lock(&folder)?;
        let folder = fs::canonicalize(&folder).map_err(io_error("cannot find", &folder))?;
        let trash = folder.join("data/trash");
        let trash = Trash::at(trash.clone()).map_err(io_error("cannot begin to empty", &trash))?;
        let mut state = StateDir {
            trash,
            folder,
            _lock: lock,
            first_start: false,
            conf_lost: false,
            learned: None,
            passive: false,
            unfinished: Cell::new(0),
        };
        state.check_conf(lab, node)?;
        state.restore_aside()?;
        state.settle_placing()?;
        Ok(state)
    }

    /// Checks that no other process has locked the folder, without making it.
    ///
    /// # Errors
    /// If one has.
    pub fn refuse_in_use(root: &Path, node: &Node) -> Result<(), StateError> {
        let folder = root.join(&node.name);
        match File::open(folder.join("lock")).map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => Err(StateError::InUse(folder)),
            // Missing or free. Any other problem is reported by `open`.
            _ => Ok(()),
        }
    }

    /// The node's state folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the node has never been started here.
    pub fn first_start(&self) -> bool {
        self.first_start
    }

    /// Why the disk under the folder takes no writes, if so. It asks the file system instead of
    /// writing, because the node of a primary that has just died must not wait for the disk.
    pub fn disk_refusal(&self) -> Option<String> {
        let disk = rustix::fs::statvfs(&self.folder).ok()?;
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Some("it is read-only".into());
        }
        let left = disk.f_bavail.saturating_mul(disk.f_frsize);
        (left < MIN_FREE).then(|| format!("{} KiB are left", left / 1024))
    }

    /// Whether the data node has append-only files, whatever they hold.
    fn has_data(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.files()) else {
            return false;
        };
        entries
            .flatten()
            .any(|e| e.path().extension().is_some_and(|x| x == "manifest"))
    }

    /// Notes the node's copy, for display while its server is down. No decision depends on it.
    pub fn note_holding(&self, holds: &str) {
        let file = self.folder.join(COPY_NOTE);
        if let Err(error) = fs::write(&file, format!("{holds}\n")) {
            debug!(file = %file.display(), %error, "the note of the node's copy could not be written");
        }
    }

    /// The folder of the append-only files.
    pub fn files(&self) -> PathBuf {
        self.data().join("appendonlydir")
    }

    /// The server's working folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

/// Locks a node's folder.
pub(super) fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("cannot open", &path))?;
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if begun.elapsed() < FORK_LIMIT => {
                thread::sleep(FORK_LIMIT / 20);
            }
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => {
                return Err(StateError::Io {
                    what: "cannot lock",
                    path,
                    source,
                });
            }
        }
    }
}

/// Replaces a file atomically: a kill at any moment leaves the old one or the new one.
pub(super) fn replace(file: &Path, text: &str) -> Result<(), StateError> {
    // It may contain passwords.
    files::replace(file, files::PRIVATE, text.as_bytes()).map_err(io_error("cannot write", file))
}
