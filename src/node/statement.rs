//! What this node states about itself to whoever asks (`/status` beside the metrics): kept up by
//! the node's parts, read at each request. Nothing waits for a reader, and no reader waits for the
//! node.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::debug;

use crate::config::{Lab, Node};
use crate::report::{Cause, Description, LogProblem, LogReader, NodeReport};

use super::binary::ServerBinary;
use super::machine::{Action, Observation, ServerState};

/// In the state folder of a node that has ended with an error, or was stopped: what it stated last,
/// and how it ended.
pub(super) const NOTE: &str = "ended.json";

/// The statement; clones are one.
#[derive(Debug, Clone)]
pub(super) struct Statement(Arc<Mutex<StatementState>>);

#[derive(Debug)]
struct StatementState {
    report: NodeReport,
    log: LogReader,
    /// The age of what is heard is counted from here: the clock of the host may be set.
    begun: Instant,
}

impl StatementState {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn said(&self) -> Option<LogProblem> {
        self.log.problem(self.now())
    }
}

impl Statement {
    pub(super) fn new(lab: &Lab, node: &Node, binary: &ServerBinary) -> Self {
        let report = NodeReport {
            node: node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            server: binary.title(),
            lab: Description::of(lab),
            ..NodeReport::default()
        };
        Statement(Arc::new(Mutex::new(StatementState {
            report,
            log: LogReader::default(),
            begun: Instant::now(),
        })))
    }

    /// What was half written by a part that panicked is as good as what was there before.
    fn lock(&self) -> MutexGuard<'_, StatementState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the report.
    pub(super) fn update(&self, change: impl FnOnce(&mut NodeReport)) {
        change(&mut self.lock().report);
    }

    /// The next line of the server's log.
    pub(super) fn hear(&self, line: &str) {
        let mut stated = self.lock();
        let now = stated.now();
        stated.log.line(line, now);
    }

    /// What the server's log says about something that is wrong.
    pub(super) fn said(&self) -> Option<LogProblem> {
        self.lock().said()
    }

    /// The same, if it is that the server refuses its config file.
    pub(super) fn config_refused(&self) -> Option<String> {
        let said = self.said()?;
        (said.cause == Cause::ConfigRefused).then_some(said.line)
    }

    pub(super) fn report(&self) -> NodeReport {
        let stated = self.lock();
        NodeReport {
            said: stated.said(),
            ..stated.report.clone()
        }
    }

    /// The report as JSON.
    pub(super) fn page(&self) -> String {
        // Strings, numbers and lists: nothing in it can fail.
        serde_json::to_string(&self.report()).unwrap_or_default()
    }

    /// Leaves a note of why the node has ended, for whoever looks into its state folder.
    pub(super) fn note_end(&self, folder: &Path, why: &str) {
        self.note(
            folder,
            NodeReport {
                ended: Some(why.to_owned()),
                ended_at: now(),
                ..self.report()
            },
        );
    }

    /// Leaves a note that the node was stopped on request.
    pub(super) fn note_stop(&self, folder: &Path) {
        self.note(
            folder,
            NodeReport {
                stopped_at: now(),
                ..self.report()
            },
        );
    }

    fn note(&self, folder: &Path, report: NodeReport) {
        let report = NodeReport {
            running: false,
            ..report
        };
        let note = serde_json::to_vec(&report).unwrap_or_default();
        if let Err(error) = fs::write(folder.join(NOTE), note) {
            debug!(folder = %folder.display(), %error, "cannot note how the node has ended");
        }
    }

    /// The node starts: why it ended before is over.
    pub(super) fn forget_end(folder: &Path) {
        // Mostly not there. One that stays is told only while the node is gone.
        let _ = fs::remove_file(folder.join(NOTE));
    }

    /// What is seen of a data node's own server.
    pub(super) fn observed(&self, seen: &Observation) {
        let has_role = matches!(
            seen.server,
            ServerState::Primary { .. }
                | ServerState::Replica {
                    link_down_for: None,
                    ..
                }
                | ServerState::Gone
        );
        self.update(|report| {
            report.running = seen.server != ServerState::Gone;
            if has_role {
                report.waiting = None;
            }
            if !seen.disk_refuses {
                report.disk = None;
            }
        });
    }

    /// Whom the Sentinels name, where that is no data node of this node's `lab.toml`.
    pub(super) fn foreign_primary(&self, address: Option<SocketAddrV4>) {
        self.update(|report| report.foreign_primary = address.map(|at| at.to_string()));
    }

    /// The server's version and that of the data, or of the primary, do not go together.
    pub(super) fn refused_for_version(&self, why: String) {
        self.update(|report| {
            report.version_refused = Some(why);
            // That is what stands in the way, and not what was waited for before.
            report.waiting = None;
        });
    }

    /// What a data node is about to do.
    pub(super) fn decided(&self, action: &Action) {
        match action {
            Action::Waiting(what) => self.update(|r| r.waiting = Some((*what).to_owned())),
            Action::Follow(..) | Action::Promote(_) | Action::Stand(_) => {
                self.update(|r| {
                    r.waiting = None;
                    r.version_refused = None;
                });
            }
            Action::Start | Action::StartAfresh => self.update(|r| r.version_refused = None),
            _ => {}
        }
    }
}

/// In seconds since 1970.
fn now() -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.ok().map(|now| now.as_secs())
}
