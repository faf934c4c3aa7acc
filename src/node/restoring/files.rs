//! Makes append-only files from a backup: its data as the base, and commands that write another
//! mark.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::backup::folder::{self, DataWriter, FolderError};
use crate::backup::manifest::Manifest;
use crate::node::state::AOF_LIST;
use crate::node::state::error::{StateError, io_error};
use crate::protocol::copy::{DataCopy, MARK_KEY, Mark, RandomIds};
use crate::protocol::member_list::MEMBER_LIST_KEY;

use super::{RestoreError, Step};

/// Names as the server gives them, by default (`appendfilename`).
pub(super) const BASE: &str = "appendonly.aof.1.base.rdb";
pub(super) const COMMANDS: &str = "appendonly.aof.1.incr.aof";

/// Writes the files and syncs them to disk.
pub(super) fn put_together(
    folder: &Path,
    (backup, manifest): (&Path, &Manifest),
    mark: &Mark,
    stop: &CancellationToken,
    done: &mut dyn FnMut(Step),
) -> Result<(), RestoreError> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(io_error("cannot make", folder))?;
    done(Step::FolderMade);
    let mut base = DataWriter::begin(folder.join(BASE))?;
    folder::read_data(backup, manifest, |part| {
        if stop.is_cancelled() {
            return Err(FolderError::Stopped);
        }
        base.push(part)?;
        done(Step::PartWritten);
        Ok(())
    })?;
    // The checksum was checked while the data was read.
    drop(base.finish(BASE)?);
    for (name, text) in [(COMMANDS, commands(mark)), (AOF_LIST, list())] {
        let path = folder.join(name);
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(io_error("cannot write", &path))?;
        done(Step::FileWritten);
    }
    Ok(folder::sync_folder(folder)?)
}

/// Gives a folder and its files to the owner of `like`, so that the node's user can read what root
/// has restored.
pub(super) fn owned_as(like: &Path, folder: &Path) -> Result<(), StateError> {
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid()));
    let hand_over = || -> io::Result<()> {
        let (uid, gid) = owner(like)?;
        let mut paths = vec![folder.to_owned()];
        for entry in fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
        for path in paths {
            if owner(&path)? != (uid, gid) {
                chown(&path, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    };
    hand_over().map_err(io_error(
        "cannot give to the owner of the state folder",
        folder,
    ))
}

/// The mark of the copy in `files`, which holds `held`, if it is that backup, restored, whole, and
/// not changed since.
pub(super) fn restored_before(files: &Path, manifest: &Manifest, held: &DataCopy) -> Option<Mark> {
    let DataCopy::Marked(held) = held else {
        return None;
    };
    let drawn = RandomIds {
        lab: held.lab.clone(),
        term: held.term.id.clone(),
    };
    let mark = manifest.mark.restored(&held.term.by, drawn);
    let is = |name: &str, text: &str| {
        fs::read(files.join(name)).is_ok_and(|bytes| bytes == text.as_bytes())
    };
    let as_it_was = mark == **held
        && is(AOF_LIST, &list())
        && is(COMMANDS, &commands(&mark))
        && folder::is_data(&files.join(BASE), manifest);
    as_it_was.then_some(mark)
}

/// The server's list of them.
fn list() -> String {
    format!("file {BASE} seq 1 type b\nfile {COMMANDS} seq 1 type i\n")
}

/// The commands behind the data, which write the mark and remove the list of members.
pub(super) fn commands(mark: &Mark) -> String {
    let text = mark.to_text();
    let mut out = String::new();
    // The members are those of lab.toml, not of the time of the backup.
    let all = [
        &["SELECT", "0"][..],
        &["SET", MARK_KEY, &text],
        &["DEL", MEMBER_LIST_KEY],
    ];
    for words in all {
        // Writing to a String cannot fail.
        let _ = write!(out, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(out, "${}\r\n{word}\r\n", word.len());
        }
    }
    out
}
