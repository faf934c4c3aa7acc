//! A backup on disk: a folder that appears in one step, when everything in it is there and on disk.
//!
//! ```text
//! INTO/halab-20261128T160000.000Z/data.rdb        the data
//!                              manifest.json   what it is, with the checksum of the data
//!                              SHA256SUMS      for sha256sum -c, of both
//! INTO/.halab-20261128T160000.000Z.unfinished     while it is made; what is left of one that was killed is removed by the next
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
use super::rdb::{Content, Damage, Scan};

/// The file with the data.
pub const DATA: &str = "data.rdb";
/// The file that describes it.
pub const MANIFEST: &str = "manifest.json";
/// The checksums of both.
pub const SUMS: &str = "SHA256SUMS";
const UNFINISHED: &str = ".unfinished";
/// So much is read from a file at a time.
const PART: usize = 1 << 20;

/// Why a backup can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file.
    #[error("{what} {path}: {source}{}", remedy(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Whoever copies it was asked to stop.
    #[error("stopped; nothing was changed")]
    Stopped,
    /// The folder is none.
    #[error("{0} is no backup, or not all of one: there is no {MANIFEST} in it")]
    NoBackup(PathBuf),
    /// The description is of no use.
    #[error("{path}: {why}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        why: ManifestError,
    },
    /// The data is not what it was.
    #[error("{path} is damaged: {why}; use another backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
}

impl FolderError {
    /// Whether the backup was read, and is not whole.
    pub fn is_damage(&self) -> bool {
        !matches!(self, FolderError::Io { .. } | FolderError::Stopped)
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space there, or give another folder: a backup takes about as much as the server's memory, often less"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; give a folder that you may write to"
        }
        _ => "",
    }
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

/// Has what is in a folder, as names, stored.
///
/// # Errors
/// When the disk does not take it.
pub fn sync_folder(path: &Path) -> Result<(), FolderError> {
    files::sync_folder(path).map_err(io_error("cannot sync", path))
}

/// A file that is written and looked through at once.
#[derive(Debug)]
pub struct Copied {
    path: PathBuf,
    file: File,
    sha256: Sha256,
    bytes: u64,
    scan: Scan,
}

impl Copied {
    /// Begins it; there must be none of that name.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn begin(path: PathBuf) -> Result<Self, FolderError> {
        let file = new_file(&path)?;
        Ok(Copied {
            path,
            file,
            sha256: Sha256::new(),
            bytes: 0,
            scan: Scan::default(),
        })
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn push(&mut self, part: &[u8]) -> Result<(), FolderError> {
        self.file
            .write_all(part)
            .map_err(io_error("cannot write", &self.path))?;
        self.sha256.update(part);
        self.bytes += part.len() as u64;
        self.scan.push(part);
        Ok(())
    }

    /// Has it stored; what it is, and what is in it.
    ///
    /// # Errors
    /// When the disk does not take it, or it is no whole copy of a lab.
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
    // The records are nobody else's.
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

/// A backup that is being made. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct Draft {
    into: PathBuf,
    name: String,
    path: PathBuf,
    /// Held while it is made, so that nobody takes it for what a killed one left.
    _lock: File,
    finished: bool,
}

impl Draft {
    /// Begins a backup of a lab in the folder `into`, which is made when it is not there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn begin(into: &Path, lab: &str, now: DateTime<Utc>) -> Result<Self, FolderError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(into)
            .map_err(io_error("cannot make", into))?;
        // One at a time: a draft that is not locked yet looks like one of a killed backup.
        let begins = File::open(into)
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
        drop(begins);
        Ok(Draft {
            into: into.to_owned(),
            name,
            path,
            _lock: lock,
            finished: false,
        })
    }

    /// The file for the data, empty. What an attempt before wrote into it is gone.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn data(&self) -> Result<Copied, FolderError> {
        let path = self.path.join(DATA);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("cannot remove", &path)(error));
            }
            _ => {}
        }
        Copied::begin(path)
    }

    /// Makes it a backup, in one step. Returns its folder.
    ///
    /// # Errors
    /// When the disk does not take it; then there is none.
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

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            warn!(folder = %self.path.display(), %error, "what is left of the unfinished backup can't be removed; the next one does");
        }
    }
}

