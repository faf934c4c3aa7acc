//! One child process of the runner.

use std::process::{Child, ExitStatus};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::config::NodeKind;

use super::CHECK_PAUSE;

/// A child process of the runner: a node, or a service of the monitoring.
#[derive(Debug)]
pub(super) struct NodeProcess {
    pub(super) name: String,
    /// `None` for a service of the monitoring.
    pub(super) kind: Option<NodeKind>,
    pub(super) child: Option<Child>,
}

impl NodeProcess {
    pub(super) fn running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        // Only before it is waited for: until then no other process can have its id.
        if self.running()
            && let Some(pid) = self
                .child
                .as_ref()
                .and_then(|c| i32::try_from(c.id()).ok())
                .and_then(Pid::from_raw)
        {
            // It can only fail if the process has exited in between.
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It was killed before, so this returns at once.
            let _ = child.wait();
        }
    }

    /// Waits until the process exits, and kills it at the deadline.
    pub(super) fn wait_until(&mut self, deadline: Instant) {
        while self.running() {
            if Instant::now() >= deadline {
                self.signal(Signal::KILL);
                break;
            }
            std::thread::sleep(CHECK_PAUSE);
        }
        self.reap();
    }
}

/// The processes that have exited by themselves since the last call, with their exit status.
pub(super) fn exited(processes: &mut [NodeProcess]) -> Vec<(String, ExitStatus)> {
    processes
        .iter_mut()
        .filter_map(|process| {
            let status = process.child.as_mut()?.try_wait().ok()??;
            process.child = None;
            Some((process.name.clone(), status))
        })
        .collect()
}
