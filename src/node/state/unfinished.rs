//! Files that a killed server left in its working folder, removed before the next start.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::{AOF_LIST, StateDir};

impl StateDir {
    /// Removes what a server left that was killed while it rewrote its append-only file, or copied
    /// from its primary: unfinished or replaced, as large as its data, and never read or
    /// removed by any server.
    pub(super) fn remove_unfinished(&self) {
        let entries = fs::read_dir(self.data()).into_iter().flatten().flatten();
        let unfinished = entries.filter(|e| is_unfinished(&e.file_name().to_string_lossy()));
        let unfinished = unfinished.map(|e| e.path());
        for path in unfinished.chain(unlisted(&self.files())) {
            let bytes = fs::metadata(&path).map_or(0, |m| m.len());
            // Not worth a refusal to start: it costs room, and where that is missed the server is
            // not started and says so.
            match self
                .trash
                .discard(&path)
                .or_else(|_| fs::remove_file(&path))
            {
                Ok(()) => {
                    info!(file = %path.display(), bytes, "removed: a killed server left it, unfinished or replaced");
                    self.unfinished.set(self.unfinished.get() + 1);
                }
                Err(error) => {
                    warn!(file = %path.display(), bytes, %error, "a killed server left it, unfinished or replaced, and it can't be removed");
                }
            }
        }
    }

    /// How many unfinished files were removed since this was asked last.
    pub fn take_unfinished(&self) -> u64 {
        self.unfinished.take()
    }
}

/// Parts of an append-only file that its list does not name: a rewrite has replaced them, and the
/// server was killed before it had removed them. None where the list is not whole, for then nobody
/// knows what belongs together.
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

/// Whether a server gives that name to a file that it has not finished: `rewriteAppendOnlyFile` in
/// aof.c, `rdbSave` in rdb.c, `syncWithMaster` in replication.c.
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
