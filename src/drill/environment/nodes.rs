//! The nodes of a lab: their processes or containers, and how each is killed, stopped and started.

use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};

use crate::access::User;
use crate::client::{ClientError, Connector, ServerInfo};
use crate::config::{Lab, Node};
use crate::drill::report::NodesKind;
use crate::protocol::format::Version;
use crate::runner::Runner;

use super::containers::Containers;
use super::error::EnvironmentError;
use super::held_process::{HeldProcess, parent_of};

/// Time that a node may take to end after SIGTERM: a handover takes up to 15 s.
const STOP_LIMIT: Duration = Duration::from_secs(25);
/// Time limit of a question to a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Interval at which a node that is to end is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The nodes of a lab.
#[derive(Debug)]
pub struct Nodes {
    lab: Lab,
    kind: NodesKind,
    backend: Backend,
    connector: Connector,
    /// Processes that were stopped by SIGSTOP.
    stopped: Vec<HeldProcess>,
    /// Nodes that do not run and are started again by the healing.
    down: Vec<String>,
}

/// How the nodes are controlled.
#[derive(Debug)]
pub(super) enum Backend {
    /// Child processes of the drill.
    Own(Box<Runner>),
    /// Containers of an engine.
    Containers(Containers),
    /// Processes of a lab that the drill did not start: only signals.
    Attached,
}

impl Nodes {
    pub(super) fn new(lab: &Lab, kind: NodesKind, backend: Backend) -> Self {
        Nodes {
            lab: lab.clone(),
            kind,
            backend,
            connector: Connector::new(lab, User::Operator).with_min_limit(ANSWER_LIMIT),
            stopped: Vec::new(),
            down: Vec::new(),
        }
    }

    /// Whether they are stock servers, which no `halab node` starts again.
    pub fn are_stock(&self) -> bool {
        self.kind == NodesKind::Stock
    }

    /// Whether they are processes of `halab node`.
    pub fn are_ours(&self) -> bool {
        self.kind == NodesKind::Ours
    }

    pub(super) fn runner(&mut self) -> Result<&mut Runner, EnvironmentError> {
        match &mut self.backend {
            Backend::Own(runner) => Ok(runner),
            Backend::Containers(_) | Backend::Attached => Err(EnvironmentError::NotOwn),
        }
    }

    pub(super) fn containers(&mut self) -> Option<&mut Containers> {
        match &mut self.backend {
            Backend::Containers(containers) => Some(containers),
            Backend::Own(_) | Backend::Attached => None,
        }
    }

    /// An error if a node that ends is not started again by the healing.
    fn check_can_start(&self) -> Result<(), EnvironmentError> {
        match self.backend {
            Backend::Own(_) | Backend::Containers(_) => Ok(()),
            Backend::Attached => Err(EnvironmentError::NotOwn),
        }
    }

    fn node(&self, name: &str) -> Result<&Node, EnvironmentError> {
        let node = self.lab.node(name);
        node.ok_or_else(|| EnvironmentError::no_node(name))
    }

    /// What `INFO replication` and `INFO server` of a node say.
    async fn info(&self, node: &Node) -> Result<ServerInfo, ClientError> {
        let mut conn = self.connector.open(node.socket()).await?;
        conn.info().await
    }

