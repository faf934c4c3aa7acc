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
    /// Sets the append-only files aside before a start without them. They come back with
    /// [`StateDir::open`], unless [`StateDir::discard_aside`] says that they are not needed any
    /// more.
    ///
    /// # Errors
    /// When they can't be moved; then they are where they were.
    pub fn set_aside(&self) -> Result<(), StateError> {
        let (files, aside) = (self.files(), self.aside());
        if aside.exists() {
            // What is there now is a copy that never got complete.
            self.remove_copy(&files)
        } else if files.exists() {
            fs::rename(&files, &aside).map_err(io_error("cannot move", &files))
        } else {
            Ok(())
        }
    }

    /// Has what was set aside removed: the copy that replaces it is complete.
    ///
    /// # Errors
    /// When it can't be moved away; then it comes back with the next [`StateDir::open`].
    pub fn discard_aside(&self) -> Result<(), StateError> {
        let aside = self.aside();
        self.trash
            .discard(&aside)
            .map_err(io_error("cannot move", &aside))
    }

    /// Removes a copy that never got complete. Where it can't be moved away, a full disk say, it is
    /// removed where it is.
    pub(super) fn remove_copy(&self, files: &Path) -> Result<(), StateError> {
        self.trash.discard(files).or_else(|_| remove_folder(files))
    }

    /// Keeps the append-only files aside for good, before a start without them. Returns where they
    /// are.
    ///
    /// # Errors
    /// When they can't be moved; then they are where they were.
    pub fn keep_aside(&self) -> Result<PathBuf, StateError> {
        self.keep(&self.files())
    }

    /// Keeps for good what was set aside, instead of putting it back at the next
    /// [`StateDir::open`]: the node serves with what it has now.
    ///
    /// # Errors
    /// When it can't be moved; then it is where it was.
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

    /// Puts back what was set aside, when the copy that was to replace it never got complete.
    ///
    /// # Errors
    /// When it can't be moved; then it is set aside still.
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
