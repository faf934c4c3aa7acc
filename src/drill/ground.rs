//! The lab that a drill works on: its processes and its links, and the way back from all that was done to them.
//!
//! Whatever is stopped, killed or cut is noted before it is done, so that [`Ground::heal`] undoes it; what would
//! outlive this process (a stopped process of a lab that it did not start) is undone also when it panics.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::access::User;
use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node, Security};
use crate::node::ServerBinary;
use crate::protocol::format::Version;
use crate::runner::{ClaimError, ClaimedSubnet, Launch, PlainLaunch, Runner, RunnerError};

use super::clock;
use super::containers::Containers;
use super::cpu::{self, Little};
use super::delay::Delay;
use super::disk::Disk;
use super::engine::EngineError;
use super::fault::Needs;
use super::limits;
use super::network::{Firewall, NetworkError, OUTRUN_BYTES};
use super::report::NodesKind;
use super::slow::{Held, Slow};
use super::stock;
use super::wrapped::wrap;

/// The address that the writer's connections come from: the one that the system takes for the loopback when
/// a program asks for none.
pub const WRITER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How long a node may take to end after SIGTERM: a handover takes up to 15 s.
const STOP_LIMIT: Duration = Duration::from_secs(25);
/// Folder of the ledger, where that has a file system of its own.
const LEDGER: &str = "ledger";
/// Limit of a question to a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Pause between two looks at a node that is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why something could not be done to the lab.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// No loopback network for it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A node could not be started.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// A node did not say which process it is.
    #[error("cannot tell the process of {node}: {why}")]
    Process {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// A server could not be asked, or did not do what it was told.
    #[error("{node}: {why}")]
    Server {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// A link could not be cut or healed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A container could not be had, or nothing be done to it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be written or removed.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The machine does not permit it.
    #[error("not possible on this machine: {0}")]
    Unavailable(String),
    /// The lab was started by somebody else.
    #[error("the drill did not start this lab, so it cannot start its nodes again")]
    NotOwn,
}

/// How the lab is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The lab, not yet moved into a network of its own.
    pub lab: Lab,
    /// The `halab` program.
    pub program: PathBuf,
    /// Flags that describe the lab to `halab node`: config, profile.
    pub arguments: Vec<String>,
    /// The server.
    pub server: PathBuf,
    /// Who runs the servers.
    pub nodes: NodesKind,
    /// Folder for state and logs, made here.
    pub folder: PathBuf,
    /// What the lab has of its own: file systems under every node and the ledger, clocks, limits.
    pub needs: Needs,
    /// Plain servers keep an append-only file.
    pub append_only: bool,
    /// The server that takes the place of the other one, where the fault is about that.
    pub other: Option<ServerBinary>,
}