    /// The server of a data node, as `Redis 7.0.15`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn version_of(&self, name: &str) -> Result<String, EnvironmentError> {
        let info = self.info(self.node(name)?).await;
        let info = info.map_err(|error| EnvironmentError::server(name, error))?;
        match Version::parse(&info.version) {
            Some(version) => Ok(version.to_string()),
            None => {
                let why = format!("unknown version \"{}\"", info.version);
                Err(EnvironmentError::server(name, why))
            }
        }
    }

    /// The process of a node's server.
    pub(super) async fn server_pid(&self, name: &str) -> Result<Pid, EnvironmentError> {
        if let Backend::Containers(containers) = &self.backend {
            // The server knows only its number in its container.
            return Ok(containers.server_of(name)?);
        }
        let failed = |why: String| EnvironmentError::Process {
            node: name.to_owned(),
            why,
        };
        let info = self.info(self.node(name)?).await;
        let info = info.map_err(|error| failed(error.to_string()))?;
        let pid = i32::try_from(info.pid).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| failed("its server does not state it".into()))
    }

    /// The process that the drill started for a node, if any.
    pub(super) fn parent_pid(&self, name: &str) -> Option<Pid> {
        let Backend::Own(runner) = &self.backend else {
            return None;
        };
        let pid = runner.pid_of(name)?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    }

    /// The supervisor of a server, if that is a `halab node`.
    fn parent_of(&self, name: &str, server: Pid) -> Result<Option<Pid>, EnvironmentError> {
        if self.are_stock() {
            return Ok(None);
        }
        match parent_of(server) {
            Some(parent) => Ok(Some(parent)),
            None => Err(EnvironmentError::Process {
                node: name.to_owned(),
                why: format!("process {} has no parent", server.as_raw_nonzero()),
            }),
        }
    }

    /// Kills the server of a node, not its supervisor.
    ///
    /// # Errors
    /// When its process is not known.
    pub async fn kill_server(&mut self, name: &str) -> Result<(), EnvironmentError> {
        let server = self.server_pid(name).await?;
        if self.are_stock() {
            // No supervisor starts it again.
            self.down.push(name.to_owned());
        }
        // One that has ended meanwhile need not be killed.
        if let Ok(server) = HeldProcess::open(server) {
            signal(&server, Signal::KILL);
        }
        Ok(())
    }

    /// Stops the server of a node by SIGSTOP; `with_supervisor`: first its supervisor, which would
    /// kill a server that hangs.
    ///
    /// # Errors
    /// When its process is not known.
    pub async fn hang(
        &mut self,
        name: &str,
        with_supervisor: bool,
    ) -> Result<(), EnvironmentError> {
        if let (Backend::Containers(containers), true) = (&mut self.backend, with_supervisor) {
            return Ok(containers.pause(name)?);
        }
        let server = self.server_pid(name).await?;
        let parent = self.parent_of(name, server)?.filter(|_| with_supervisor);
        for pid in parent.into_iter().chain([server]) {
            let process = HeldProcess::open(pid).map_err(|error| EnvironmentError::Process {
                node: name.to_owned(),
                why: error.to_string(),
            })?;
            signal(&process, Signal::STOP);
            self.stopped.push(process);
        }
        Ok(())
    }

    /// Kills a node: the server and its supervisor.
    ///
    /// # Errors
    /// When the drill did not start it.
    pub fn kill(&mut self, name: &str) -> Result<(), EnvironmentError> {
        self.check_can_start()?;
        // Recorded before: a container may be killed although the answer was lost. Starting one
        // that runs has no effect.
        self.down.push(name.to_owned());
        match &self.backend {
            Backend::Containers(containers) => containers.kill(name)?,
            _ => self.runner()?.kill_node(name),
        }
        Ok(())
    }

    /// Stops nodes by SIGTERM, all at once, and waits until they have ended.
    ///
    /// # Errors
    /// When the drill did not start them.
    pub async fn terminate(&mut self, names: &[String]) -> Result<(), EnvironmentError> {
        self.check_can_start()?;
        for name in names {
            self.down.push(name.clone());
            match &self.backend {
                Backend::Containers(containers) => containers.terminate(name)?,
                _ => self.runner()?.signal_node(name, Signal::TERM),
            }
        }
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            let mut running = Vec::new();
            for name in names {
                if self.runs(name)? {
                    running.push(name);
                }
            }
            if running.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                for name in running {
                    match &self.backend {
                        Backend::Containers(containers) => containers.kill(name)?,
                        _ => self.runner()?.kill_node(name),
                    }
                }
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    fn runs(&mut self, name: &str) -> Result<bool, EnvironmentError> {
        if let Backend::Containers(containers) = &self.backend {
            return Ok(containers.runs(name)?);
        }
        let runner = self.runner()?;
        runner.ended();
        Ok(runner.pid_of(name).is_some())
    }

    /// Whether a node has ended by itself. If so, the healing starts it again.
    ///
    /// # Errors
    /// When the drill did not start it.
    pub fn has_ended(&mut self, name: &str) -> Result<bool, EnvironmentError> {
        let ended = !self.runs(name)?;
        if ended && !self.down.iter().any(|down| down == name) {
            self.down.push(name.to_owned());
        }
        Ok(ended)
    }

    /// Starts a node again.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&mut self, name: &str) -> Result<(), EnvironmentError> {
        if let Backend::Containers(containers) = &self.backend {
            containers.start(name)?;
        } else {
            let runner = self.runner()?;
            // A process that has ended counts as running until its status has been read.
            runner.ended();
            runner.start_node(name)?;
        }
        self.down.retain(|down| down != name);
        Ok(())
    }

    /// The healing does not start this node again.
    pub fn leave_stopped(&mut self, name: &str) {
        self.down.retain(|down| down != name);
    }

    /// Resumes stopped processes and paused containers, and starts the nodes that do not run. Goes
    /// on after an error, and returns the first.
    ///
    /// # Errors
    /// The first node that could not be healed.
    pub fn heal(&mut self) -> Result<(), EnvironmentError> {
        let mut first = match self.containers() {
            Some(containers) => containers.unpause().map_err(EnvironmentError::from),
            None => Ok(()),
        };
        self.resume();
        let mut down = self.down.clone();
        // Sentinels first: data nodes ask them for their role.
        let is_data = |name: &String| !self.lab.sentinels.iter().any(|node| node.name == *name);
        down.sort_by_key(is_data);
        for name in down {
            first = first.and(self.start(&name));
        }
        first
    }

    /// Resumes stopped processes, servers first: so each supervisor finds its server alive.
    fn resume(&mut self) {
        for process in self.stopped.drain(..).rev() {
            signal(&process, Signal::CONT);
        }
    }

    /// The changes that are not undone.
    pub(super) fn changes(&self) -> Vec<&'static str> {
        let mut changes = match &self.backend {
            Backend::Containers(containers) => containers.changes(),
            Backend::Own(_) | Backend::Attached => Vec::new(),
        };
        if !self.stopped.is_empty() {
            changes.push("stopped processes");
        }
        if !self.down.is_empty() {
            changes.push("nodes that do not run");
        }
        changes
    }

    /// Stops the nodes that the drill has started.
    pub(super) fn stop_all(&mut self) {
        if let Backend::Own(runner) = &mut self.backend {
            runner.stop();
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.resume();
    }
}

/// Sends a signal; to a process that has ended it has no effect.
fn signal(process: &HeldProcess, signal: Signal) {
    let _ = process.signal(signal);
}
