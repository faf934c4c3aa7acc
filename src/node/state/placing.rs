//! Replaces a node's append-only files by a backup, so that a kill at any moment leaves the old
//! files or the new ones.
//!
//! ```text
//! 1  appendonlydir.restoring    is written; not usable until it is complete
//! 2  -> appendonlydir.restored  complete, on disk, owned by the node's user
//! 3  appendonlydir -> appendonlydir.kept-N, if there is one
//! 4  appendonlydir.restored -> appendonlydir
//! ```
//!
//! The next process that opens the folder finishes an interrupted restore
//! ([`StateDir::settle_placing`]). If there is an `appendonlydir`, nothing has been replaced, and
//! the restored files are removed; the backup still has them. If there is none, between 3 and 4,
//! step 4 is done: a node that started without files would look like one that never held data.

use std::path::{Path, PathBuf};

use tracing::warn;

use crate::files;

use super::StateDir;
use super::error::{StateError, io_error};

impl StateDir {
    /// The folder in which a backup is prepared before it replaces [`StateDir::files`].
    pub(in crate::node) fn restoring(&self) -> PathBuf {
        self.data().join("appendonlydir.restoring")
    }

    /// The folder of the prepared backup when it is complete.
    pub(in crate::node) fn restored(&self) -> PathBuf {
        self.data().join("appendonlydir.restored")
    }

    /// Marks the backup in [`StateDir::restoring`] as complete.
    ///
    /// # Errors
    /// If it can't be moved; then nothing has changed.
    pub(in crate::node) fn mark_complete(&self) -> Result<(), StateError> {
        // Synced to disk before the old files are moved.
        rename(&self.restoring(), &self.restored())
    }

    /// Moves [`StateDir::restored`] to [`StateDir::files`], which must not exist.
    ///
    /// # Errors
    /// If it can't be moved; then the next [`StateDir::open`] does it.
    pub(in crate::node) fn put_in_place(&self) -> Result<(), StateError> {
        rename(&self.restored(), &self.files())
    }

    /// Finishes or undoes an interrupted restore.
    pub(super) fn settle_placing(&self) -> Result<(), StateError> {
        let (restored, files) = (self.restored(), self.files());
        if restored.exists() {
            if files.exists() {
                self.remove_copy(&restored)?;
            } else {
                warn!(folder = %files.display(), "a restore was interrupted after the old files were set aside, so the backup is put in place");
                self.put_in_place()?;
            }
        }
        if self.restoring().exists() && !files.exists() {
            warn!(folder = %files.display(), "a restore was interrupted and this node has no data; run the restore again before the lab \
                takes writes");
        }
        // A failure only costs disk space.
        let _ = self.remove_copy(&self.restoring());
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StateError> {
    files::rename(from, to).map_err(io_error("cannot move", from))
}