/// A running lab.
#[derive(Debug)]
pub struct Ground {
    /// The lab, with the addresses that it has.
    pub lab: Lab,
    nodes: NodesKind,
    /// The program of the servers; none where the drill has not started them.
    server: Option<PathBuf>,
    /// The server that can take its place.
    other: Option<ServerBinary>,
    runner: Option<Runner>,
    containers: Option<Containers>,
    folder: PathBuf,
    /// The text of the first `lab.toml`, once there is another.
    first_config: Option<String>,
    connector: Connector,
    firewall: Option<Firewall>,
    /// Processes that were stopped.
    stopped: Vec<Pid>,
    /// Nodes that do not run and have to.
    down: Vec<String>,
    /// After the nodes, which have files open there.
    disks: Vec<Disk>,
    /// State folders of nodes whose clock was stepped.
    stepped: Vec<PathBuf>,
    /// Servers whose disk is slow.
    slowed: Vec<Slow>,
    /// Of the network, from the start.
    _delay: Option<Delay>,
    /// Nodes that have little of a processor, from the start.
    _little: Vec<Little>,
    _subnet: Option<ClaimedSubnet>,
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> GroundError {
    let path = path.to_owned();
    move |source| GroundError::File { path, source }
}

impl Ground {
    /// Starts a lab of its own. To be called on the main thread: the nodes die with the thread that starts them.
    ///
    /// # Errors
    /// When a node can't be started.
    pub fn start(start: Start) -> Result<Self, GroundError> {
        let subnet = ClaimedSubnet::claim()?;
        let mut lab = start.lab.relocated(subnet.octets());
        let state = start.folder.join("state");
        lab.security = match start.nodes {
            NodesKind::Ours | NodesKind::Containers => lab.security.for_state(&state),
            // As they come: anyone may do anything.
            NodesKind::Stock => Security::off(),
        };
        let logs = start.folder.join("log");
        fs::create_dir_all(&state).map_err(file_error(&state))?;
        let ledger = start.folder.join(LEDGER);
        let mut disks = Vec::new();
        if start.needs == Needs::OwnDisks {
            for path in lab
                .nodes()
                .map(|node| state.join(&node.name))
                .chain([ledger])
            {
                disks.push(Disk::under(&path)?);
            }
        }
        let lines = match start.needs {
            Needs::OwnClocks => {
                let library = clock::library().map_err(GroundError::Unavailable)?;
                Some(clock::lines(&library))
            }
            Needs::OwnLimits => Some(limits::lines()),
            _ => None,
        };
        let server = match lines {
            Some(lines) => {
                wrap(&start.server, &lines, &start.folder).map_err(file_error(&start.folder))?
            }
            None if start.needs == Needs::OtherServer => link_server(&start.folder, &start.server)?,
            None => start.server.clone(),
        };
        let firewall = if super::network::is_own() {
            Some(Firewall::new()?)
        } else {
            None
        };
        let delay = match start.needs {
            Needs::RoundTrips(ms) => {
                let nodes = lab.nodes().map(|node| node.address);
                let all: Vec<Ipv4Addr> = nodes.chain([WRITER]).collect();
                Some(Delay::begin(Duration::from_millis(ms.into()) / 2, &all)?)
            }
            _ => None,
        };
        let runner = match start.nodes {
            NodesKind::Ours | NodesKind::Containers => {
                let mut arguments = start.arguments;
                for (flag, value) in [
                    ("--state", state.display().to_string()),
                    ("--subnet", subnet.to_string()),
                    ("--redis-server", server.display().to_string()),
                ] {
                    arguments.extend([flag.to_owned(), value]);
                }
                let program = match start.needs {
                    Needs::LittleCpu => wrap(&start.program, cpu::LINES, &start.folder)
                        .map_err(file_error(&start.folder))?,
                    _ => start.program,
                };
                let launch = Launch {
                    program,
                    arguments,
                    logs,
                };
                Runner::start(&lab, launch)?
            }
            NodesKind::Stock => {
                for node in lab.nodes() {
                    let dir = state.join(&node.name);
                    fs::create_dir_all(&dir).map_err(file_error(&dir))?;
                    let conf = state.join(format!("{}.conf", node.name));
                    fs::write(&conf, stock::conf(&lab, node, &dir, start.append_only))
                        .map_err(file_error(&conf))?;
                }
                let launch = PlainLaunch {
                    program: start.program,
                    server,
                    confs: state.clone(),
                    logs,
                };
                Runner::start_plain(&lab, launch)?
            }
        };
        let mut little = Vec::new();
        if start.needs == Needs::LittleCpu {
            for node in lab.nodes() {
                let parent = runner.pid_of(&node.name).unwrap_or_default();
                little.push(Little::begin(parent).map_err(GroundError::Unavailable)?);
            }
        }
        Ok(Ground {
            connector: Connector::new(&lab, User::Operator).patient(ANSWER_LIMIT),
            lab,
            nodes: start.nodes,
            server: Some(start.server),
            other: start.other,
            runner: Some(runner),
            containers: None,
            folder: start.folder,
            first_config: None,
            firewall,
            stopped: Vec::new(),
            down: Vec::new(),
            disks,
            stepped: Vec::new(),
            slowed: Vec::new(),
            _delay: delay,
            _little: little,
            _subnet: Some(subnet),
        })
    }

