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

/// How far the stop of a node is.
#[derive(Debug)]
pub(super) enum PlannedStop {
    /// SIGTERM was sent; SIGKILL follows at this time.
    Asked(Instant),
    /// SIGKILL was sent; these are its servers, which end a moment later.
    Killed(Vec<OwnedFd>),
    /// It has ended.
    Over,
}

/// A child process of the runner.
#[derive(Debug)]
pub(super) struct LabProcess {
    pub(super) name: String,
    pub(super) kind: ProcessKind,
    pub(super) child: Option<Child>,
    /// Its stop, if that was requested since its start.
    pub(super) stop: Option<PlannedStop>,
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

    /// Whether it has been told to stop, and has not ended.
    pub(super) fn is_stopping(&self) -> bool {
        let stop = self.stop.as_ref();
        stop.is_some_and(|stop| !matches!(stop, PlannedStop::Over))
    }

    /// Takes the next step of a stop. Returns the exit status once when it has ended.
    pub(super) fn proceed(&mut self, now: Instant) -> Option<ExitStatus> {
        if !self.is_stopping() {
            return None;
        }
        let is_running = self.running();
        match &self.stop {
            Some(PlannedStop::Asked(deadline)) if is_running => {
                if now >= *deadline {
                    let servers = self.pid().map(open_children).unwrap_or_default();
                    self.signal(Signal::KILL);
                    self.stop = Some(PlannedStop::Killed(servers));
                }
                return None;
            }
            Some(PlannedStop::Killed(servers)) if is_running || !servers.iter().all(has_exited) => {
                return None;
            }
            _ => self.stop = Some(PlannedStop::Over),
        }
        // It has exited, so this returns at once.
        self.child.take()?.wait().ok()
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

/// Whether the process of a descriptor has exited.
fn has_exited(process: &OwnedFd) -> bool {
    let now = Timespec::default();
    // If it cannot be known, the next check finds out.
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The processes that have exited by themselves since the last call, with their exit status.
pub(super) fn exited(processes: &mut [LabProcess]) -> Vec<(String, ExitStatus)> {
    processes
        .iter_mut()
        .filter(|process| process.stop.is_none())
        .filter_map(|process| {
            let status = process.child.as_mut()?.try_wait().ok()??;
            process.child = None;
            Some((process.name.clone(), status))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    /// A process of a shell script that has begun.
    fn process(script: &str) -> LabProcess {
        let script = format!("{script}\necho ready; while :; do sleep 0.01; done");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        let output = child.stdout.as_mut().unwrap();
        std::io::Read::read_exact(output, &mut ready).unwrap();
        LabProcess {
            name: "redis-a".into(),
            kind: ProcessKind::Node(NodeKind::Data),
            child: Some(child),
            stop: None,
        }
    }

    fn ended(process: &mut LabProcess, now: Instant) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = process.proceed(now) {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{process:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_stop_waits_for_the_end_and_says_it_once() {
        let mut process = process("trap 'exit 7' TERM");
        let now = Instant::now();
        assert_eq!(process.proceed(now), None);
        process.signal(Signal::TERM);
        process.stop = Some(PlannedStop::Asked(now + LIMIT));
        assert!(process.is_stopping());
        assert_eq!(ended(&mut process, now).code(), Some(7));
        assert!(!process.is_stopping() && process.stop.is_some());
        assert_eq!(process.proceed(now), None);
    }

    #[test]
    fn a_node_that_does_not_stop_is_killed_at_the_deadline() {
        let mut process = process("trap '' TERM");
        let now = Instant::now();
        process.signal(Signal::TERM);
        process.stop = Some(PlannedStop::Asked(now + LIMIT));
        assert_eq!(process.proceed(now), None);
        assert!(process.running());
        let status = ended(&mut process, now + LIMIT);
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    }
}
