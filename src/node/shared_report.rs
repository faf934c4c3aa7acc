//! The report of this node about itself, served at `/status` beside the metrics. The parts of the
//! node keep it up to date, and each request reads it. Neither waits for the other.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::debug;

use crate::config::{Lab, Node};
use crate::report::{Cause, Description, END_NOTE, LogProblem, LogReader, NodeReport};

use super::binary::ServerBinary;
use super::machine::{Action, Observation, ServerState, Wait};

/// The report, shared by its clones.
#[derive(Debug, Clone)]
pub(super) struct SharedReport(Arc<Mutex<ReportState>>);

#[derive(Debug)]
struct ReportState {
    report: NodeReport,
    log: LogReader,
    /// Ages of log lines count from here, since the clock of the host may be changed.
    begun: Instant,
}

impl ReportState {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn log_problem(&self) -> Option<LogProblem> {
        self.log.problem(self.now())
    }
}

impl SharedReport {
    pub(super) fn new(lab: &Lab, node: &Node, binary: &ServerBinary) -> Self {
        let report = NodeReport {
            node: node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            server: binary.title(),
            lab: Description::of(lab),
            ..NodeReport::default()
        };
        SharedReport(Arc::new(Mutex::new(ReportState {
            report,
            log: LogReader::default(),
            begun: Instant::now(),
        })))
    }

    /// A report that a panicked part left half written is as good as the one before.
    fn lock(&self) -> MutexGuard<'_, ReportState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the report.
    pub(super) fn update(&self, change: impl FnOnce(&mut NodeReport)) {
        change(&mut self.lock().report);
    }

    /// The next line of the server's log.
    pub(super) fn hear(&self, line: &str) {
        let mut state = self.lock();
        let now = state.now();
        state.log.line(line, now);
    }

    /// The problem that the server's log shows, if any.
    pub(super) fn log_problem(&self) -> Option<LogProblem> {
        self.lock().log_problem()
    }

    /// The reason in the log why the server refuses its config file, if it does.
    pub(super) fn config_refused(&self) -> Option<String> {
        let problem = self.log_problem()?;
        (problem.cause == Cause::ConfigRefused).then_some(problem.line)
    }

    pub(super) fn report(&self) -> NodeReport {
        let state = self.lock();
        NodeReport {
            log_problem: state.log_problem(),
            ..state.report.clone()
        }
    }

    /// The report as JSON.
    pub(super) fn page(&self) -> String {
        // Strings, numbers and lists: nothing in it can fail.
        serde_json::to_string(&self.report()).unwrap_or_default()
    }

    /// Leaves a note in the state folder of why the node has ended.
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

    /// Leaves a note in the state folder that the node was stopped on request.
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
        if let Err(error) = fs::write(folder.join(END_NOTE), note) {
            debug!(folder = %folder.display(), %error, "the note of how the node ended could not be written");
        }
    }

    /// Removes the note of an earlier end. Called when the node starts.
    pub(super) fn forget_end(folder: &Path) {
        // Mostly missing. A note that stays is read only while the node is down.
        let _ = fs::remove_file(folder.join(END_NOTE));
    }

    /// Takes over an observation of a data node.
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
                set_wait(report, None);
            }
            if !seen.disk_refuses {
                report.disk = None;
            }
        });
    }

    /// The primary that the Sentinels name, if it is not a data node of this `lab.toml`.
    pub(super) fn foreign_primary(&self, address: Option<SocketAddrV4>) {
        self.update(|report| report.foreign_primary = address.map(|at| at.to_string()));
    }

    /// The server's version does not fit the data or the primary.
    pub(super) fn refused_for_version(&self, why: String) {
        self.update(|report| {
            report.version_refused = Some(why);
            // It replaces the reason of an earlier wait.
            set_wait(report, None);
        });
    }

    /// Takes over a decision of a data node.
    pub(super) fn decided(&self, action: &Action) {
        match action {
            Action::Waiting(what) => self.update(|r| set_wait(r, Some(*what))),
            Action::Follow(..) | Action::Promote(_) | Action::Stand(_) => {
                self.update(|r| {
                    set_wait(r, None);
                    r.version_refused = None;
                });
            }
            Action::Start | Action::StartAfresh => self.update(|r| r.version_refused = None),
            _ => {}
        }
    }
}

fn set_wait(report: &mut NodeReport, wait: Option<Wait>) {
    report.waiting = wait.map(|wait| wait.to_string());
    report.needs_choice = matches!(wait, Some(Wait::Choice(_)));
}

/// In seconds since 1970.
fn now() -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.ok().map(|now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_a_start_of_nodes_ends_needs_no_choice_whatever_its_text_says() {
        let mut report = NodeReport::default();
        for (wait, needs_choice) in [
            (Some(Wait::Choice("an operator: halab choose NODE")), true),
            (
                Some(Wait::Nodes("the others; start them, or halab choose NODE")),
                false,
            ),
            (Some(Wait::Choice("an operator: halab choose NODE")), true),
            (None, false),
        ] {
            set_wait(&mut report, wait);
            assert_eq!(report.needs_choice, needs_choice, "{wait:?}");
            assert_eq!(report.waiting, wait.map(|wait| wait.to_string()));
        }
    }
}