    /// A lab that runs already, as processes or as containers. `folder` is for what the drill keeps.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn attach(
        lab: Lab,
        folder: PathBuf,
        containers: Option<Containers>,
    ) -> Result<Self, GroundError> {
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        Ok(Ground {
            connector: Connector::new(&lab, User::Operator).patient(ANSWER_LIMIT),
            lab,
            nodes: match containers {
                Some(_) => NodesKind::Containers,
                None => NodesKind::Ours,
            },
            server: None,
            other: None,
            runner: None,
            containers,
            folder,
            first_config: None,
            firewall: None,
            stopped: Vec::new(),
            down: Vec::new(),
            disks: Vec::new(),
            stepped: Vec::new(),
            slowed: Vec::new(),
            _delay: None,
            _little: Vec::new(),
            _subnet: None,
        })
    }

    /// Puts the other server in the place of the one that every node is started with; what runs goes on as it is. Says which.
    ///
    /// # Errors
    /// When there is no other.
    pub fn replace_server(&mut self) -> Result<String, GroundError> {
        let none = || GroundError::Unavailable("there is no second server".into());
        let other = self.other.as_ref().ok_or_else(none)?;
        link_server(&self.folder, &other.path)?;
        self.server = Some(other.path.clone());
        Ok(other.title())
    }

