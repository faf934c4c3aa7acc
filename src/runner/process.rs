//! One child process of the runner.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::config::NodeKind;

use super::CHECK_PAUSE;

/// Within this time a server exits after the kernel has killed it.
const SERVER_EXIT_LIMIT: Duration = Duration::from_secs(5);

/// The kind of a child process of the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessKind {
    Node(NodeKind),
    Proxy,
    /// The lab in a browser.
    Web,
    /// A service of the monitoring.
    Monitor,
}

/// A child process of the runner.
#[derive(Debug)]
pub(super) struct LabProcess {
    pub(super) name: String,
    pub(super) kind: ProcessKind,
    pub(super) child: Option<Child>,
}

impl LabProcess {
    pub(super) fn running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process id, if it is running. Until it is waited for, no other process can have it.
    fn pid(&mut self) -> Option<Pid> {
        if !self.running() {
            return None;
        }
        Pid::from_raw(i32::try_from(self.child.as_ref()?.id()).ok()?)
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It can only fail if the process has exited in between.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills the process, and waits until it and its server have exited. The kernel kills the
    /// server of a node whose process ends, a moment later.
    pub(super) fn kill(&mut self) {
        let has_server = matches!(self.kind, ProcessKind::Node(_));
        let pid = self.pid().filter(|_| has_server);
        let servers = pid.map(open_children).unwrap_or_default();
        self.signal(Signal::KILL);
        self.reap();
        let deadline = Instant::now() + SERVER_EXIT_LIMIT;
        for server in servers {
            wait_for_exit(&server, deadline);
        }
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It was killed before, so this returns at once.
            let _ = child.wait();
        }
    }

    /// Waits until the process exits, and kills it at the deadline.
    pub(super) fn wait_until(&mut self, deadline: Instant) {
        while self.running() {
            if Instant::now() >= deadline {
                self.kill();
                return;
            }
            std::thread::sleep(CHECK_PAUSE);
        }
        self.reap();
    }
}

/// A descriptor for each child of a process.
fn open_children(parent: Pid) -> Vec<OwnedFd> {
    let parent = parent.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    children
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect()
}

/// Waits until the process of a descriptor has exited, at most until the deadline.
fn wait_for_exit(process: &OwnedFd, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).ok();
    // A signal may end the wait early. The exit is only waited for, nothing depends on it.
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref());
}

/// The processes that have exited by themselves since the last call, with their exit status.
pub(super) fn exited(processes: &mut [LabProcess]) -> Vec<(String, ExitStatus)> {
    processes
        .iter_mut()
        .filter_map(|process| {
            let status = process.child.as_mut()?.try_wait().ok()??;
            process.child = None;
            Some((process.name.clone(), status))
        })
        .collect()
}
