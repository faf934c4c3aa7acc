//! The server version that wrote the files of a node, and whether this node's server can read them.
//!
//! There are two sources. The first bytes of the append-only file's base have the format version of
//! the server that made it. A note beside the files has the version of the last server that served
//! with them, which may have appended commands that an older one does not know. The note is in the
//! folder of the files, so that it moves with them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::debug;

use crate::files;
use crate::protocol::format::{Format, HEADER, Version};

use super::state::AOF_LIST;

/// The note of the version, beside the files.
const NOTE: &str = "written-by";

/// The last comparison. A node without a server checks fifty times a second; the files are read
/// only if they or the version of the server have changed since the last check.
#[derive(Debug, Default)]
pub(super) struct VersionCheck {
    of: Option<(Version, ComparedFiles)>,
    unreadable: Option<String>,
}

/// The files of a comparison: their folder, the server's list, the note, and the base.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ComparedFiles {
    beside: [Option<FileStamp>; 3],
    base: Option<PathBuf>,
    base_stamp: Option<FileStamp>,
}

/// Distinguishes a file from another one of the same name, and from an earlier version of itself:
/// device, inode, length, times of the last changes.
type FileStamp = (u64, u64, u64, (i64, i64), (i64, i64));

fn stamp(path: &Path) -> Option<FileStamp> {
    let file = fs::metadata(path).ok()?;
    let changed = (file.mtime(), file.mtime_nsec());
    let status_changed = (file.ctime(), file.ctime_nsec());
    Some((file.dev(), file.ino(), file.len(), changed, status_changed))
}

fn stamps(files: &Path) -> [Option<FileStamp>; 3] {
    [
        stamp(files),
        stamp(&files.join(AOF_LIST)),
        stamp(&files.join(NOTE)),
    ]
}

impl VersionCheck {
    /// The version that wrote the files, if the server `own` can't read them; `None` if it can, or
    /// if the version is unknown.
    pub(super) fn unreadable_by(&mut self, files: &Path, own: Version) -> Option<String> {
        self.compare_with(files, own, unreadable)
    }

    fn compare_with(
        &mut self,
        files: &Path,
        own: Version,
        read: impl FnOnce(&Path, Option<&Path>, Version) -> Option<String>,
    ) -> Option<String> {
        // Before the files are read, so that the next check notices a change meanwhile.
        let beside = stamps(files);
        let as_before = self.of.as_ref().is_some_and(|(version, seen)| {
            *version == own
                && seen.beside == beside
                && seen.base_stamp == seen.base.as_deref().and_then(stamp)
        });
        if !as_before {
            let base = base_in(files);
            let base_stamp = base.as_deref().and_then(stamp);
            self.unreadable = read(files, base.as_deref(), own);
            let seen = ComparedFiles {
                beside,
                base,
                base_stamp,
            };
            self.of = Some((own, seen));
        }
        self.unreadable.clone()
    }
}

/// See [`VersionCheck::unreadable_by`].
fn unreadable(files: &Path, base: Option<&Path>, own: Version) -> Option<String> {
    let base = base
        .and_then(format_of)
        .filter(|format| !own.reads_format(*format));
    match noted(files).filter(|writer| !own.reads(*writer)) {
        Some(writer) => Some(writer.to_string()),
        None => base.map(|format| format.to_string()),
    }
}

/// Why a server is not started with the files on disk.
pub(super) fn cannot_load(own: &str, wrote: &str) -> String {
    format!(
        "{own} cannot read what {wrote} wrote on this disk, so it is not started: start this node with that version or a later \
         one; if another data node has the data in a version that this one can read, this node copies it from there, and sets \
         its own files aside until then"
    )
}

/// Why a server does not follow the primary.
pub(super) fn cannot_follow(own: &str, writes: Option<Version>) -> String {
    let writes = writes.map_or_else(|| "another version".to_owned(), |v| v.to_string());
    format!(
        "{own} cannot read what the primary's {writes} writes, so it does not follow, keeps its own data, and is not \
         promotable: start this node with {writes} or a later version"
    )
}

/// Notes that a server of version `own` serves with these files.
pub(super) fn note(files: &Path, own: Version) {
    if !files.is_dir() || noted(files).is_some_and(|before| before == own) {
        return;
    }
    let path = files.join(NOTE);
    let text = format!("{own}\n");
    if let Err(error) = files::replace(&path, files::PUBLIC, text.as_bytes()) {
        debug!(path = %path.display(), %error, "the server version could not be noted beside the files");
    }
}

fn noted(files: &Path) -> Option<Version> {
    Version::parse(&fs::read_to_string(files.join(NOTE)).ok()?)
}

/// The base that the manifest names.
fn base_in(files: &Path) -> Option<PathBuf> {
    let manifests = fs::read_dir(files).ok()?.flatten().map(|e| e.path());
    let manifest = manifests
        .filter(|path| path.extension().is_some_and(|x| x == "manifest"))
        .find_map(|path| fs::read_to_string(path).ok())?;
    manifest
        .lines()
        .find_map(base_of)
        .map(|base| files.join(base))
}

fn format_of(base: &Path) -> Option<Format> {
    let mut header = [0; HEADER];
    let mut file = File::open(base).ok()?;
    file.read_exact(&mut header).ok()?;
    Format::of_header(&header)
}

