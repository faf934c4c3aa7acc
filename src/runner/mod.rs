//! Runs a whole lab as child processes: `halab up`, and the labs of tests and drills.
//!
//! Each node is a process `halab node NAME`, as in every other lane, with its output in a log file.
//! All child processes and their servers are killed when this process ends, for whatever reason.

mod control;
mod process;
mod stopping;
mod subnet;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::config::{Lab, NodeKind};

use process::{LabProcess, ProcessKind, exited};

pub use control::{ControlAnswer, ControlError, ControlSocket, NodeAction, NodeRequest, request};
pub use subnet::{ClaimError, ClaimedSubnet};

/// How long a node may take to exit after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two checks whether a process has exited.
const CHECK_PAUSE: Duration = Duration::from_millis(10);
/// The order in which processes are stopped.
const ORDER: [ProcessKind; 5] = [
    ProcessKind::Web,
    ProcessKind::Proxy,
    ProcessKind::Node(NodeKind::Sentinel),
    ProcessKind::Node(NodeKind::Data),
    ProcessKind::Monitor,
];
/// The name of the proxy's process, and of its log.
const PROXY: &str = "proxy";
/// The name of the page's process, and of its log.
const WEB: &str = "web";

/// A process that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}")]
pub struct RunnerError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn error_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunnerError {
    let path = path.to_owned();
    move |source| RunnerError { what, path, source }
}

/// How nodes are started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `halab` program.
    pub program: PathBuf,
    /// Options before `node NAME`: the lab, the state folder.
    pub arguments: Vec<String>,
    /// Folder with one log file per node. Logs are appended.
    pub logs: PathBuf,
}

/// How stock servers are started, without supervisors: the comparison in drills.
#[derive(Debug, Clone)]
pub struct StockLaunch {
    /// The `halab` program, which has the server killed when its parent process ends.
    pub program: PathBuf,
    /// The server program.
    pub server: PathBuf,
    /// Folder with one config file per node, `NAME.conf`.
    pub confs: PathBuf,
    /// Folder with one log file per node. Logs are appended.
    pub logs: PathBuf,
}

/// How the processes of a lab are started.
#[derive(Debug)]
enum Launcher {
    Nodes(Launch),
    Plain(StockLaunch),
}

/// The running nodes of a lab.
#[derive(Debug)]
pub struct Runner {
    launcher: Launcher,
    nodes: Vec<LabProcess>,
    /// The page, the proxy and the monitoring. No node depends on them.
    others: Vec<LabProcess>,
}

impl Launcher {
    fn program(&self) -> &Path {
        match self {
            Launcher::Nodes(launch) => &launch.program,
            Launcher::Plain(launch) => &launch.program,
        }
    }

    fn logs(&self) -> &Path {
        match self {
            Launcher::Nodes(launch) => &launch.logs,
            Launcher::Plain(launch) => &launch.logs,
        }
    }

    /// The command of a process.
    fn command(&self, name: &str, kind: ProcessKind) -> Command {
        let mut command = Command::new(self.program());
        command
            .arg("exec-child")
            .arg(std::process::id().to_string());
        match self {
            Launcher::Nodes(launch) => {
                command.arg(&launch.program).arg("--");
                command.args(&launch.arguments);
                match kind {
                    ProcessKind::Node(_) => command.args(["node", name]),
                    ProcessKind::Proxy => command.arg("proxy"),
                    ProcessKind::Web => command.arg("web"),
                    ProcessKind::Monitor => command.args(["monitor", name]),
                };
            }
            Launcher::Plain(launch) => {
                command.arg(&launch.server).arg("--");
                command.arg(launch.confs.join(format!("{name}.conf")));
                if kind == ProcessKind::Node(NodeKind::Sentinel) {
                    command.arg("--sentinel");
                }
            }
        }
        command
    }
}

impl Runner {
    /// Starts all nodes of `lab`. The Sentinels come first, because data nodes ask them for their
    /// role.
    ///
    /// # Errors
    /// If a process or its log cannot be created. Those already started are killed.
    pub fn start(lab: &Lab, launch: Launch) -> Result<Self, RunnerError> {
        Self::start_all(lab, Launcher::Nodes(launch))
    }

