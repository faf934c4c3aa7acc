//! Notes that nodes leave in their state folders on this host: the copy that a node holds, and how
//! it ended.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::report::{COPY_NOTE, END_NOTE, NodeReport};

use super::{DataNodeStatus, Problem, ProblemCode, Reached, Status, judge};

impl Status {
    /// Adds the notes of nodes that are not reachable and have their state folder under
    /// `state_root`.
    pub fn add_notes(&mut self, state_root: &Path) {
        let unreachable = |node: &&mut DataNodeStatus| node.state.up().is_none();
        for node in self.data_nodes.iter_mut().filter(unreachable) {
            // There is no note if the node is on another host or was never started.
            let note = fs::read_to_string(state_root.join(&node.name).join(COPY_NOTE)).ok();
            node.holds = note.map(|note| format!("{} (last seen by its node)", note.trim()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.add_end_notes(state_root, now.unwrap_or_default().as_secs());
    }

    /// Adds why nodes have ended. `now` is in seconds since 1970.
    pub(super) fn add_end_notes(&mut self, state_root: &Path, now: u64) {
        let is_down = |p: &&mut Problem| p.code == ProblemCode::NodeDown;
        for problem in self.problems.iter_mut().filter(is_down) {
            let Some(name) = problem.node.clone() else {
                continue;
            };
            let note = fs::read(state_root.join(&name).join(END_NOTE)).ok();
            let note: Option<NodeReport> = note.and_then(|n| serde_json::from_slice(&n).ok());
            if let Some(mut report) = note {
                if let (Some(problem), Some(at)) = (
                    &mut report.log_problem,
                    report.ended_at.or(report.stopped_at),
                ) {
                    // The age was noted at that time. If the clock was set back since, nothing is
                    // added.
                    problem.ago_s = problem.ago_s.map(|ago| ago + now.saturating_sub(at));
                }
                *problem = judge::ended(&name, &problem.what, &report, now);
                self.supervisors.insert(name, Reached::Up(report));
            }
        }
    }
}