/// `file appendonly.aof.2.base.rdb seq 2 type b`.
fn base_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let (mut name, mut base) = (None, false);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        match key {
            "file" => name = Some(value),
            "type" => base = value == "b",
            _ => {}
        }
    }
    // Only names in this folder count, whatever the manifest contains.
    name.filter(|name| base && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn unreadable(files: &Path, own: Version) -> Option<String> {
        VersionCheck::default().unreadable_by(files, own)
    }

    #[test]
    fn files_are_read_once_until_they_or_the_server_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path();
        let (old, new) = (version("Redis 7.0.15"), version("Redis 8.0.2"));
        let write = |name: &str, text: &str| fs::write(files.join(name), text).unwrap();
        let mut compared = VersionCheck::default();
        let mut reads = 0;
        let mut look = |own| {
            let before = reads;
            let found = compared.compare_with(files, own, |files, base, own| {
                reads += 1;
                super::unreadable(files, base, own)
            });
            (found.is_some(), reads - before)
        };
        assert_eq!(look(old), (false, 1));
        assert_eq!(look(old), (false, 0));
        let list = "file appendonly.aof.1.base.rdb seq 1 type b\n";
        write("appendonly.aof.1.base.rdb", "REDIS0012\u{fa}");
        write(AOF_LIST, list);
        assert_eq!(look(old), (true, 1));
        assert_eq!(look(old), (true, 0));
        assert_eq!(look(new), (false, 1));
        assert_eq!(look(old), (true, 1));
        // The base, the note and the list, each where it is; and all of it taken away.
        write("appendonly.aof.1.base.rdb", "REDIS0010");
        assert_eq!(look(old), (false, 1));
        write(NOTE, "Redis 7.0.15\n");
        assert_eq!(look(old), (false, 1));
        write(NOTE, "Redis 8.0.2\n");
        assert_eq!(look(old), (true, 1));
        write(AOF_LIST, "");
        assert_eq!(look(old), (true, 1));
        fs::remove_file(files.join(NOTE)).unwrap();
        assert_eq!(look(old), (false, 1));
        fs::remove_dir_all(files).unwrap();
        assert_eq!(look(old), (false, 1));
        assert_eq!(look(old), (false, 0));
    }

    #[test]
    fn files_are_refused_by_their_base_and_by_who_has_served_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path();
        let (old, new) = (version("Redis 7.0.15"), version("Redis 8.0.2"));
        assert_eq!(unreadable(files, old), None);
        // A base that is named no more.
        fs::write(files.join("appendonly.aof.1.base.rdb"), "REDIS0012").unwrap();
        fs::write(files.join("appendonly.aof.2.base.rdb"), "REDIS0010\u{fa}").unwrap();
        fs::write(
            files.join("appendonly.aof.manifest"),
            "file appendonly.aof.1.base.rdb seq 1 type h\nfile appendonly.aof.2.base.rdb seq 2 type b\n\
             file appendonly.aof.2.incr.aof seq 2 type i\n",
        )
        .unwrap();
        assert_eq!(unreadable(files, old), None);
        fs::write(files.join("appendonly.aof.2.base.rdb"), "REDIS0012\u{fa}").unwrap();
        let says = unreadable(files, old).unwrap();
        assert!(says.contains("Redis 7.4 or later"), "{says}");
        assert_eq!(unreadable(files, new), None);
        // Old files that a newer server has written behind.
        fs::write(files.join("appendonly.aof.2.base.rdb"), "REDIS0010\u{fa}").unwrap();
        note(files, new);
        assert_eq!(unreadable(files, old).as_deref(), Some("Redis 8.0.2"));
        assert_eq!(unreadable(files, new), None);
    }

    #[test]
    fn a_refusal_says_which_versions_and_what_helps() {
        let own = "Redis 7.0.15";
        let load = cannot_load(own, "Redis 8.0.2");
        assert!(load.starts_with("Redis 7.0.15 cannot read what Redis 8.0.2 wrote on this disk"));
        assert!(
            load.contains("start this node with that version or a later one"),
            "{load}"
        );
        let follow = cannot_follow(own, Some(version("Redis 8.0.2")));
        assert!(
            follow.starts_with("Redis 7.0.15 cannot read what the primary's Redis 8.0.2 writes")
        );
        assert!(
            follow.ends_with("start this node with Redis 8.0.2 or a later version"),
            "{follow}"
        );
        for text in [load, follow] {
            assert!(
                !text.contains("remove") && !text.contains("--fix"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_base_that_is_no_copy_or_damaged_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path();
        let manifest = files.join("appendonly.aof.manifest");
        for (text, base) in [
            ("file x.base.aof seq 1 type b\n", "*2\r\n$6\r\nSELECT\r\n"),
            ("file x.base.aof seq 1 type b\n", "REDIS"),
            ("file ../x.base.aof seq 1 type b\n", "REDIS0099"),
            ("nonsense\n", "REDIS0099"),
        ] {
            fs::write(&manifest, text).unwrap();
            fs::write(files.join("x.base.aof"), base).unwrap();
            assert_eq!(unreadable(files, version("Redis 7.0.15")), None, "{text}");
        }
    }
}
