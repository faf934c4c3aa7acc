//! The append-only files of a node, set aside before a start without them.
//!
//! ```text
//! appendonlydir           the files that the server uses
//! appendonlydir.aside     set aside until the copy that replaces them is complete
//! appendonlydir.kept-N    kept for good: another copy was chosen, or restored
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::StateDir;
use super::error::{StateError, io_error};

impl StateDir {
    /// Sets the append-only files aside before a start without them. [`StateDir::open`] restores
    /// them, unless [`StateDir::discard_aside`] has removed them.
    ///
    /// # Errors
    /// If they can't be moved; then they stay where they are.
    pub fn set_aside(&self) -> Result<(), StateError> {
        let (files, aside) = (self.files(), self.aside());
        if aside.exists() {
            // The present files are a copy that never became complete.
            self.remove_copy(&files)
        } else if files.exists() {
            fs::rename(&files, &aside).map_err(io_error("cannot move", &files))
        } else {
            Ok(())
        }
    }

    /// Removes the files that were set aside: the copy that replaces them is complete.
    ///
    /// # Errors
    /// If they can't be moved away; then the next [`StateDir::open`] restores them.
    pub fn discard_aside(&self) -> Result<(), StateError> {
        let aside = self.aside();
        self.trash
            .discard(&aside)
            .map_err(io_error("cannot move", &aside))
    }

    /// Removes a copy that never became complete. If it can't be moved away, as on a full disk, it
    /// is removed in place.
    pub(super) fn remove_copy(&self, files: &Path) -> Result<(), StateError> {
        self.trash.discard(files).or_else(|_| remove_folder(files))
    }

    /// Keeps the append-only files aside for good, before a start without them. Returns their new
    /// folder.
    ///
    /// # Errors
    /// If they can't be moved; then they stay where they are.
    pub fn keep_aside(&self) -> Result<PathBuf, StateError> {
        self.keep(&self.files())
    }

    /// Keeps the files that were set aside for good, so that the next [`StateDir::open`] does not
    /// restore them: the node serves with its present files.
    ///
    /// # Errors
    /// If they can't be moved; then they stay where they are.
    pub fn keep_set_aside(&self) -> Result<(), StateError> {
        if self.aside().exists() {
            self.keep(&self.aside())?;
        }
        Ok(())
    }

    fn keep(&self, files: &Path) -> Result<PathBuf, StateError> {
        let mut numbers = 1..;
        let kept = loop {
            // There are fewer folders than numbers.
            let number = numbers.next().unwrap_or(u64::MAX);
            let path = self.data().join(format!("appendonlydir.kept-{number}"));
            if !path.exists() {
                break path;
            }
        };
        if files.exists() {
            fs::rename(files, &kept).map_err(io_error("cannot move", files))?;
        }
        Ok(kept)
    }

    /// Restores the files that were set aside, if the copy that was to replace them never became
    /// complete.
    ///
    /// # Errors
    /// If they can't be moved; then they are still set aside.
    pub fn restore_aside(&self) -> Result<(), StateError> {
        let (files, aside) = (self.files(), self.aside());
        if aside.exists() {
            self.remove_copy(&files)?;
            fs::rename(&aside, &files).map_err(io_error("cannot move", &aside))?;
        }
        Ok(())
    }

    pub(super) fn aside(&self) -> PathBuf {
        self.data().join("appendonlydir.aside")
    }
}

fn remove_folder(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}
