//! The server process of a node: how it is started and ended, and how its log is read.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::{SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, io};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::config::{Lab, Node, NodeKind};

use super::binary::ServerBinary;
use super::statement::Statement;

/// How long a killed server may take to leave its address.
const LEAVING: Duration = Duration::from_secs(2);

/// How long the server may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long the last words of a server that has ended are waited for.
const LOG_LIMIT: Duration = Duration::from_millis(200);
/// Longest line of a log that is heard as one.
const LONGEST_LINE: u64 = 64 * 1024;

/// Why the server can't be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The node's address is taken, or is not of this machine.
    #[error("cannot listen on {address} for {node}: {source}; {remedy}")]
    Address {
        /// The node's name.
        node: String,
        /// Its address.
        address: SocketAddrV4,
        /// What the system said.
        source: io::Error,
        /// What helps.
        remedy: &'static str,
    },
    /// The process can't be started.
    #[error("cannot start {path}: {source}")]
    Start {
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes sure that the node's address is of this machine and free, by listening on it for a moment.
/// The server of a node that was killed a moment ago may still be on its way out, so a taken
/// address is looked at again for a while.
///
/// # Errors
/// When it is not.
pub async fn check_address(lab: &Lab, node: &Node) -> Result<(), ServerError> {
    let address = SocketAddrV4::new(lab.listens(node), node.port);
    let deadline = Instant::now() + LEAVING;
    loop {
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(source)
                if source.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(20)).await;
            }
            Err(source) => return Err(address_error(node, address, source)),
        }
    }
}

fn address_error(node: &Node, address: SocketAddrV4, source: io::Error) -> ServerError {
    let remedy = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another server is there: stop it, or change the address in lab.toml"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have the address: add it (macOS: ifconfig lo0 alias), or change it \
             in lab.toml"
        }
        io::ErrorKind::PermissionDenied => "take a port of 1024 or higher in lab.toml",
        _ => "change the address in lab.toml",
    };
    ServerError::Address {
        node: node.name.clone(),
        address,
        source,
        remedy,
    }
}

/// A running server, child of this process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pid: Option<Pid>,
    /// Ends with the server's output.
    heard: JoinHandle<()>,
}

/// Passes the server's output on to the own one, line by line, and hears what it says. On a thread
/// of its own: an output that takes nothing holds up this thread, and neither the node nor the
/// server.
fn forward_log(log: PipeReader, statement: Statement) -> io::Result<JoinHandle<()>> {
    enlarge_pipe(&log);
    thread::Builder::new().name("log".into()).spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line without an end is cut, and heard in parts.
            match (&mut log).take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            // First, so that it is known when the server's end is.
            statement.hear(&String::from_utf8_lossy(&line));
            // Nobody reads it: the server goes on all the same.
            let _ = io::stdout().write_all(&line);
            let _ = io::stdout().flush();
        }
    })
}

/// A node that is stopped (SIGSTOP) does not read, and what does not fit into the pipe is lost. 64
/// KiB are 600 lines; a mebibyte is what a process may have without privilege.
#[cfg(target_os = "linux")]
fn enlarge_pipe(log: &PipeReader) {
    // With the usual room it works too.
    let _ = rustix::pipe::fcntl_setpipe_size(log, 1 << 20);
}

#[cfg(not(target_os = "linux"))]
fn enlarge_pipe(_: &PipeReader) {}

impl Server {
    /// Starts the server with the config file `conf`.
    ///
    /// It runs in a process group of its own, so that Ctrl-C on the terminal reaches only its
    /// parent, which then ends it in order; and it dies with its parent, whatever kills that:
    /// no data node runs unattended.
    ///
    /// # Errors
    /// When the process can't be started.
    pub(super) fn start(
        binary: &ServerBinary,
        conf: &Path,
        kind: NodeKind,
        statement: &Statement,
    ) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Start {
            path: binary.path.clone(),
            source,
        };
        let this = env::current_exe().map_err(failed)?;
        let mut command = Command::new(this);
        command
            .arg("exec-child")
            .arg(std::process::id().to_string())
            .arg(&binary.path)
            .arg("--")
            .arg(conf);
        if kind == NodeKind::Sentinel {
            command.arg("--sentinel");
        }
        let (log, to) = io::pipe().map_err(failed)?;
        // Should nobody read, lines are lost, and the server goes on.
        rustix::fs::fcntl_setfl(&to, rustix::fs::OFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(to.try_clone().map_err(failed)?)
            .stderr(to)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        // It holds the other end of the pipe, which the server alone is to have.
        drop(command);
        let heard = forward_log(log, statement.clone()).map_err(failed)?;
        Ok(Server { child, pid, heard })
    }

    /// Waits until all that the server said before its end has been heard, for a moment at most: a
    /// child of its own may hold its output.
    pub(super) async fn wait_for_log(&self) {
        let deadline = Instant::now() + LOG_LIMIT;
        while !self.heard.is_finished() && Instant::now() < deadline {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// The process id; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When the system can't tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Its status, if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it in order: SIGTERM, and SIGKILL when it does not end in time.
    pub async fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        match timeout(STOP_LIMIT, self.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                warn!("the server did not end within {STOP_LIMIT:?}; killing it");
                self.signal(Signal::KILL);
                self.wait().await.ok()
            }
        }
    }

    /// Sends a signal; one to a server that has ended is lost.
    pub fn signal(&self, signal: Signal) {
        // `id` is none once the child has been waited for, so the number can't be another's yet.
        if let (Some(pid), Some(_)) = (self.pid, self.child.id()) {
            // The only failure left is that it ended between the two lines.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Becomes the server: asks to be killed when the parent dies, then replaces this process.
///
/// Runs in the child (`halab exec-child`), because a process can ask for that only for itself.
/// Returns only when it failed.
pub fn become_server(parent: u32, program: &Path, arguments: &[std::ffi::OsString]) -> io::Error {
    // A server rewrites its file, which has passwords in it, with the mode that this leaves.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    #[cfg(target_os = "linux")]
    {
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
            return error.into();
        }
        // The parent may have died before the request: then nobody would ever send the signal.
        let now = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
        if now != i32::try_from(parent).ok() {
            return io::Error::other("the parent process has ended");
        }
    }
    std::process::Command::new(program).args(arguments).exec()
}
