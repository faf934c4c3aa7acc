//! Removes old files in the background. Removing gigabytes takes the file system about a second,
//! and the one thread of a node must not block for so long.
//!
//! Files are first moved away in one step, so that a half removed folder is never taken for a whole
//! one. A removal that failed is tried again at the next start.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, io, process, thread};

use tracing::warn;

/// The folder of files to be removed, and the thread that removes them.
#[derive(Debug)]
pub(super) struct Trash {
    folder: PathBuf,
    /// To the thread. It ends when this is dropped or the process ends; nothing waits for it.
    to: Sender<PathBuf>,
}

impl Trash {
    /// Uses that folder, which must be on the file system of the files. Removes what it contains.
    ///
    /// # Errors
    /// If no thread can be made.
    pub(super) fn at(folder: PathBuf) -> io::Result<Self> {
        Self::with(folder, remove)
    }

    fn with(folder: PathBuf, remove: fn(&Path)) -> io::Result<Self> {
        let (to, paths): (_, Receiver<PathBuf>) = channel();
        thread::Builder::new()
            .name("trash".into())
            .spawn(move || paths.iter().for_each(|path| remove(&path)))?;
        let trash = Trash { folder, to };
        for entry in fs::read_dir(&trash.folder).into_iter().flatten().flatten() {
            trash.hand_over(entry.path());
        }
        Ok(trash)
    }

    /// Removes a file or a folder. It has left its place when this returns. A missing one is no
    /// error.
    ///
    /// # Errors
    /// If it can't be moved; then it stays where it is.
    pub(super) fn discard(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let mut number = 0_u32;
        loop {
            let there = self.folder.join(format!("{}-{number}", process::id()));
            // Left by another process with this id. A rename can't replace a folder.
            if there.exists() {
                number += 1;
                continue;
            }
            fs::rename(path, &there)?;
            self.hand_over(there);
            return Ok(());
        }
    }

    fn hand_over(&self, path: PathBuf) {
        if let Err(unsent) = self.to.send(path) {
            // The thread has panicked. The space is still needed.
            remove(&unsent.0);
        }
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if let Err(error) = removed {
        warn!(%error, path = %path.display(), "old files cannot be removed, and use disk space until the next start");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn who_throws_something_away_does_not_wait_for_its_removal() {
        static MAY_REMOVE: AtomicBool = AtomicBool::new(false);
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("trash");
        let trash = Trash::with(folder.clone(), |path| {
            wait_until("the throws to return", || MAY_REMOVE.load(Ordering::SeqCst));
            remove(path);
        })
        .unwrap();
        for name in ["one", "two"] {
            let files = root.path().join("files");
            fs::create_dir(&files).unwrap();
            fs::write(files.join(name), "x").unwrap();
            trash.discard(&files).unwrap();
            assert!(!files.exists());
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        MAY_REMOVE.store(true, Ordering::SeqCst);
        wait_until("both to be removed", || {
            fs::read_dir(&folder).unwrap().next().is_none()
        });
    }

    #[test]
    fn what_an_earlier_process_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let left = root.path().join("7-0/deep");
        fs::create_dir_all(&left).unwrap();
        fs::write(root.path().join("file"), "x").unwrap();
        let _trash = Trash::at(root.path().to_owned()).unwrap();
        wait_until("it to be removed", || {
            fs::read_dir(root.path()).unwrap().next().is_none()
        });
    }
}
