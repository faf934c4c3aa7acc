//! The processes of a node on this machine: its supervisor is `halab node NAME`, and its server, a
//! child of that, works in the node's state folder.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::drill::environment::{HeldProcess, is_stopped, parent_of};

/// The processes of one node.
#[derive(Debug)]
pub(super) struct NodeProcesses {
    server: HeldProcess,
    supervisor: HeldProcess,
}

impl NodeProcesses {
    /// The processes of the node whose state is in a folder of `state`; none if no server runs.
    pub(super) fn find(state: &Path, name: &str) -> Option<Self> {
        let folder = fs::canonicalize(state.join(name)).ok()?;
        let all = fs::read_dir("/proc").ok()?;
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let mut pids = pids.filter_map(Pid::from_raw);
        pids.find_map(|pid| Self::of_server(pid, &folder, name))
    }

    fn of_server(pid: Pid, folder: &Path, name: &str) -> Option<Self> {
        let supervisor = supervisor_of(pid, folder, name)?;
        let found = NodeProcesses {
            server: HeldProcess::open(pid).ok()?,
            supervisor: HeldProcess::open(supervisor).ok()?,
        };
        // Both may have ended, and their numbers been used again, before they were opened.
        (supervisor_of(pid, folder, name) == Some(supervisor)).then_some(found)
    }

    /// The number of the server's process.
    pub(super) fn server_pid(&self) -> i32 {
        self.server.pid().as_raw_nonzero().get()
    }

    /// Kills the server.
    pub(super) fn kill_server(&self) -> io::Result<()> {
        self.server.signal(Signal::KILL)
    }

    /// Kills both: the supervisor first, which would start a server again.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.supervisor.signal(Signal::KILL)?;
        // It ends with its supervisor, so it may have ended already.
        let _ = self.server.signal(Signal::KILL);
        Ok(())
    }

    /// Stops both for some seconds: the supervisor first, which would kill a server that hangs. A
    /// process of its own continues them, also if this one is killed meanwhile. It goes by their
    /// numbers: to another process that is not stopped, SIGCONT does nothing.
    pub(super) fn pause(&self, seconds: u64) -> io::Result<()> {
        let [server, supervisor] = [&self.server, &self.supervisor].map(HeldProcess::pid);
        let [server, supervisor] = [server, supervisor].map(|pid| pid.as_raw_nonzero());
        let script = format!("sleep {seconds}; kill -CONT {server} {supervisor}");
        let mut healer = Command::new("setsid")
            .args(["sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::spawn(move || healer.wait());
        self.supervisor.signal(Signal::STOP)?;
        self.server.signal(Signal::STOP)
    }

    /// Whether the server is stopped.
    pub(super) fn is_paused(&self) -> bool {
        is_stopped(self.server.pid())
    }
}

/// The supervisor of a process, if that is a server that works in the folder of the node. A child
/// of the server, as one that saves, has another parent.
fn supervisor_of(pid: Pid, folder: &Path, name: &str) -> Option<Pid> {
    let at = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).ok()?;
    if !at.starts_with(folder) {
        return None;
    }
    let parent = parent_of(pid)?;
    let command = fs::read(format!("/proc/{}/cmdline", parent.as_raw_nonzero())).ok()?;
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let is_node = |pair: &[&[u8]]| pair == [b"node".as_slice(), name.as_bytes()];
    words.windows(2).any(is_node).then_some(parent)
}
