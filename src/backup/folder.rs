//! A backup on disk: a folder that appears in one step, once all its files are complete and on
//! disk.
//!
//! ```text
//! INTO/halab-20261128T160000.000Z/data.rdb        the data
//!                              manifest.json   its description, with the checksum of the data
//!                              SHA256SUMS      of both files, for sha256sum -c
//! INTO/.halab-20261128T160000.000Z.unfinished     in progress; after a kill, the next backup removes it
//! ```

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::files;

use super::manifest::{DataFile, Manifest, ManifestError};
use super::rdb::{Content, Damage, RdbScan};

/// The file with the data.
pub const DATA: &str = "data.rdb";
/// The file with the description.
pub const MANIFEST: &str = "manifest.json";
/// The file with the checksums of both.
pub const SUMS: &str = "SHA256SUMS";
const UNFINISHED: &str = ".unfinished";
/// The number of bytes read at a time.
const READ_SIZE: usize = 1 << 20;

/// Why a backup cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// An error of a file.
    #[error("{what} {path}: {source}{}", remedy(source))]
    Io {
        /// The failed action.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A signal stopped the copy.
    #[error("stopped; nothing was changed")]
    Stopped,
    /// The folder is not a backup.
    #[error("{0} is not a complete backup: it contains no {MANIFEST}")]
    NoBackup(PathBuf),
    /// The description cannot be used.
    #[error("{path}: {why}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        why: ManifestError,
    },
    /// The data is damaged.
    #[error("{path} is damaged: {why}; use another backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

impl FolderError {
    /// Whether the backup was read and is not complete.
    pub fn is_invalid(&self) -> bool {
        !matches!(self, FolderError::Io { .. } | FolderError::Stopped)
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there, or use another folder: a backup takes about as much space as the server's memory, often less"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; use a folder with write permission"
        }
        _ => "",
    }
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

/// Syncs the names in a folder to disk.
///
/// # Errors
/// If the disk fails.
pub fn sync_folder(path: &Path) -> Result<(), FolderError> {
    files::sync_folder(path).map_err(io_error("cannot sync", path))
}

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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
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

/// The description of a backup.
///
/// # Errors
/// If the folder contains none.
pub fn describe(folder: &Path) -> Result<Manifest, FolderError> {
    let path = folder.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FolderError::NoBackup(folder.to_owned()));
        }
        Err(error) => return Err(io_error("cannot read", &path)(error)),
    };
    let manifest = Manifest::from_text(&text);
    let checked = manifest.and_then(|manifest| manifest.data(DATA).map(|_| manifest.clone()));
    checked.map_err(|why| FolderError::Manifest { path, why })
}

/// Reads all data of a backup, passes each part to `take`, and checks it against the description.
///
/// # Errors
/// If it cannot be read or is damaged, or `take` fails.
pub fn read_data(
    folder: &Path,
    manifest: &Manifest,
    mut take: impl FnMut(&[u8]) -> Result<(), FolderError>,
) -> Result<(), FolderError> {
    let path = folder.join(DATA);
    let damaged = |why: String| FolderError::Damaged {
        path: path.clone(),
        why,
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged("it is missing".into()));
        }
        Err(error) => return Err(io_error("cannot open", &path)(error)),
    };
    let (mut sha256, mut scan, mut bytes) = (Sha256::new(), RdbScan::default(), 0);
    let mut part = vec![0; READ_SIZE];
    loop {
        let length = file
            .read(&mut part)
            .map_err(io_error("cannot read", &path))?;
        if length == 0 {
            break;
        }
        let part = &part[..length];
        sha256.update(part);
        scan.push(part);
        bytes += length as u64;
        take(part)?;
    }
    let described = manifest
        .data(DATA)
        .map_err(|why| damaged(why.to_string()))?;
    if bytes != described.bytes {
        return Err(damaged(format!(
            "it has {bytes} bytes, but {} according to {MANIFEST}",
            described.bytes
        )));
    }
    if hex(&sha256.finalize()) != described.sha256 {
        return Err(damaged(format!("its SHA-256 is not the one in {MANIFEST}")));
    }
    let content = scan.finish().map_err(|why| damaged(why.to_string()))?;
    if content.mark != manifest.mark {
        return Err(damaged(format!("its mark is not the one in {MANIFEST}")));
    }
    Ok(())
}

