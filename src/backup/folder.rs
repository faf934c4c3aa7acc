//! A backup on disk: a folder that appears in one step, once all its files are complete and on
//! disk.
//!
//! ```text
//! INTO/halab-20261128T160000.000Z/data.rdb        the data
//!                              manifest.json   its description, with the checksum of the data
//!                              SHA256SUMS      of both files, for sha256sum -c
//! INTO/.halab-20261128T160000.000Z.unfinished     in progress; after a kill, the next backup removes it
//! ```
//!
//! - `writing`: a backup in progress, until it appears
//! - `reading`: a complete backup, read and checked

mod reading;
mod writing;

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;

use super::manifest::ManifestError;

pub use reading::{check, describe, is_data, read_data};
pub use writing::{DataWriter, PartialBackup};

/// The file with the data.
pub const DATA: &str = "data.rdb";
/// The file with the description.
pub const MANIFEST: &str = "manifest.json";
/// The file with the checksums of both.
pub const SUMS: &str = "SHA256SUMS";

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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use chrono::DateTime;

    use super::super::manifest::tests::manifest;
    use super::super::rdb::tests::{mark, marked};
    use super::writing::UNFINISHED;
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