    /// Starts stock servers instead of nodes.
    ///
    /// # Errors
    /// As [`Runner::start`].
    pub fn start_stock(lab: &Lab, launch: StockLaunch) -> Result<Self, RunnerError> {
        Self::start_all(lab, Launcher::Plain(launch))
    }

    fn start_all(lab: &Lab, launcher: Launcher) -> Result<Self, RunnerError> {
        fs::create_dir_all(launcher.logs()).map_err(error_at("create", launcher.logs()))?;
        let nodes = lab
            .sentinels
            .iter()
            .chain(&lab.data_nodes)
            .map(|node| LabProcess {
                name: node.name.clone(),
                kind: ProcessKind::Node(node.kind),
                child: None,
                stop: None,
            })
            .collect();
        let mut runner = Runner {
            launcher,
            nodes,
            others: Vec::new(),
        };
        let names: Vec<String> = runner.nodes.iter().map(|n| n.name.clone()).collect();
        for name in names {
            runner.start_node(&name)?;
        }
        Ok(runner)
    }

    /// Starts a node, unless it is running.
    ///
    /// # Errors
    /// If the process or its log cannot be created.
    pub fn start_node(&mut self, name: &str) -> Result<(), RunnerError> {
        let Some(index) = self.nodes.iter().position(|n| n.name == name) else {
            return Ok(());
        };
        if self.nodes[index].running() {
            return Ok(());
        }
        let kind = self.nodes[index].kind;
        self.nodes[index].child = Some(self.spawn(name, kind, &[])?);
        self.nodes[index].stop = None;
        Ok(())
    }

    /// Adds a node without starting it.
    pub fn add_node(&mut self, name: &str, kind: NodeKind) {
        if self.nodes.iter().all(|n| n.name != name) {
            self.nodes.push(LabProcess {
                name: name.to_owned(),
                kind: ProcessKind::Node(kind),
                child: None,
                stop: None,
            });
        }
    }

    /// Sets the `lab.toml` of nodes that are started from now on.
    pub fn set_config(&mut self, config: &Path) {
        if let Launcher::Nodes(launch) = &mut self.launcher {
            let config = config.display().to_string();
            match launch.arguments.iter().position(|a| a == "--config") {
                Some(at) if at + 1 < launch.arguments.len() => launch.arguments[at + 1] = config,
                _ => launch.arguments.extend(["--config".to_owned(), config]),
            }
        }
    }

    /// The `lab.toml` of nodes that are started, if one is set.
    pub fn config(&self) -> Option<PathBuf> {
        let Launcher::Nodes(launch) = &self.launcher else {
            return None;
        };
        let at = launch.arguments.iter().position(|a| a == "--config")?;
        launch.arguments.get(at + 1).map(PathBuf::from)
    }

    /// Starts a service of the monitoring as `halab monitor NAME`.
    ///
    /// # Errors
    /// If the process or its log cannot be created.
    pub fn start_monitor(&mut self, name: &str) -> Result<(), RunnerError> {
        self.start_other(name, ProcessKind::Monitor, &[])
    }

    /// Starts the proxy as `halab proxy` with these options.
    ///
    /// # Errors
    /// If the process or its log cannot be created.
    pub fn start_proxy(&mut self, options: &[&str]) -> Result<(), RunnerError> {
        self.start_other(PROXY, ProcessKind::Proxy, options)
    }

    /// Starts the lab in a browser as `halab web` with these options.
    ///
    /// # Errors
    /// If the process or its log cannot be created.
    pub fn start_web(&mut self, options: &[&str]) -> Result<(), RunnerError> {
        self.start_other(WEB, ProcessKind::Web, options)
    }

    /// Whether a proxy is running.
    pub fn proxy_is_running(&mut self) -> bool {
        let mut others = self.others.iter_mut();
        others.any(|process| process.kind == ProcessKind::Proxy && process.running())
    }

    fn start_other(
        &mut self,
        name: &str,
        kind: ProcessKind,
        options: &[&str],
    ) -> Result<(), RunnerError> {
        let child = self.spawn(name, kind, options)?;
        self.others.push(LabProcess {
            name: name.to_owned(),
            kind,
            child: Some(child),
            stop: None,
        });
        Ok(())
    }