/// Whether that file is the data of the backup, byte for byte.
pub fn is_data(path: &Path, manifest: &Manifest) -> bool {
    let digest = || -> io::Result<String> {
        let (mut file, mut sha256) = (File::open(path)?, Sha256::new());
        let mut part = vec![0; READ_SIZE];
        loop {
            match file.read(&mut part)? {
                0 => return Ok(hex(&sha256.finalize())),
                length => sha256.update(&part[..length]),
            }
        }
    };
    let described = manifest.data(DATA);
    described.is_ok_and(|described| digest().is_ok_and(|digest| digest == described.sha256))
}

/// Checks that a backup is complete, by its checksums and by that of the data.
///
/// # Errors
/// If it cannot be read, or is damaged.
pub fn check(folder: &Path) -> Result<Manifest, FolderError> {
    let manifest = describe(folder)?;
    read_data(folder, &manifest, |_| Ok(()))?;
    Ok(manifest)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::manifest::tests::manifest;
    use super::super::rdb::tests::{mark, marked};
    use super::*;
    use crate::protocol::copy::Mark;

    /// A backup with that mark.
    pub(crate) fn backup_in(into: &Path, mark: &Mark) -> PathBuf {
        let partial = PartialBackup::begin(into, "halab", DateTime::UNIX_EPOCH).unwrap();
        let mut data = partial.data().unwrap();
        for part in marked(mark).chunks(100) {
            data.push(part).unwrap();
        }
        let (file, content) = data.finish(DATA).unwrap();
        assert_eq!(content.unwrap().mark, *mark);
        let mut manifest = manifest(mark);
        manifest.files = vec![file];
        partial.finish(&manifest).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_backup_is_complete_and_private_and_sha256sum_agrees() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let into = root.path().join("backups");
        let folder = backup_in(&into, &mark());
        assert_eq!(folder, into.join("halab-19700101T000000.000Z"));
        assert_eq!(names(&into), ["halab-19700101T000000.000Z"]);
        assert_eq!(names(&folder), [SUMS, DATA, MANIFEST]);
        assert_eq!(check(&folder).unwrap().mark, mark());
        for name in names(&folder) {
            let mode = fs::metadata(folder.join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let sums = std::process::Command::new("sha256sum")
            .args(["--strict", "-c", SUMS])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(sums.status.success(), "{sums:?}");
    }

    #[test]
    fn each_damage_is_detected_and_the_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = backup_in(root.path(), &mark());
        let file = folder.join(DATA);
        let whole = fs::read(&file).unwrap();
        let mut turned = whole.clone();
        turned[12] ^= 1;
        for wrong in [&turned[..], &whole[..whole.len() - 1], &[]] {
            fs::write(&file, wrong).unwrap();
            let error = check(&folder).unwrap_err();
            assert!(matches!(error, FolderError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(DATA), "{error}");
        }
        // Another file, which is complete by itself.
        let next = mark().next(None, crate::protocol::copy::Completeness::Open);
        fs::write(&file, marked(&next)).unwrap();
        assert!(check(&folder).unwrap_err().is_invalid());
        fs::remove_file(&file).unwrap();
        assert!(
            check(&folder)
                .unwrap_err()
                .to_string()
                .contains("it is missing")
        );
        fs::write(&file, &whole).unwrap();
        check(&folder).unwrap();
        fs::write(folder.join(MANIFEST), "{").unwrap();
        assert!(matches!(check(&folder), Err(FolderError::Manifest { .. })));
        fs::remove_file(folder.join(MANIFEST)).unwrap();
        assert!(matches!(check(&folder), Err(FolderError::NoBackup(_))));
    }

    #[test]
    fn an_unfinished_backup_is_not_a_backup_and_the_next_one_removes_it() {
        let root = tempfile::tempdir().unwrap();
        let into = root.path();
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let partial = PartialBackup::begin(into, "halab", at(1)).unwrap();
        partial.data().unwrap().push(b"REDIS").unwrap();
        let unfinished = names(into);
        assert!(unfinished[0].ends_with(UNFINISHED), "{unfinished:?}");
        assert!(matches!(
            check(&into.join(&unfinished[0])),
            Err(FolderError::NoBackup(_))
        ));
        // A backup in progress is not removed.
        drop(PartialBackup::begin(into, "halab", at(2)).unwrap());
        assert_eq!(names(into), unfinished);
        // A dropped one is removed at once, a killed one by the next backup.
        drop(partial);
        assert!(names(into).is_empty());
        fs::create_dir(into.join(".halab-x.unfinished")).unwrap();
        fs::write(into.join(".halab-x.unfinished").join(DATA), "REDIS").unwrap();
        let folder = backup_in(into, &mark());
        assert_eq!(names(into), [folder.file_name().unwrap().to_str().unwrap()]);
    }
}
