//! Files that are replaced in one step. After a kill, a power cut or a full disk at any moment, the
//! file has its old content or the new one; once [`replace`] has returned, it has the new one.
//! Several processes may replace the same file at once.
//!
//! The new content goes to a temporary file in the same folder, without a name where the file
//! system supports that (`O_TMPFILE`), so that a kill during the write leaves nothing behind. Then
//! that file is synced and renamed, and the folder is synced. Only a rename that fails, or a kill
//! just before it, leaves the temporary file, as `.NAME.XXXXXX` with the mode of the new one.
//! `tests/layers` checks that no other module creates or overwrites files, except those that it
//! lists with their reasons.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use atomic_write_file::unix::OpenOptionsExt as _;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Mode of a file for its owner alone.
pub const PRIVATE: u32 = 0o600;
/// Mode of a file that every user may read.
pub const PUBLIC: u32 = 0o644;

/// Replaces the content of a file, or creates it, with this mode instead of an earlier one.
///
/// # Errors
/// When it cannot be written or synced; then the file has its old content or the new one.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut options = AtomicWriteFile::options();
    options
        .preserve_mode(false)
        .preserve_owner(false)
        .mode(mode);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.commit()
}

/// Creates a file with this content, in one step: nobody sees a part of it.
///
/// # Errors
/// `AlreadyExists` if there is one, which is not changed; otherwise when it cannot be written.
pub fn create(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{:016x}", rand::random::<u64>()));
    let part = Path::new(&part);
    replace(part, mode, content)?;
    let created = renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE);
    if let Err(error) = created {
        let _ = fs::remove_file(part);
        return Err(error.into());
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// Renames a file or a folder within its folder, and syncs the folder.
///
/// # Errors
/// When it cannot be renamed or synced; then it has its old name or the new one.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_folder)
}

/// Syncs the names in a folder to disk.
///
/// # Errors
/// When that fails.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_created_by_one_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, PRIVATE, b"first").unwrap();
        let again = create(&path, PRIVATE, b"second").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            PRIVATE
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_has_its_new_content_and_its_new_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        let mode_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The umask of the test applies, as to any file.
        fs::write(&other, "").unwrap();
        for (content, mode, has) in [
            ("first", PUBLIC, PUBLIC & mode_of(&other)),
            ("", PRIVATE, PRIVATE),
            ("third", PRIVATE, PRIVATE),
        ] {
            replace(&path, mode, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(mode_of(&path), has);
        }
        fs::remove_file(&other).unwrap();
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn what_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        replace(&taken, PRIVATE, b"x").unwrap_err();
        assert!(taken.is_dir());
        replace(&folder.path().join("missing/file"), PRIVATE, b"x").unwrap_err();
        rename(&folder.path().join("missing"), &taken).unwrap_err();
    }

    #[test]
    fn who_reads_while_several_write_finds_one_of_them_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content = |writer: u8| vec![b'a' + writer; 100_000];
        replace(&path, PRIVATE, &content(0)).unwrap();
        std::thread::scope(|scope| {
            let write = |writer: u8| {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..50 {
                        replace(path, PRIVATE, &content(writer)).unwrap();
                    }
                })
            };
            let writing: Vec<_> = (0..4).map(write).collect();
            while writing.iter().any(|writer| !writer.is_finished()) {
                let found = fs::read(&path).unwrap();
                assert_eq!(found.len(), 100_000);
                assert!(found.iter().all(|byte| *byte == found[0]), "of one writer");
            }
        });
        assert_eq!(names(folder.path()), ["file"]);
    }
}
