//! The server process of a node: which binary, which version, how it is started and ended.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::{SocketAddrV4, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fs, io};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::config::{Lab, Node, NodeKind};
use crate::protocol::format::Version;

use super::statement::Statement;

/// The oldest Redis that has all that the lab needs (`bind-source-addr`, `SENTINEL DEBUG`).
pub const OLDEST_MAJOR: u32 = 7;

/// How long a killed server may take to leave its address.
const LEAVING: Duration = Duration::from_secs(2);

/// How long the last words of a server that has ended are waited for.
const HEARING_LIMIT: Duration = Duration::from_millis(200);
/// Longest line of a log that is heard as one.
const LONGEST_LINE: u64 = 64 * 1024;

/// The names under which the server is looked for on PATH, in this order.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Why the server can't be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No binary.
    #[error(
        "no Redis server found ({0}): install one (./lab setup does), or name it by \
         --redis-server or HALAB_REDIS_SERVER"
    )]
    Missing(String),
    /// Too old, or no Redis at all.
    #[error("{path} is {found}, and at least Redis {OLDEST_MAJOR}.0 or Valkey is needed")]
    TooOld {
        /// The binary.
        path: PathBuf,
        /// What it said of itself.
        found: String,
    },
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

/// A server binary whose version is good enough.
#[derive(Debug, Clone)]
pub struct ServerBinary {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of its version, as `7.0.15`.
    pub version: String,
    /// `Redis` or `Valkey`.
    pub product: String,
    /// Which file that was.
    stamp: Option<Stamp>,
}

/// Tells a file from another one of the same name: device, number, time of the last change in
/// nanoseconds.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

impl ServerBinary {
    /// Every server on PATH that is another one by what it says of itself, Redis first; at least
    /// one.
    ///
    /// # Errors
    /// When there is none, or one is too old.
    pub fn installed() -> Result<Vec<Self>, ServerError> {
        let mut found: Vec<Self> = Vec::new();
        for name in NAMES.iter().map(Path::new) {
            if which::which(name).is_ok() {
                let server = Self::find(Some(name))?;
                // Valkey comes with a redis-server that is itself.
                if found.iter().all(|other| other.title() != server.title()) {
                    found.push(server);
                }
            }
        }
        if found.is_empty() {
            found.push(Self::find(None)?);
        }
        Ok(found)
    }

    /// Finds the binary: the one asked for, else the first on PATH. Checks its version.
    ///
    /// # Errors
    /// When there is none or it is too old.
    pub fn find(asked: Option<&Path>) -> Result<Self, ServerError> {
        let path = match asked {
            Some(path) if path.components().count() > 1 => path.to_owned(),
            Some(name) => which::which(name)
                .map_err(|_| ServerError::Missing(format!("no {} on PATH", name.display())))?,
            None => NAMES
                .iter()
                .find_map(|name| which::which(name).ok())
                .ok_or_else(|| {
                    ServerError::Missing(format!("neither {} nor {} on PATH", NAMES[0], NAMES[1]))
                })?,
        };
        let stamp = stamp(&path);
        let output = std::process::Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|e| ServerError::Missing(format!("{}: {e}", path.display())))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match parse_version(&said) {
            Some((major, version)) if major >= OLDEST_MAJOR => Ok(ServerBinary {
                path,
                version,
                product: said.split(' ').next().unwrap_or_default().to_owned(),
                stamp,
            }),
            _ => Err(ServerError::TooOld {
                path,
                found: format!("\"{said}\""),
            }),
        }
    }
}

impl ServerBinary {
    /// Looks whether the file is another one now, as after an upgrade, and asks it for its version
    /// then. Says whether it is of another version. One that can't be asked is left to whoever
    /// starts it.
    pub fn refresh(&mut self) -> bool {
        if stamp(&self.path) == self.stamp {
            return false;
        }
        let Ok(now) = Self::find(Some(&self.path)) else {
            return false;
        };
        let before = std::mem::replace(self, now);
        before.title() != self.title()
    }

    /// Whether it reads what the other one writes; what is not known is left to the servers.
    pub fn reads(&self, other: &ServerBinary) -> bool {
        let version = |binary: &ServerBinary| Version::parse(&binary.title());
        let (own, writer) = (version(self), version(other));
        own.zip(writer)
            .is_none_or(|(own, writer)| own.reads(writer))
    }

    /// Product and version, as `Redis 7.0.15`.
    pub fn title(&self) -> String {
        format!("{} {}", self.product, self.version)
    }
}

/// `Redis server v=7.0.15 sha=...` or `Valkey server v=8.0.1 ...`.
fn parse_version(said: &str) -> Option<(u32, String)> {
    let version = said
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="))?;
    Some((version.split('.').next()?.parse().ok()?, version.to_owned()))
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
fn hear(log: PipeReader, statement: Statement) -> io::Result<JoinHandle<()>> {
    make_roomy(&log);
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
fn make_roomy(log: &PipeReader) {
    // With the usual room it works too.
    let _ = rustix::pipe::fcntl_setpipe_size(log, 1 << 20);
}

#[cfg(not(target_os = "linux"))]
fn make_roomy(_: &PipeReader) {}

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
        let heard = hear(log, statement.clone()).map_err(failed)?;
        Ok(Server { child, pid, heard })
    }

    /// Waits until all that the server said before its end has been heard, for a moment at most: a
    /// child of its own may hold its output.
    pub(super) async fn all_heard(&self) {
        let deadline = Instant::now() + HEARING_LIMIT;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_redis_and_valkey_are_read() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1";
        assert_eq!(parse_version(redis), Some((7, "7.0.15".into())));
        assert_eq!(
            parse_version("Valkey server v=8.0.1 sha=0"),
            Some((8, "8.0.1".into()))
        );
        assert_eq!(parse_version("redis-cli 7.0.15"), None);
    }

    #[test]
    fn a_binary_that_is_not_there_is_named_with_its_remedy() {
        let error = ServerBinary::find(Some(Path::new("/nowhere/redis-server"))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/redis-server") && text.contains("HALAB_REDIS_SERVER"));
    }
}
