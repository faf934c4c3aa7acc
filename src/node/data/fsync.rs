//! Syncs the append-only file to disk once a second, in the supervisor.
//!
//! The server could do that itself (`appendfsync everysec`). But while such a sync is in progress
//! it delays writes to the file for up to 2 s and still answers (`flushAppendOnlyFile` in aof.c).
//! If it is killed then, answered writes are lost. So it runs with `appendfsync no`: it writes each
//! command to the file before it answers, and what is written survives the end of the server. Only
//! a crash of the machine can lose what is not synced.
//!
//! If a sync fails or does not end, the server is told to sync after all: then it refuses writes by
//! itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// From the begin of one sync to the begin of the next.
const PERIOD: Duration = Duration::from_secs(1);
/// A sync that takes longer counts as one that does not end.
const LIMIT: Duration = Duration::from_secs(10);

/// The task that syncs the files of one node, independent of what the node waits for.
#[derive(Debug)]
pub(super) struct FsyncTask {
    last: watch::Receiver<SyncState>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
enum SyncState {
    Begun(Instant),
    Ended,
    Failed(io::Error),
}

impl FsyncTask {
    /// Begins to sync the append-only files in `folder`.
    pub(super) fn start(folder: PathBuf) -> Self {
        let (to, last) = watch::channel(SyncState::Ended);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let begun = Instant::now();
                to.send_replace(SyncState::Begun(begun));
                let folder = folder.clone();
                let synced = tokio::task::spawn_blocking(move || sync(&folder)).await;
                to.send_replace(match synced.map_err(io::Error::other) {
                    Ok(Ok(())) => SyncState::Ended,
                    Ok(Err(error)) | Err(error) => SyncState::Failed(error),
                });
                sleep_until(begun + PERIOD).await;
            }
        });
        FsyncTask { last, _task: task }
    }

    /// Why the files can't be synced, if so.
    pub(super) fn failure(&self) -> Option<String> {
        match &*self.last.borrow() {
            SyncState::Failed(error) => Some(error.to_string()),
            SyncState::Begun(at) if at.elapsed() >= LIMIT => {
                Some(format!("a sync has not ended for {LIMIT:?}"))
            }
            SyncState::Begun(_) | SyncState::Ended => None,
        }
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(folder) {
        // Nothing has been written yet, or the files have just been set aside.
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "aof") {
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

    #[test]
    fn files_are_synced_also_when_some_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("appendonlydir");
        assert!(sync(&files).is_ok());
        fs::create_dir(&files).unwrap();
        fs::write(files.join("x.1.incr.aof"), "x").unwrap();
        fs::write(files.join("x.manifest"), "x").unwrap();
        assert!(sync(&files).is_ok());
        // A file where the folder should be.
        assert!(sync(&files.join("x.manifest")).is_err());
    }

    #[tokio::test]
    async fn a_sync_that_fails_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("appendonlydir");
        fs::write(&file, "x").unwrap();
        let mut syncing = FsyncTask::start(file);
        let failed = |last: &SyncState| matches!(last, SyncState::Failed(_));
        syncing.last.wait_for(failed).await.unwrap();
        assert!(syncing.failure().is_some());
        let good = FsyncTask::start(folder.path().to_owned());
        good.last.clone().changed().await.unwrap();
        assert_eq!(good.failure(), None);
    }
}
