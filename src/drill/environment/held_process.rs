//! A process that stays the same one, whatever happens to its number.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, held by a file descriptor: once it has ended, signals to it fail, also if its number
/// is that of another process then.
#[derive(Debug)]
pub struct HeldProcess {
    pid: Pid,
    fd: OwnedFd,
}

impl HeldProcess {
    /// Holds the process of this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(pid: Pid) -> io::Result<Self> {
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(HeldProcess { pid, fd })
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.fd, signal)?)
    }
}

/// The parent of a process.
pub fn parent_of(pid: Pid) -> Option<Pid> {
    let parent = stat(pid)?.split_whitespace().nth(1)?.parse().ok()?;
    Pid::from_raw(parent)
}

/// Whether a process was stopped by SIGSTOP.
pub fn is_stopped(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields.starts_with('T'))
}

/// The fields of a process from its state on: state, parent, and others.
fn stat(pid: Pid) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may contain anything.
    Some(text.rsplit_once(')')?.1.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_stopped_continued_and_killed() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let held = HeldProcess::open(pid).unwrap();
        assert_eq!(held.pid(), pid);
        assert_eq!(parent_of(pid), Some(rustix::process::getpid()));
        held.signal(Signal::STOP).unwrap();
        while !is_stopped(pid) {
            std::thread::yield_now();
        }
        held.signal(Signal::CONT).unwrap();
        while is_stopped(pid) {
            std::thread::yield_now();
        }
        held.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        // Its number is free now.
        assert!(held.signal(Signal::CONT).is_err());
        assert!(HeldProcess::open(pid).is_err());
    }
}
