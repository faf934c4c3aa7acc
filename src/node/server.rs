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
use super::shared_report::SharedReport;

/// How long a killed server may take to release its address.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Period in which a missing address is looked for, and in which a missing one is logged.
const ADDRESS_PERIOD: Duration = Duration::from_millis(500);
const ADDRESS_WARNING_PERIOD: Duration = Duration::from_secs(60);
const ADDRESS_REMEDY: &str = "add the address to this machine (macOS: ifconfig lo0 alias), or change \
                              it in lab.toml";
/// How long the server may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for the last lines of a server that has ended.
const LOG_LIMIT: Duration = Duration::from_millis(200);
/// Longest log line that is read as one.
const LONGEST_LINE: u64 = 64 * 1024;

/// Why the server can't be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The node's address is in use, or this machine does not have it.
    #[error("cannot listen on {address} for {node}: {source}; {remedy}")]
    Address {
        /// The node's name.
        node: String,
        /// Its address.
        address: SocketAddrV4,
        /// The error of the operating system.
        source: io::Error,
        /// The remedy.
        remedy: &'static str,
    },
    /// The process can't be started.
    #[error("cannot start {path}: {source}")]
    Start {
        /// The binary.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Waits until this machine has the node's address. After a power cut the network may come up later
/// than the machine. A loopback address does not come by itself, so it is not waited for.
pub async fn await_address(lab: &Lab, node: &Node) {
    let address = lab.listens(node);
    let is_missing = || {
        let tried = TcpListener::bind((address, 0));
        tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    };
    let mut next_warning = Instant::now();
    while !address.is_loopback() && is_missing() {
        if Instant::now() >= next_warning {
            next_warning = Instant::now() + ADDRESS_WARNING_PERIOD;
            warn!(
                node = %node.name, %address, remedy = ADDRESS_REMEDY,
                "waiting for the address: this machine does not have it"
            );
        }
        sleep(ADDRESS_PERIOD).await;
    }
}

/// Checks that this machine has the node's address and that it is free, by listening on it briefly.
/// A server that was just killed may still hold the address, so an address in use is tried again
/// for a while.
///
/// # Errors
/// If the node can't listen there.
pub async fn check_address(lab: &Lab, node: &Node) -> Result<(), ServerError> {
    let address = SocketAddrV4::new(lab.listens(node), node.port);
    let deadline = Instant::now() + RELEASE_LIMIT;
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
            "another server uses it: stop that server, or change the address in lab.toml"
        }
        io::ErrorKind::AddrNotAvailable => ADDRESS_REMEDY,
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
pub struct ServerProcess {
    child: Child,
    pid: Option<Pid>,
    /// Forwards the log; ends with the server's output.
    log_thread: JoinHandle<()>,
}

/// Copies the server's output to this process's output, line by line, and passes each line to
/// `report`. It has a thread of its own: an output that blocks then blocks neither the node nor
/// the server.
fn forward_log(log: PipeReader, report: SharedReport) -> io::Result<JoinHandle<()>> {
    enlarge_pipe(&log);
    thread::Builder::new().name("log".into()).spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A longer line is read in parts.
            match (&mut log).take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            // First, so that the reason is known when the server's end is.
            report.hear(&String::from_utf8_lossy(&line));
            // If nobody reads the output, the server still goes on.
            let _ = io::stdout().write_all(&line);
            let _ = io::stdout().flush();
        }
    })
}

/// Makes the pipe as large as a process may without privilege. A node that is stopped (SIGSTOP)
/// does not read, and lines that do not fit into the pipe are lost; the default of 64 KiB is 600
/// lines.
#[cfg(target_os = "linux")]
fn enlarge_pipe(log: &PipeReader) {
    // The default size works too.
    let _ = rustix::pipe::fcntl_setpipe_size(log, 1 << 20);
}

#[cfg(not(target_os = "linux"))]
fn enlarge_pipe(_: &PipeReader) {}

impl ServerProcess {
    /// Starts the server with the config file `conf`.
    ///
    /// It has a process group of its own, so that Ctrl-C on the terminal reaches only its
    /// supervisor, which then stops it in order. It is killed when its supervisor ends, however
    /// that ends: no data node runs without one.
    ///
    /// # Errors
    /// When the process can't be started.
    pub(super) fn start(
        binary: &ServerBinary,
        conf: &Path,
        kind: NodeKind,
        report: &SharedReport,
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
        // If nobody reads, lines are lost and the server goes on.
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
        // It holds the writing end of the pipe, which only the server should have.
        drop(command);
        let log_thread = forward_log(log, report.clone()).map_err(failed)?;
        Ok(ServerProcess {
            child,
            pid,
            log_thread,
        })
    }

    /// Waits until the log of a server that has ended is read to its end, with a limit: a child
    /// process of the server may still hold its output.
    pub(super) async fn wait_for_log(&self) {
        let deadline = Instant::now() + LOG_LIMIT;
        while !self.log_thread.is_finished() && Instant::now() < deadline {
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
    /// If the system can't tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Its exit status, if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Stops it with SIGTERM, and with SIGKILL if it does not end in time.
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

    /// Sends a signal. It has no effect on a server that has ended.
    pub fn signal(&self, signal: Signal) {
        // `id` is none once the child has been waited for, so the number can't be another's yet.
        if let (Some(pid), Some(_)) = (self.pid, self.child.id()) {
            // The only failure left is that it ended between the two lines.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Asks the system to kill this process when its parent dies, then replaces it with the server.
///
/// Runs in the child (`halab exec-child`), because a process can ask for that only for itself.
/// Returns only on failure.
pub fn become_server(parent: u32, program: &Path, arguments: &[std::ffi::OsString]) -> io::Error {
    // The server rewrites its config file, which has passwords in it, with this umask.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    #[cfg(target_os = "linux")]
    {
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
            return error.into();
        }
        // If the parent died before the request, the signal would never be sent.
        let now = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
        if now != i32::try_from(parent).ok() {
            return io::Error::other("the parent process has ended");
        }
    }
    std::process::Command::new(program).args(arguments).exec()
}
