//! File systems of the drill's own, which can be filled and made read-only without root and without
//! an effect on the machine: each is a tmpfs in the drill's mount namespace (see `network`), and
//! ends with it.
//!
//! To fill one, its size is reduced to its content: nothing is written, and no memory is used.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::network::{NetworkError, run};

/// More than a run writes. Only what is written takes memory.
const SIZE: u64 = 8 << 30;
/// Free KiB of each attempt to fill it: its content grows meanwhile, and the size can't be smaller.
const FREE_KIB: [u64; 8] = [0, 4, 16, 64, 256, 1024, 4096, 16384];

/// A size of 0 means no limit.
const MIN_SIZE: u64 = 4096;

/// A tmpfs mounted on a folder.
#[derive(Debug)]
pub struct Tmpfs {
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

impl Tmpfs {
    /// Mounts one on the folder, which is created.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(path: &Path) -> Result<Self, NetworkError> {
        let failed = |why: std::io::Error| NetworkError::Command {
            command: format!("mkdir {}", path.display()),
            why: why.to_string(),
        };
        fs::create_dir_all(path).map_err(failed)?;
        let options = format!("size={SIZE},mode=700");
        mount(&["-t", "tmpfs", "-o", &options, "halab"], path)?;
        Ok(Tmpfs {
            path: path.to_owned(),
            full: false,
            read_only: false,
        })
    }

    /// Whether it is the one of that folder.
    pub fn is_under(&self, path: &Path) -> bool {
        self.path == path
    }

    /// Fills it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fill(&mut self) -> Result<(), NetworkError> {
        self.full = true;
        let mut result = Ok(());
        for free in FREE_KIB {
            let used = statvfs(&self.path).map_or(0, |s| (s.f_blocks - s.f_bfree) * s.f_frsize);
            result = mount(
                &["-o", &size((used + free * 1024).max(MIN_SIZE))],
                &self.path,
            );
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Makes it read-only for files that are opened from now on. A file that is open for writing
    /// stays writable: it would prevent any file system from becoming read-only.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make_read_only(&mut self) -> Result<(), NetworkError> {
        let path = self.path.to_string_lossy().into_owned();
        // This changes nothing yet; unmounting undoes it.
        run("mount", &["--bind", &path, &path], "")?;
        self.read_only = true;
        mount(&["-o", "remount,bind,ro"], &self.path)
    }

    /// Whether it is full or read-only.
    pub fn is_changed(&self) -> bool {
        self.full || self.read_only
    }

    /// Restores its size and makes it writable.
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

    /// Copies its content to the folder `*.kept`, which remains when the file system is gone.
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
        // Lazily: a process that has just been killed may still have a file open.
        let path = self.path.to_string_lossy();
        run("umount", &["--lazy", &path], "")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if self.read_only {
            let _ = self.unmount();
        }
        // It ends with the namespace at the latest.
        let _ = self.unmount();
    }
}