    /// Which server a data node runs, as `Redis 7.0.15`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn version_of(&self, name: &str) -> Result<String, GroundError> {
        let failed = |why: String| GroundError::Server {
            node: name.to_owned(),
            why,
        };
        let socket = self.node(name)?.socket();
        let ask = async { self.connector.open(socket).await?.replication().await };
        let info = ask.await.map_err(|e: ClientError| failed(e.to_string()))?;
        let version = Version::parse(&info.version);
        version
            .map(|v| v.to_string())
            .ok_or_else(|| failed(format!("it says that it is {}", info.version)))
    }

    /// Who runs the servers.
    pub fn nodes(&self) -> NodesKind {
        self.nodes
    }

    /// The program of the servers, where those are plain ones.
    pub fn plain_server(&self) -> Option<&Path> {
        let server = self.server.as_deref();
        server.filter(|_| self.nodes == NodesKind::Stock)
    }

    /// The name of the node with that address; the address when there is none.
    pub fn name_of(&self, ip: &str) -> String {
        let mut nodes = self.lab.nodes();
        nodes
            .find(|node| node.address.to_string() == ip)
            .map_or_else(|| ip.to_owned(), |node| node.name.clone())
    }

    /// The folder of this run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the writer's ledger is.
    pub fn ledger(&self) -> PathBuf {
        let folder = self.folder.join(LEDGER);
        let own = self.disks.iter().any(|disk| disk.is_under(&folder));
        let folder = if own { folder } else { self.folder.clone() };
        folder.join("writer.ledger")
    }

    /// The file system under the ledger.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn disk_of_ledger(&mut self) -> Result<&mut Disk, GroundError> {
        self.disk(&self.folder.join(LEDGER))
    }

    /// The file system under the state folder of a node.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn disk_of(&mut self, name: &str) -> Result<&mut Disk, GroundError> {
        self.disk(&self.folder.join("state").join(name))
    }

    fn disk(&mut self, path: &Path) -> Result<&mut Disk, GroundError> {
        let mut disks = self.disks.iter_mut();
        let found = disks.find(|disk| disk.is_under(path));
        found.ok_or_else(|| {
            GroundError::Unavailable("the lab has no file systems of its own".into())
        })
    }

    /// Steps the clock of a node's server, to so much beside the time of the machine.
    ///
    /// # Errors
    /// When that can't be written down for it.
    pub fn step_clock(&mut self, name: &str, by: &str) -> Result<(), GroundError> {
        let state = self.folder.join("state").join(name);
        clock::step(&state, by).map_err(file_error(&state))?;
        self.stepped.push(state);
        Ok(())
    }

    /// Makes the disk slow that the server of a node writes its append-only file to.
    ///
    /// # Errors
    /// When its process can't be told, or may not be traced.
    pub async fn slow_disk(&mut self, name: &str, held: Held) -> Result<(), GroundError> {
        let server = self.server_of(name).await?;
        // Its node syncs the file, where it has one.
        let node = match (held, &self.runner) {
            (Held::Syncs, Some(runner)) => {
                runner.pid_of(name).and_then(|pid| i32::try_from(pid).ok())
            }
            _ => None,
        };
        for of in std::iter::once(server).chain(node.and_then(Pid::from_raw)) {
            let slow = Slow::begin(of, server, held).await;
            self.slowed.push(slow.map_err(GroundError::Unavailable)?);
        }
        Ok(())
    }

    /// What a node has said so far.
    pub fn log_of(&self, name: &str) -> String {
        let path = self.folder.join("log").join(format!("{name}.log"));
        // Not there before its first word.
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Takes a node for one that has to be started again, because it ended by itself.
    ///
    /// # Errors
    /// When the drill has not started it.
    pub fn has_ended(&mut self, name: &str) -> Result<bool, GroundError> {
        let ended = !self.node_runs(name)?;
        if ended && !self.down.iter().any(|down| down == name) {
            self.down.push(name.to_owned());
        }
        Ok(ended)
    }

    fn node(&self, name: &str) -> Result<&Node, GroundError> {
        self.lab.node(name).ok_or_else(|| GroundError::Process {
            node: name.to_owned(),
            why: "there is no such node".into(),
        })
    }

    fn runner(&mut self) -> Result<&mut Runner, GroundError> {
        self.runner.as_mut().ok_or(GroundError::NotOwn)
    }

    /// The process of the node's server, as the server itself says.
    async fn server_of(&self, name: &str) -> Result<Pid, GroundError> {
        if let Some(containers) = &self.containers {
            // It knows only its number in its container.
            return Ok(containers.server_of(name)?);
        }
        let failed = |why: String| GroundError::Process {
            node: name.to_owned(),
            why,
        };
        let socket = self.node(name)?.socket();
        let ask = async {
            let mut conn = self.connector.open(socket).await?;
            conn.replication().await
        };
        let info = ask.await.map_err(|e: ClientError| failed(e.to_string()))?;
        i32::try_from(info.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| failed("it does not say".into()))
    }

    /// The parent of the server, where `halab node` is one.
    fn parent_of(&self, name: &str, server: Pid) -> Result<Option<Pid>, GroundError> {
        if self.nodes == NodesKind::Stock {
            return Ok(None);
        }
        let path = PathBuf::from(format!("/proc/{}/stat", server.as_raw_nonzero()));
        let stat = fs::read_to_string(&path).map_err(file_error(&path))?;
        // The name in parentheses may hold anything; the parent is the second field after it.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok())
            .and_then(Pid::from_raw);
        match parent {
            Some(parent) => Ok(Some(parent)),
            None => Err(GroundError::Process {
                node: name.to_owned(),
                why: format!("{} has no parent", path.display()),
            }),
        }
    }

    /// Kills the server of a node, not its parent.
    ///
    /// # Errors
    /// When its process can't be told.
    pub async fn kill_server(&mut self, name: &str) -> Result<(), GroundError> {
        let server = self.server_of(name).await?;
        if self.nodes == NodesKind::Stock {
            // Nobody else would start it again.
            self.down.push(name.to_owned());
        }
        signal(server, Signal::KILL);
        Ok(())
    }

    /// Stops the server of a node, and its parent before it, which would take it for a hung one.
    ///
    /// # Errors
    /// When its process can't be told.
    pub async fn hang(&mut self, name: &str, with_parent: bool) -> Result<(), GroundError> {
        if let (Some(containers), true) = (&mut self.containers, with_parent) {
            return Ok(containers.pause(name)?);
        }
        let server = self.server_of(name).await?;
        let parent = self.parent_of(name, server)?.filter(|_| with_parent);
        for pid in parent.into_iter().chain([server]) {
            self.stopped.push(pid);
            signal(pid, Signal::STOP);
        }
        Ok(())
    }

    /// Kills a node, server and parent.
    ///
    /// # Errors
    /// When the drill has not started it.
    pub fn kill_node(&mut self, name: &str) -> Result<(), GroundError> {
        match &self.containers {
            Some(containers) => containers.kill(name)?,
            None => self.runner()?.kill_node(name),
        }
        self.down.push(name.to_owned());
        Ok(())
    }

    /// Stops nodes in order, all at once, and waits until they have ended.
    ///
    /// # Errors
    /// When the drill has not started them.
    pub async fn stop_nodes(&mut self, names: &[String]) -> Result<(), GroundError> {
        for name in names {
            self.down.push(name.clone());
            match &self.containers {
                Some(containers) => containers.terminate(name)?,
                None => self.runner()?.signal_node(name, Signal::TERM),
            }
        }
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            let mut left = Vec::new();
            for name in names {
                if self.node_runs(name)? {
                    left.push(name);
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                for name in left {
                    match &self.containers {
                        Some(containers) => containers.kill(name)?,
                        None => self.runner()?.kill_node(name),
                    }
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn node_runs(&mut self, name: &str) -> Result<bool, GroundError> {
        if let Some(containers) = &self.containers {
            return Ok(containers.runs(name)?);
        }
        let runner = self.runner()?;
        runner.ended();
        Ok(runner.pid_of(name).is_some())
    }

    /// Cuts these links of a node, by the firewall; a container can only be cut off from everyone.
    ///
    /// # Errors
    /// When that is not possible here.
    pub fn isolate(
        &mut self,
        name: &str,
        pairs: &[(Ipv4Addr, Ipv4Addr)],
    ) -> Result<(), GroundError> {
        match &mut self.containers {
            Some(containers) => containers.disconnect(name)?,
            None => self.firewall()?.cut(pairs)?,
        }
        Ok(())
    }

    /// Starts a node again.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_node(&mut self, name: &str) -> Result<(), GroundError> {
        if let Some(containers) = &self.containers {
            containers.start(name)?;
        } else {
            let runner = self.runner()?;
            // Whose process has ended without a word counts as running until it is looked at.
            runner.ended();
            runner.start_node(name)?;
        }
        self.down.retain(|down| down != name);
        Ok(())
    }

    /// Nodes that are started from now on read a `lab.toml` that is made of the first one.
    ///
    /// # Errors
    /// When it can't be read or written, or the nodes are not ours.
    pub fn restate(&mut self, make: impl Fn(&str) -> String) -> Result<PathBuf, GroundError> {
        let first = match &self.first_config {
            Some(first) => first.clone(),
            None => {
                let text = match self.runner()?.config() {
                    Some(path) => fs::read_to_string(&path).map_err(file_error(&path))?,
                    None => include_str!("../../lab.toml").to_owned(),
                };
                self.first_config.insert(text).clone()
            }
        };
        let path = self.folder.join("lab.toml");
        fs::write(&path, make(&first)).map_err(file_error(&path))?;
        self.runner()?.set_config(&path);
        Ok(path)
    }

    /// Starts a node that the lab did not have.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn take_in(&mut self, node: &Node) -> Result<(), GroundError> {
        self.runner()?.add_node(&node.name, node.kind);
        self.start_node(&node.name)
    }

    /// A node that was stopped is not to be started again by what heals.
    pub fn let_go(&mut self, name: &str) {
        self.down.retain(|down| down != name);
    }

    /// Removes everything that a node has on disk.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_data(&self, name: &str) -> Result<(), GroundError> {
        let path = self.folder.join("state").join(name);
        fs::remove_dir_all(&path).map_err(file_error(&path))?;
        if self.nodes == NodesKind::Stock {
            // Its config lies beside it and names the folder.
            fs::create_dir_all(&path).map_err(file_error(&path))?;
        }
        Ok(())
    }

    /// The rules of the own network.
    ///
    /// # Errors
    /// When there is none.
    pub fn firewall(&mut self) -> Result<&mut Firewall, GroundError> {
        Ok(self.firewall.as_mut().ok_or(NetworkError::NotOwn)?)
    }

    /// Makes the link between the data nodes so slow that the load outruns the replica, until all
    /// is healed.
    ///
    /// # Errors
    /// When that is not possible here.
    pub fn outrun(&mut self) -> Result<(), GroundError> {
        let nodes: Vec<Ipv4Addr> = self.lab.data_nodes.iter().map(|n| n.address).collect();
        let mut pairs = Vec::new();
        for (i, from) in nodes.iter().enumerate() {
            pairs.extend(nodes[i + 1..].iter().map(|to| (*from, *to)));
        }
        Ok(self.firewall()?.slow(&pairs, OUTRUN_BYTES)?)
    }

    /// Undoes everything: links, stopped processes, nodes that are down. Goes on after an error, and
    /// returns the first.
    ///
    /// # Errors
    /// What could not be undone.
    pub fn heal(&mut self) -> Result<(), GroundError> {
        let mut first = Ok(());
        if let Some(firewall) = &mut self.firewall {
            first = first.and(firewall.heal().map_err(GroundError::from));
        }
        for state in self.stepped.drain(..) {
            first = first.and(clock::right(&state).map_err(file_error(&state)));
        }
        self.slowed.clear();
        for disk in &mut self.disks {
            first = first.and(disk.heal().map_err(GroundError::from));
        }
        if let Some(containers) = &mut self.containers {
            first = first.and(containers.heal().map_err(GroundError::from));
        }
        self.resume();
        let down = self.down.clone();
        let sentinels = down.iter().filter(|name| self.is_sentinel(name)).cloned();
        // Data nodes ask the Sentinels for their role.
        let order: Vec<String> = sentinels
            .chain(down.iter().filter(|name| !self.is_sentinel(name)).cloned())
            .collect();
        for name in order {
            first = first.and(self.start_node(&name));
        }
        first
    }

    fn is_sentinel(&self, name: &str) -> bool {
        self.lab.sentinels.iter().any(|node| node.name == name)
    }

    /// Lets stopped processes go on, servers first: their parents see them alive when they look.
    fn resume(&mut self) {
        for pid in self.stopped.drain(..).rev() {
            signal(pid, Signal::CONT);
        }
    }

    /// Ends the nodes in order. What they and the writer wrote stays, or may be lost with the file systems it is on.
    pub fn stop(mut self, keep: bool) {
        if let Some(runner) = &mut self.runner {
            runner.stop();
        }
        if keep {
            for disk in &self.disks {
                if let Err(error) = disk.keep() {
                    warn!(%error, "cannot keep what is on a file system of the drill");
                }
            }
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.resume();
    }
}

/// Makes a link in the folder to a server, or turns the one that is there to another, in one step; its path.
fn link_server(folder: &Path, to: &Path) -> Result<PathBuf, GroundError> {
    let (link, new) = (folder.join("redis-server"), folder.join("redis-server.new"));
    let to = std::path::absolute(to).map_err(file_error(to))?;
    let made = std::os::unix::fs::symlink(to, &new).and_then(|()| fs::rename(&new, &link));
    made.map_err(file_error(&link))?;
    Ok(link)
}

/// Sends a signal; one to a process that has ended is lost.
fn signal(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}
