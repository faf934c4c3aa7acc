//! Runs a whole lab as child processes: `halab up`, and the labs of tests and drills.
//!
//! Each node is `halab node NAME`, as in every other lane, with its output in a log file. The children
//! die with this process, whatever ends it, and their servers with them.

mod subnet;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::config::{Lab, NodeKind};

pub use subnet::{ClaimError, ClaimedSubnet};

/// How long a node may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two looks at a child that is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What is stopped after what; at the end, what is no node.
const ORDER: [Option<NodeKind>; 3] = [Some(NodeKind::Sentinel), Some(NodeKind::Data), None];

/// Why a node process could not be started.
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

/// How node processes are started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `halab` program.
    pub program: PathBuf,
    /// Flags before `node NAME`: which lab, which state folder.
    pub arguments: Vec<String>,
    /// Folder for one log file a node, appended to.
    pub logs: PathBuf,
}

/// How plain servers are started, without `halab node` around them: the comparison in drills.
#[derive(Debug, Clone)]
pub struct PlainLaunch {
    /// The `halab` program, through which a server dies with its parent.
    pub program: PathBuf,
    /// The server.
    pub server: PathBuf,
    /// Folder with one config file a node, `NAME.conf`.
    pub confs: PathBuf,
    /// Folder for one log file a node, appended to.
    pub logs: PathBuf,
}

/// How the processes of a lab are started.
#[derive(Debug)]
enum Way {
    Nodes(Launch),
    Plain(PlainLaunch),
}

/// The running nodes of a lab.
#[derive(Debug)]
pub struct Runner {
    way: Way,
    nodes: Vec<NodeProcess>,
    /// What watches the lab; nothing depends on it.
    monitors: Vec<NodeProcess>,
}

#[derive(Debug)]
struct NodeProcess {
    name: String,
    /// Nothing for what is no node.
    kind: Option<NodeKind>,
    child: Option<Child>,
}

impl Way {
    fn program(&self) -> &Path {
        match self {
            Way::Nodes(launch) => &launch.program,
            Way::Plain(launch) => &launch.program,
        }
    }

    fn logs(&self) -> &Path {
        match self {
            Way::Nodes(launch) => &launch.logs,
            Way::Plain(launch) => &launch.logs,
        }
    }

    /// The command of one node, or of a part of the monitoring.
    fn command(&self, name: &str, kind: Option<NodeKind>) -> Command {
        let mut command = Command::new(self.program());
        command
            .arg("exec-child")
            .arg(std::process::id().to_string());
        match self {
            Way::Nodes(launch) => {
                command.arg(&launch.program).arg("--");
                let word = if kind.is_some() { "node" } else { "monitor" };
                command.args(&launch.arguments).args([word, name]);
            }
            Way::Plain(launch) => {
                command.arg(&launch.server).arg("--");
                command.arg(launch.confs.join(format!("{name}.conf")));
                if kind == Some(NodeKind::Sentinel) {
                    command.arg("--sentinel");
                }
            }
        }
        command
    }
}

impl Runner {
    /// Starts all nodes of `lab`, the Sentinels first: data nodes ask them for their role.
    ///
    /// # Errors
    /// When a process or its log can't be made; those that run are ended again.
    pub fn start(lab: &Lab, launch: Launch) -> Result<Self, RunnerError> {
        Self::start_all(lab, Way::Nodes(launch))
    }

    /// The same with plain servers.
    ///
    /// # Errors
    /// As [`Runner::start`].
    pub fn start_plain(lab: &Lab, launch: PlainLaunch) -> Result<Self, RunnerError> {
        Self::start_all(lab, Way::Plain(launch))
    }

    fn start_all(lab: &Lab, way: Way) -> Result<Self, RunnerError> {
        fs::create_dir_all(way.logs()).map_err(error_at("make", way.logs()))?;
        let nodes = lab
            .sentinels
            .iter()
            .chain(&lab.data_nodes)
            .map(|node| NodeProcess {
                name: node.name.clone(),
                kind: Some(node.kind),
                child: None,
            })
            .collect();
        let mut runner = Runner {
            way,
            nodes,
            monitors: Vec::new(),
        };
        let names: Vec<String> = runner.nodes.iter().map(|n| n.name.clone()).collect();
        for name in names {
            runner.start_node(&name)?;
        }
        Ok(runner)
    }

    /// Starts one node, again or for the first time; nothing happens when it runs.
    ///
    /// # Errors
    /// When the process or its log can't be made.
    pub fn start_node(&mut self, name: &str) -> Result<(), RunnerError> {
        let Some(place) = self.nodes.iter().position(|n| n.name == name) else {
            return Ok(());
        };
        if self.nodes[place].running() {
            return Ok(());
        }
        let kind = self.nodes[place].kind;
        self.nodes[place].child = Some(self.spawn(name, kind)?);
        Ok(())
    }

    /// Knows one more node from now on, which does not run yet.
    pub fn take_in(&mut self, name: &str, kind: NodeKind) {
        if self.nodes.iter().all(|n| n.name != name) {
            self.nodes.push(NodeProcess {
                name: name.to_owned(),
                kind: Some(kind),
                child: None,
            });
        }
    }

    /// Every node that is started from now on is told of that `lab.toml`.
    pub fn restate(&mut self, config: &Path) {
        if let Way::Nodes(launch) = &mut self.way {
            let config = config.display().to_string();
            match launch.arguments.iter().position(|a| a == "--config") {
                Some(at) if at + 1 < launch.arguments.len() => launch.arguments[at + 1] = config,
                _ => launch.arguments.extend(["--config".to_owned(), config]),
            }
        }
    }

