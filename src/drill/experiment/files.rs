//! The folder of an experiment: removed, or kept with the events.

use std::fs;
use std::io::Write;
use std::path::Path;

use tracing::{info, warn};

use crate::drill::environment::{Environment, LabObserver};
use crate::drill::judging::{EventLog, LabEventKind};

/// Appends events to `events.log` in the folder.
pub(in crate::drill) fn keep_events(folder: &Path, events: &EventLog) {
    let line =
        |at: u64, kind: &LabEventKind| format!("{:>12.3} ms  {kind:?}\n", at as f64 / 1000.0);
    let text: String = events.0.iter().map(|e| line(e.at, &e.kind)).collect();
    let path = folder.join("events.log");
    let log = fs::File::options().create(true).append(true).open(&path);
    if let Err(error) = log.and_then(|mut log| log.write_all(text.as_bytes())) {
        warn!(%error, path = %path.display(), "cannot write the events");
    }
}

/// Stops the lab of an experiment, and removes its folder or keeps it. Returns the kept folder.
pub(in crate::drill) fn clean_up(
    environment: Environment,
    observer: LabObserver,
    keep: bool,
) -> Option<String> {
    let folder = environment.folder().to_owned();
    let events = observer.take_events();
    drop(observer);
    if !keep {
        environment.stop(false);
        if let Err(error) = fs::remove_dir_all(&folder) {
            warn!(%error, folder = %folder.display(), "cannot remove the folder of the run");
        }
        return None;
    }
    keep_events(&folder, &events);
    info!(folder = %folder.display(), "kept: ledger, logs, events, state");
    environment.stop(true);
    Some(folder.display().to_string())
}
