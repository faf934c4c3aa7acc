//! The append-only file is synced to disk once a second, by the node of the server.
//!
//! The server could do that itself (`appendfsync everysec`). But while such a sync is under way it
//! puts off writing to the file, for up to 2 s, and answers all the same (`flushAppendOnlyFile` in
//! aof.c). Killed then, it comes back without what it has answered. So it is told not to sync
//! (`no`): it writes each command to the file before it answers, and what is written survives the
//! end of the server. Only the end of the machine can take what is not synced.
//!
//! Where a sync fails, or does not end, the server is told to do it after all: it refuses writes
//! then by itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// From the begin of one sync to that of the next, if that has ended.
const PERIOD: Duration = Duration::from_secs(1);
/// A sync that takes longer does not end.
const LIMIT: Duration = Duration::from_secs(10);

/// The syncs of one node. A task of its own, which goes on whatever the node waits for.
#[derive(Debug)]
pub(super) struct FsyncTask {
    last: watch::Receiver<Sync>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
enum Sync {
    Begun(Instant),
    Ended,
    Failed(io::Error),
}

impl FsyncTask {
    /// Begins to sync the append-only files in `folder`.
    pub(super) fn start(folder: PathBuf) -> Self {
        let (to, last) = watch::channel(Sync::Ended);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let begun = Instant::now();
                to.send_replace(Sync::Begun(begun));
                let folder = folder.clone();
                let synced = tokio::task::spawn_blocking(move || sync(&folder)).await;
                to.send_replace(match synced.map_err(io::Error::other) {
                    Ok(Ok(())) => Sync::Ended,
                    Ok(Err(error)) | Err(error) => Sync::Failed(error),
                });
                sleep_until(begun + PERIOD).await;
            }
        });
        FsyncTask { last, _task: task }
    }

    /// Why the disk can't be relied on, if it can't.
    pub(super) fn failure(&self) -> Option<String> {
        match &*self.last.borrow() {
            Sync::Failed(error) => Some(error.to_string()),
            Sync::Begun(at) if at.elapsed() >= LIMIT => {
                Some(format!("a sync has not ended for {LIMIT:?}"))
            }
            Sync::Begun(_) | Sync::Ended => None,
        }
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
        let failed = |last: &Sync| matches!(last, Sync::Failed(_));
        syncing.last.wait_for(failed).await.unwrap();
        assert!(syncing.failure().is_some());
        let good = FsyncTask::start(folder.path().to_owned());
        good.last.clone().changed().await.unwrap();
        assert_eq!(good.failure(), None);
    }
}