    /// Starts a child process, with more options, that is killed when this process ends.
    fn spawn(&self, name: &str, kind: ProcessKind, options: &[&str]) -> Result<Child, RunnerError> {
        let log = self.log_of(name);
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(error_at("open the log", &log))?;
        let err = out.try_clone().map_err(error_at("open the log", &log))?;
        self.launcher
            .command(name, kind)
            .args(options)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C on the terminal goes to this process only, which stops its children in order.
            .process_group(0)
            .spawn()
            .map_err(error_at("start", self.launcher.program()))
    }

    /// The log file of a process.
    pub fn log_of(&self, name: &str) -> PathBuf {
        self.launcher.logs().join(format!("{name}.log"))
    }

    /// The nodes that have exited by themselves since the last call, with their exit status.
    pub fn ended(&mut self) -> Vec<(String, ExitStatus)> {
        exited(&mut self.nodes)
    }

    /// Proxy and services of the monitoring that have exited since the last call, with their exit
    /// status.
    pub fn ended_others(&mut self) -> Vec<(String, ExitStatus)> {
        exited(&mut self.others)
    }

    /// The process id of a running node.
    pub fn pid_of(&self, name: &str) -> Option<u32> {
        self.nodes
            .iter()
            .find(|n| n.name == name)?
            .child
            .as_ref()
            .map(Child::id)
    }

    /// Sends a signal to a node, not to its server.
    pub fn signal_node(&mut self, name: &str, signal: Signal) {
        if let Some(node) = self.nodes.iter_mut().find(|n| n.name == name) {
            node.signal(signal);
        }
    }

    /// Kills a node and its server, and waits until both have exited.
    pub fn kill_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.iter_mut().find(|n| n.name == name) {
            node.kill();
        }
    }

    /// Stops a node with SIGTERM, or with SIGKILL if it does not exit in time.
    pub fn stop_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.iter_mut().find(|n| n.name == name) {
            node.signal(Signal::TERM);
            node.wait_until(Instant::now() + STOP_LIMIT);
        }
    }

    /// Stops all processes. The Sentinels stop before the data nodes, so that they cause no
    /// failover. Does not block the thread, so a second signal is still handled.
    pub async fn stop_async(&mut self) {
        for kind in ORDER {
            self.stop_group(kind).await;
        }
    }

    /// Stops what writes to the lab: the page, and the proxy, whose clients get the answers to what
    /// they have sent.
    pub async fn stop_writing(&mut self) {
        self.stop_group(ProcessKind::Web).await;
        self.stop_group(ProcessKind::Proxy).await;
    }

    async fn stop_group(&mut self, kind: ProcessKind) {
        let deadline = self.terminate_group(kind);
        while Instant::now() < deadline && self.group(kind).any(LabProcess::running) {
            tokio::time::sleep(CHECK_PAUSE).await;
        }
        self.kill_group(kind);
    }

    /// The same, blocking the thread.
    pub fn stop(&mut self) {
        for kind in ORDER {
            let deadline = self.terminate_group(kind);
            while Instant::now() < deadline && self.group(kind).any(LabProcess::running) {
                std::thread::sleep(CHECK_PAUSE);
            }
            self.kill_group(kind);
        }
    }

    fn group(&mut self, kind: ProcessKind) -> impl Iterator<Item = &mut LabProcess> {
        let all = self.nodes.iter_mut().chain(&mut self.others);
        all.filter(move |n| n.kind == kind)
    }

    /// Sends SIGTERM, except to those that are stopping already, for a second one would end them at
    /// once. Returns the time after which processes are killed.
    fn terminate_group(&mut self, kind: ProcessKind) -> Instant {
        for node in self.group(kind).filter(|node| !node.is_stopping()) {
            node.signal(Signal::TERM);
        }
        Instant::now() + STOP_LIMIT
    }

    /// Kills the processes that are still running.
    fn kill_group(&mut self, kind: ProcessKind) {
        for node in self.group(kind) {
            node.kill();
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // An orderly stop calls `stop` before. After a panic or an early return, no process must
        // remain.
        for node in self.nodes.iter_mut().chain(&mut self.others) {
            node.kill();
        }
    }
}
