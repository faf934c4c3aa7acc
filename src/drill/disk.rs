//! Small file systems of the drill's own, that can be filled and made read-only without root and without harm to
//! anything else: each is a tmpfs in the drill's mount namespace (see `network`), and ends with it.
//!
//! One that is full is as large as what is on it: nothing has to be written to fill it, and no memory is taken.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::network::{NetworkError, run};

/// More than a run writes. Only what is written takes memory.
const SIZE: u64 = 8 << 30;
/// KiB that are left, at each try to fill it: what is on it grows meanwhile, and it can't be made smaller than that.
const LEFT: [u64; 8] = [0, 4, 16, 64, 256, 1024, 4096, 16384];

/// A size of 0 would be none at all.
const LEAST: u64 = 4096;

/// A file system of its own under a folder.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    full: bool,
    read_only: bool,
}

fn mount(arguments: &[&str], path: &Path) -> Result<(), NetworkError> {
    let path = path.to_string_lossy();
    run("mount", &[arguments, &[&path]].concat(), "")
}

fn size(bytes: u64) -> String {
    format!("remount,size={bytes}")
}

impl Disk {
    /// Puts one under the folder, which is made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn under(path: &Path) -> Result<Self, NetworkError> {
        let failed = |why: std::io::Error| NetworkError::Command {
            command: format!("mkdir {}", path.display()),
            why: why.to_string(),
        };
        fs::create_dir_all(path).map_err(failed)?;
        let options = format!("size={SIZE},mode=700");
        mount(&["-t", "tmpfs", "-o", &options, "halab"], path)?;
        Ok(Disk {
            path: path.to_owned(),
            full: false,
            read_only: false,
        })
    }

    /// Whether it is the one under that folder.
    pub fn is_under(&self, path: &Path) -> bool {
        self.path == path
    }

    /// Fills it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fill(&mut self) -> Result<(), NetworkError> {
        let mut result = Ok(());
        for left in LEFT {
            let used = statvfs(&self.path).map_or(0, |s| (s.f_blocks - s.f_bfree) * s.f_frsize);
            result = mount(&["-o", &size((used + left * 1024).max(LEAST))], &self.path);
            if result.is_ok() {
                self.full = true;
                break;
            }
        }
        result
    }

    /// Makes it read-only for whoever opens a file from here on. A file that is open for writing stays so, as it keeps
    /// any file system from being made read-only.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make_read_only(&mut self) -> Result<(), NetworkError> {
        let path = self.path.to_string_lossy().into_owned();
        run("mount", &["--bind", &path, &path], "")?;
        self.read_only = true;
        mount(&["-o", "remount,bind,ro"], &self.path)
    }

    /// Makes it empty enough and writable again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&mut self) -> Result<(), NetworkError> {
        if std::mem::take(&mut self.read_only) {
            self.unmount()?;
        }
        if std::mem::take(&mut self.full) {
            mount(&["-o", &size(SIZE)], &self.path)?;
        }
        Ok(())
    }

    /// Puts what is on it into the folder, to be there when the file system is gone.
    ///
    /// # Errors
    /// When it can't be copied.
    pub fn keep(&self) -> Result<(), NetworkError> {
        let (path, kept) = (
            self.path.to_string_lossy(),
            self.path.with_extension("kept"),
        );
        let kept = kept.to_string_lossy();
        run("cp", &["-a", &path, &kept], "")
    }

    fn unmount(&self) -> Result<(), NetworkError> {
        // Lazily: a process that was killed a moment ago may still have a file open.
        let path = self.path.to_string_lossy();
        run("umount", &["--lazy", &path], "")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.read_only {
            let _ = self.unmount();
        }
        // It ends with the namespace, at the latest.
        let _ = self.unmount();
    }
}
