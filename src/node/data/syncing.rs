//! The append-only file is synced to disk once a second, by the node of the server.
//!
//! The server could do that itself (`appendfsync everysec`). But while such a sync is under way it puts off writing to the
//! file, for up to 2 s, and answers all the same (`flushAppendOnlyFile` in aof.c). Killed then, it comes back without what it has
//! answered. So it is told not to sync (`no`): it writes each command to the file before it answers, and what is written
//! survives the end of the server. Only the end of the machine can take what is not synced.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info};

/// From the begin of one sync to that of the next, if that has ended.
const PERIOD: Duration = Duration::from_secs(1);

/// The syncs of one node.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    begun: Option<Instant>,
    running: Option<JoinHandle<io::Result<()>>>,
    failed: bool,
}

impl Syncing {
    /// Begins a sync of the append-only files in `folder` when one is due. To be called again and again.
    pub(super) async fn go_on(&mut self, node: &str, folder: PathBuf) {
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            let synced = match running.await {
                Ok(synced) => synced,
                Err(error) => Err(io::Error::other(error)),
            };
            match synced {
                Ok(()) if self.failed => {
                    self.failed = false;
                    info!(node, "the append-only file is synced to disk again");
                }
                Err(error) if !self.failed => {
                    self.failed = true;
                    error!(node, %error, folder = %folder.display(), "the append-only file can't be synced to disk: see \
                        what ails the disk; until it can, another node takes over");
                }
                _ => {}
            }
        }
        let due = self.begun.is_none_or(|at| at.elapsed() >= PERIOD);
        if due && self.running.is_none() {
            self.begun = Some(Instant::now());
            self.running = Some(tokio::task::spawn_blocking(move || sync(&folder)));
        }
    }

    /// The last sync has failed: the disk takes no writes for certain.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(folder) {
        // Nothing has been written yet, or it has just been set aside.
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !path.extension().is_some_and(|extension| extension == "aof") {
            continue;
        }
        match File::open(&path).and_then(|file| file.sync_data()) {
            // A rewrite has replaced it.
            Err(error) if gone(&error) => {}
            synced => synced?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_synced_also_when_some_are_gone_and_a_failure_shows_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("appendonlydir");
        assert!(sync(&files).is_ok());
        fs::create_dir(&files).unwrap();
        fs::write(files.join("x.1.incr.aof"), "x").unwrap();
        fs::write(files.join("x.manifest"), "x").unwrap();
        assert!(sync(&files).is_ok());
        // A file where the folder should be.
        let mut syncing = Syncing::default();
        let until_begun_and_ended = async |syncing: &mut Syncing, folder: PathBuf| {
            syncing.begun = None;
            syncing.go_on("redis-a", folder.clone()).await;
            while !syncing.running.as_ref().is_some_and(|r| r.is_finished()) {
                tokio::task::yield_now().await;
            }
            syncing.go_on("redis-a", folder).await;
        };
        until_begun_and_ended(&mut syncing, files.join("x.manifest")).await;
        assert!(syncing.failed());
        until_begun_and_ended(&mut syncing, files).await;
        assert!(!syncing.failed());
    }
}
