//! A backup in progress, until it appears in one step. The next backup removes the leftovers of a
//! killed one.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::backup::manifest::{DataFile, Manifest};
use crate::backup::rdb::{Content, Damage, RdbScan};

use super::{DATA, FolderError, MANIFEST, SUMS, hex, io_error, sync_folder};

/// The end of the name of a folder in progress.
pub(super) const UNFINISHED: &str = ".unfinished";

/// A data file that is written and scanned at the same time.
#[derive(Debug)]
pub struct DataWriter {
    path: PathBuf,
    file: File,
    sha256: Sha256,
    bytes: u64,
    scan: RdbScan,
}

impl DataWriter {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn begin(path: PathBuf) -> Result<Self, FolderError> {
        let file = new_file(&path)?;
        Ok(DataWriter {
            path,
            file,
            sha256: Sha256::new(),
            bytes: 0,
            scan: RdbScan::default(),
        })
    }

    /// Writes the next part.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, part: &[u8]) -> Result<(), FolderError> {
        self.file
            .write_all(part)
            .map_err(io_error("cannot write", &self.path))?;
        self.sha256.update(part);
        self.bytes += part.len() as u64;
        self.scan.push(part);
        Ok(())
    }

    /// Syncs the file to disk. Returns its description and its content.
    ///
    /// # Errors
    /// If the disk fails. The content is an error if the file is not a complete copy of a lab.
    pub fn finish(self, name: &str) -> Result<(DataFile, Result<Content, Damage>), FolderError> {
        self.file
            .sync_all()
            .map_err(io_error("cannot sync", &self.path))?;
        let file = DataFile {
            name: name.to_owned(),
            bytes: self.bytes,
            sha256: hex(&self.sha256.finalize()),
        };
        Ok((file, self.scan.finish()))
    }
}

fn new_file(path: &Path) -> Result<File, FolderError> {
    let mut options = OpenOptions::new();
    // Only the owner may read the records.
    options.create_new(true).write(true).mode(0o600);
    options.open(path).map_err(io_error("cannot make", path))
}

/// A backup in progress. It is removed if it is dropped before it is finished.
#[derive(Debug)]
pub struct PartialBackup {
    into: PathBuf,
    name: String,
    path: PathBuf,
    /// Held while it is in progress, so that no other backup removes it as a leftover.
    _lock: File,
    finished: bool,
}

impl PartialBackup {
    /// Begins a backup of a lab in the folder `into`, which is created if necessary.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn begin(into: &Path, lab: &str, now: DateTime<Utc>) -> Result<Self, FolderError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(into)
            .map_err(io_error("cannot make", into))?;
        // One at a time: a folder that is not locked yet looks like a leftover.
        let folder_lock = File::open(into)
            .and_then(|folder| folder.lock().map(|()| folder))
            .map_err(io_error("cannot lock", into))?;
        remove_unfinished(into)?;
        let name = format!("{lab}-{}", now.format("%Y%m%dT%H%M%S%.3fZ"));
        let path = into.join(format!(".{name}{UNFINISHED}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(io_error("cannot make", &path))?;
        let lock = File::open(&path)
            .and_then(|lock| lock.try_lock().map(|()| lock).map_err(io::Error::from))
            .map_err(io_error("cannot lock", &path))?;
        drop(folder_lock);
        Ok(PartialBackup {
            into: into.to_owned(),
            name,
            path,
            _lock: lock,
            finished: false,
        })
    }

    /// The data file, empty. Data of an earlier attempt is removed.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn data(&self) -> Result<DataWriter, FolderError> {
        let path = self.path.join(DATA);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("cannot remove", &path)(error));
            }
            _ => {}
        }
        DataWriter::begin(path)
    }

    /// Completes the backup, in one step. Returns its folder.
    ///
    /// # Errors
    /// If the disk fails; then there is no backup.
    pub fn finish(mut self, manifest: &Manifest) -> Result<PathBuf, FolderError> {
        let text = manifest.to_text();
        self.write(MANIFEST, &text)?;
        let mut sums = String::new();
        for file in &manifest.files {
            // Writing to a String cannot fail.
            let _ = writeln!(sums, "{}  {}", file.sha256, file.name);
        }
        let sum = hex(&Sha256::digest(text.as_bytes()));
        let _ = writeln!(sums, "{sum}  {MANIFEST}");
        self.write(SUMS, &sums)?;
        sync_folder(&self.path)?;
        let folder = self.into.join(&self.name);
        fs::rename(&self.path, &folder).map_err(io_error("cannot move", &self.path))?;
        self.finished = true;
        sync_folder(&self.into)?;
        Ok(folder)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let mut file = new_file(&path)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io_error("cannot write", &path))
    }
}

impl Drop for PartialBackup {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            warn!(folder = %self.path.display(), %error, "cannot remove the unfinished backup; the next one will");
        }
    }
}

/// Removes the leftovers of killed backups. A backup in progress is locked.
fn remove_unfinished(into: &Path) -> Result<(), FolderError> {
    let entries = fs::read_dir(into).map_err(io_error("cannot read", into))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with('.') && name.ends_with(UNFINISHED)) {
            continue;
        }
        let path = entry.path();
        let is_leftover = File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok());
        // A failure is ignored: the leftover only takes space, and a lack of space is reported
        // anyway.
        if is_leftover && fs::remove_dir_all(&path).is_ok() {
            info!(folder = %path.display(), "removed an interrupted backup");
        }
    }
    Ok(())
}
