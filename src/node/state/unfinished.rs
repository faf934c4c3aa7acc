//! Files that a killed server left in its working folder, removed before the next start.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::{AOF_LIST, StateDir};

impl StateDir {
    /// Removes the unfinished or replaced files of a server that was killed while it rewrote its
    /// append-only file or copied from its primary. They can be as large as the data, and no server
    /// reads or removes them.
    pub(super) fn remove_unfinished(&self) {
        let entries = fs::read_dir(self.data()).into_iter().flatten().flatten();
        let unfinished = entries.filter(|e| is_unfinished(&e.file_name().to_string_lossy()));
        let unfinished = unfinished.map(|e| e.path());
        for path in unfinished.chain(unlisted(&self.files())) {
            let bytes = fs::metadata(&path).map_or(0, |m| m.len());
            // A failure only costs disk space. If that is too little, the server is not started,
            // and the node reports it.
            match self
                .trash
                .discard(&path)
                .or_else(|_| fs::remove_file(&path))
            {
                Ok(()) => {
                    info!(file = %path.display(), bytes, "removed a file that a killed server left unfinished or replaced");
                    self.unfinished.set(self.unfinished.get() + 1);
                }
                Err(error) => {
                    warn!(file = %path.display(), bytes, %error, "cannot remove a file that a killed server left unfinished or replaced");
                }
            }
        }
    }

    /// The number of unfinished files removed since the last call.
    pub fn take_unfinished(&self) -> u64 {
        self.unfinished.take()
    }
}

/// Parts of an append-only file that its list does not name: a rewrite replaced them, and the
/// server was killed before it removed them. Empty if the list is incomplete, since then it is
/// unknown which parts belong together.
fn unlisted(files: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_to_string(files.join(AOF_LIST)) else {
        return Vec::new();
    };
    let mut named = Vec::new();
    for line in list.lines() {
        match line.split_whitespace().nth(1) {
            Some(name) if line.starts_with("file ") && files.join(name).exists() => {
                named.push(name)
            }
            _ => return Vec::new(),
        }
    }
    if named.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir(files).into_iter().flatten().flatten();
    let parts = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let part = name.starts_with("appendonly.aof.")
            && [".base.rdb", ".base.aof", ".incr.aof"]
                .iter()
                .any(|end| name.ends_with(end));
        part && !named.contains(&&*name)
    });
    parts.map(|entry| entry.path()).collect()
}

/// Whether a server gives this name to an unfinished file: `rewriteAppendOnlyFile` in aof.c,
/// `rdbSave` in rdb.c, `syncWithMaster` in replication.c.
fn is_unfinished(name: &str) -> bool {
    let numbers =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let Some((stem, extension)) = name.strip_prefix("temp-").and_then(|n| n.rsplit_once('.'))
    else {
        return false;
    };
    match extension {
        "rdb" => numbers(stem),
        "aof" => stem
            .strip_prefix("rewriteaof-")
            .is_some_and(|n| numbers(n.strip_prefix("bg-").unwrap_or(n))),
        _ => false,
    }
}
