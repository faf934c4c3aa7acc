//! The processes of a node on this machine, found by its state folder.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::FaultRefusal;

/// The processes of one node.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeProcesses {
    server: Pid,
    supervisor: Option<Pid>,
}

impl NodeProcesses {
    /// The processes of the node whose state is in a folder of `state`; none if no server runs.
    pub(super) fn find(state: &Path, name: &str) -> Option<Self> {
        let folder = fs::canonicalize(state.join(name)).ok()?;
        let all = fs::read_dir("/proc").ok()?;
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let server = pids
            .filter(|pid| works_in(*pid, &folder))
            .find_map(Pid::from_raw)?;
        Some(NodeProcesses {
            server,
            supervisor: parent(server).filter(|pid| comm(*pid).is_some_and(|c| c == "halab")),
        })
    }

    pub(super) fn server(self) -> Result<Pid, FaultRefusal> {
        Ok(self.server)
    }

    /// The supervisor, and the server.
    pub(super) fn both(self) -> Result<[Pid; 2], FaultRefusal> {
        match self.supervisor {
            Some(supervisor) => Ok([supervisor, self.server]),
            None => Err(FaultRefusal::Impossible(
                "the server has no supervisor: its node was killed; start it".into(),
            )),
        }
    }
}

/// Whether a process is a server that works in a folder of the node.
fn works_in(pid: i32, folder: &Path) -> bool {
    let Ok(at) = fs::read_link(format!("/proc/{pid}/cwd")) else {
        return false;
    };
    let is_server = || {
        let comm = Pid::from_raw(pid).and_then(comm);
        comm.is_some_and(|c| c.starts_with("redis-") || c.starts_with("valkey-"))
    };
    at.starts_with(folder) && is_server()
}

fn comm(pid: Pid) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
    Some(text.trim_end().to_owned())
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may contain anything; the parent is the second field after it.
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_whitespace().nth(1)?.parse().ok()?)
}

/// Sends a signal; to a process that has ended it has no effect.
pub(super) fn signal(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}

/// Stops processes for some seconds. A process of its own continues them, also if this one is
/// killed meanwhile.
pub(super) fn pause(pids: &[Pid], seconds: u64) -> io::Result<()> {
    let numbers: Vec<String> = pids
        .iter()
        .rev()
        .map(|pid| pid.as_raw_nonzero().to_string())
        .collect();
    let script = format!("sleep {seconds}; kill -CONT {}", numbers.join(" "));
    let mut healer = Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    for pid in pids {
        signal(*pid, Signal::STOP);
    }
    std::thread::spawn(move || healer.wait());
    Ok(())
}