/// Removes what is left of backups that were killed. One that is being made is locked.
fn remove_unfinished(into: &Path) -> Result<(), FolderError> {
    let entries = fs::read_dir(into).map_err(io_error("cannot read", into))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with('.') && name.ends_with(UNFINISHED)) {
            continue;
        }
        let path = entry.path();
        let is_left = File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok());
        // Not worth a refusal: it costs room, and that is said where it is missed.
        if is_left && fs::remove_dir_all(&path).is_ok() {
            info!(folder = %path.display(), "removed what was left of a backup that was cut short");
        }
    }
    Ok(())
}

/// What a backup says of itself.
///
/// # Errors
/// When there is none in that folder.
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

/// Reads the data of a backup from its begin to its end, hands each part to `take`, and checks that it is what it was.
///
/// # Errors
/// When it can't be read or is damaged, or `take` fails.
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
    let (mut sha256, mut scan, mut bytes) = (Sha256::new(), Scan::default(), 0);
    let mut part = vec![0; PART];
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
    let said = manifest
        .data(DATA)
        .map_err(|why| damaged(why.to_string()))?;
    if bytes != said.bytes {
        return Err(damaged(format!(
            "it has {bytes} bytes, and {} by {MANIFEST}",
            said.bytes
        )));
    }
    if hex(&sha256.finalize()) != said.sha256 {
        return Err(damaged(format!("its SHA-256 is not that of {MANIFEST}")));
    }
    let content = scan.finish().map_err(|why| damaged(why.to_string()))?;
    if content.mark != manifest.mark {
        return Err(damaged(format!("its mark is not that of {MANIFEST}")));
    }
    Ok(())
}

/// Whether that file is the data of the backup, byte for byte.
pub fn is_data(path: &Path, manifest: &Manifest) -> bool {
    let digest = || -> io::Result<String> {
        let (mut file, mut sha256) = (File::open(path)?, Sha256::new());
        let mut part = vec![0; PART];
        loop {
            match file.read(&mut part)? {
                0 => return Ok(hex(&sha256.finalize())),
                length => sha256.update(&part[..length]),
            }
        }
    };
    let said = manifest.data(DATA);
    said.is_ok_and(|said| digest().is_ok_and(|digest| digest == said.sha256))
}

/// Checks a backup: that it is whole, by its checksums and by the data's own.
///
/// # Errors
/// When it can't be read, or is damaged.
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
        let draft = Draft::begin(into, "halab", DateTime::UNIX_EPOCH).unwrap();
        let mut data = draft.data().unwrap();
        for part in marked(mark).chunks(100) {
            data.push(part).unwrap();
        }
        let (file, content) = data.finish(DATA).unwrap();
        assert_eq!(content.unwrap().mark, *mark);
        let mut manifest = manifest(mark);
        manifest.files = vec![file];
        draft.finish(&manifest).unwrap()
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
    fn a_backup_is_whole_and_private_and_sha256sum_agrees() {
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
    fn each_damage_is_seen_and_says_which_file() {
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
        // Another one, which is whole by itself.
        let next = mark().next(None, crate::protocol::copy::Completeness::Open);
        fs::write(&file, marked(&next)).unwrap();
        assert!(check(&folder).unwrap_err().is_damage());
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
    fn an_unfinished_backup_looks_like_none_and_the_next_one_removes_it() {
        let root = tempfile::tempdir().unwrap();
        let into = root.path();
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let draft = Draft::begin(into, "halab", at(1)).unwrap();
        draft.data().unwrap().push(b"REDIS").unwrap();
        let unfinished = names(into);
        assert!(unfinished[0].ends_with(UNFINISHED), "{unfinished:?}");
        assert!(matches!(
            check(&into.join(&unfinished[0])),
            Err(FolderError::NoBackup(_))
        ));
        // One that is under way is nobody's to remove.
        drop(Draft::begin(into, "halab", at(2)).unwrap());
        assert_eq!(names(into), unfinished);
        // Dropped, it is gone; killed, the next one removes it.
        drop(draft);
        assert!(names(into).is_empty());
        fs::create_dir(into.join(".halab-x.unfinished")).unwrap();
        fs::write(into.join(".halab-x.unfinished").join(DATA), "REDIS").unwrap();
        let folder = backup_in(into, &mark());
        assert_eq!(names(into), [folder.file_name().unwrap().to_str().unwrap()]);
    }
}