    /// The `lab.toml` that nodes are told of, where they are.
    pub fn stated(&self) -> Option<PathBuf> {
        let Way::Nodes(launch) = &self.way else {
            return None;
        };
        let at = launch.arguments.iter().position(|a| a == "--config")?;
        launch.arguments.get(at + 1).map(PathBuf::from)
    }

    /// Starts a part of the monitoring, as `halab monitor NAME`.
    ///
    /// # Errors
    /// When the process or its log can't be made.
    pub fn start_monitor(&mut self, name: &str) -> Result<(), RunnerError> {
        let child = self.spawn(name, None)?;
        self.monitors.push(NodeProcess {
            name: name.to_owned(),
            kind: None,
            child: Some(child),
        });
        Ok(())
    }

    /// Starts a node, or what watches the lab, as a child that dies with this process.
    fn spawn(&self, name: &str, kind: Option<NodeKind>) -> Result<Child, RunnerError> {
        let log = self.log_of(name);
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(error_at("open the log", &log))?;
        let err = out.try_clone().map_err(error_at("open the log", &log))?;
        self.way
            .command(name, kind)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C on the terminal is for this process, which ends its children in order.
            .process_group(0)
            .spawn()
            .map_err(error_at("start", self.way.program()))
    }

    /// Where the node's output goes.
    pub fn log_of(&self, name: &str) -> PathBuf {
        self.way.logs().join(format!("{name}.log"))
    }

    /// The nodes whose process has ended by itself, with their status.
    pub fn ended(&mut self) -> Vec<(String, ExitStatus)> {
        ended(&mut self.nodes)
    }

    /// The parts of the monitoring whose process has ended by itself, with their status.
    pub fn ended_monitors(&mut self) -> Vec<(String, ExitStatus)> {
        ended(&mut self.monitors)
    }

    /// Whether any node's process still runs.
    pub fn any_running(&mut self) -> bool {
        self.nodes.iter_mut().any(NodeProcess::running)
    }

    /// The process id of a node that runs.
    pub fn pid_of(&self, name: &str) -> Option<u32> {
        self.nodes
            .iter()
            .find(|n| n.name == name)?
            .child
            .as_ref()
            .map(Child::id)
    }

    /// Sends a signal to the process of a node (not to its server).
    pub fn signal_node(&mut self, name: &str, signal: Signal) {
        if let Some(node) = self.nodes.iter_mut().find(|n| n.name == name) {
            node.signal(signal);
        }
    }

    /// Kills a node, server included, and waits until its process is gone.
    pub fn kill_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.iter_mut().find(|n| n.name == name) {
            node.signal(Signal::KILL);
            node.reap();
        }
    }

    /// Stops one node in order: SIGTERM, and SIGKILL when it does not end in time.
    pub fn stop_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.iter_mut().find(|n| n.name == name) {
            node.signal(Signal::TERM);
            node.end_by(Instant::now() + STOP_LIMIT);
        }
    }

    /// Stops all nodes in order. The Sentinels go first: no failover is wanted any more. Leaves the thread to others while
    /// it waits, so that whoever is in a hurry can still be heard.
    pub async fn stop_async(&mut self) {
        for kind in ORDER {
            let deadline = self.ask_to_end(kind);
            while Instant::now() < deadline && self.group(kind).any(NodeProcess::running) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            self.end_group(kind);
        }
    }

    /// The same, and blocks the thread: for where nothing can be awaited.
    pub fn stop(&mut self) {
        for kind in ORDER {
            let deadline = self.ask_to_end(kind);
            while Instant::now() < deadline && self.group(kind).any(NodeProcess::running) {
                std::thread::sleep(LOOK_AGAIN);
            }
            self.end_group(kind);
        }
    }

    fn group(&mut self, kind: Option<NodeKind>) -> impl Iterator<Item = &mut NodeProcess> {
        let all = self.nodes.iter_mut().chain(&mut self.monitors);
        all.filter(move |n| n.kind == kind)
    }

    /// Returns when those that still run are to be killed.
    fn ask_to_end(&mut self, kind: Option<NodeKind>) -> Instant {
        for node in self.group(kind) {
            node.signal(Signal::TERM);
        }
        Instant::now() + STOP_LIMIT
    }

    /// Kills what still runs.
    fn end_group(&mut self, kind: Option<NodeKind>) {
        for node in self.group(kind) {
            node.signal(Signal::KILL);
            node.reap();
        }
    }
}

fn ended(processes: &mut [NodeProcess]) -> Vec<(String, ExitStatus)> {
    processes
        .iter_mut()
        .filter_map(|process| {
            let status = process.child.as_mut()?.try_wait().ok()??;
            process.child = None;
            Some((process.name.clone(), status))
        })
        .collect()
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Whoever wanted an orderly end has called `stop`; a panic or an early return wants none left.
        for node in self.nodes.iter_mut().chain(&mut self.monitors) {
            node.signal(Signal::KILL);
            node.reap();
        }
    }
}

impl NodeProcess {
    fn running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn signal(&mut self, signal: Signal) {
        // Only while it is not waited for: then the number can't have become another's.
        if self.running()
            && let Some(pid) = self
                .child
                .as_ref()
                .and_then(|c| i32::try_from(c.id()).ok())
                .and_then(Pid::from_raw)
        {
            // The only failure left is that it ended between the two lines.
            let _ = kill_process(pid, signal);
        }
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Killed before: it ends at once.
            let _ = child.wait();
        }
    }

    fn end_by(&mut self, deadline: Instant) {
        while self.running() {
            if Instant::now() >= deadline {
                self.signal(Signal::KILL);
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.reap();
    }
}
