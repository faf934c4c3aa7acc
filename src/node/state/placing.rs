//! How a backup takes the place of a node's append-only files, so that a kill at any moment leaves
//! the old ones or the new ones.
//!
//! ```text
//! 1  appendonlydir.restoring    is put together; of no worth until it is whole
//! 2  -> appendonlydir.restored  it is whole, on disk, and the node's
//! 3  appendonlydir -> appendonlydir.kept-N, if there is one
//! 4  appendonlydir.restored -> appendonlydir
//! ```
//!
//! Whoever opens the folder next finishes what was cut short ([`StateDir::settle_placing`]). With
//! an `appendonlydir` nothing has been replaced, and what was to replace it goes: the backup has
//! it. Without one, between 3 and 4, step 4 is done; a node that started without anything there
//! would look like one that never held anything.

use std::path::{Path, PathBuf};

use tracing::warn;

use crate::files;

use super::StateDir;
use super::error::{StateError, io_error};

impl StateDir {
    /// Where a backup is put together before it takes the place of [`StateDir::files`].
    pub(in crate::node) fn restoring(&self) -> PathBuf {
        self.data().join("appendonlydir.restoring")
    }

    /// Where it is when it is whole.
    pub(in crate::node) fn restored(&self) -> PathBuf {
        self.data().join("appendonlydir.restored")
    }

    /// Says of what is in [`StateDir::restoring`] that it is whole.
    ///
    /// # Errors
    /// When it can't be moved; then nothing has changed.
    pub(in crate::node) fn note_whole(&self) -> Result<(), StateError> {
        // Stored before anything is moved out of its way.
        rename(&self.restoring(), &self.restored())
    }

    /// Puts what is in [`StateDir::restored`] in place, where nothing is.
    ///
    /// # Errors
    /// When it can't be moved; then the next [`StateDir::open`] does it.
    pub(in crate::node) fn put_in_place(&self) -> Result<(), StateError> {
        rename(&self.restored(), &self.files())
    }

    /// Finishes, or takes back, what was cut short.
    pub(super) fn settle_placing(&self) -> Result<(), StateError> {
        let (restored, files) = (self.restored(), self.files());
        if restored.exists() {
            if files.exists() {
                self.remove_copy(&restored)?;
            } else {
                warn!(folder = %files.display(), "a restore was cut short when what had been there was set aside: the backup is put in place");
                self.put_in_place()?;
            }
        }
        if self.restoring().exists() && !files.exists() {
            warn!(folder = %files.display(), "a restore was cut short before the backup was whole, and this node holds nothing: give \
                the restore again before the lab takes writes");
        }
        // Not worth a refusal to start: it costs room.
        let _ = self.remove_copy(&self.restoring());
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StateError> {
    files::rename(from, to).map_err(io_error("cannot move", from))
}
