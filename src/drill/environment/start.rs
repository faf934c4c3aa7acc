//! How the lab of a drill is started.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Lab, Security};
use crate::drill::report::NodesKind;
use crate::node::ServerBinary;
use crate::runner::{ClaimedSubnet, Launch, Runner, StockLaunch};

use super::containers::Containers;
use super::cpu_quota::{self, CpuQuota};
use super::delay::Delay;
use super::error::{EnvironmentError, file_error};
use super::lab_toml::with_application;
use super::network::{self, Firewall};
use super::nodes::{Backend, Nodes};
use super::requirement::Requirement;
use super::tmpfs::Tmpfs;
use super::wrapper_script::write_wrapper;
use super::{
    BUILT_IN, Environment, LAB_TOML, LEDGER, Servers, WRITER, clock, open_files, stock_config,
};

/// How a lab is started.
#[derive(Debug, Clone)]
pub struct LabStart {
    /// The lab, not yet moved to a subnet of its own.
    pub lab: Lab,
    /// The `halab` program.
    pub program: PathBuf,
    /// Flags that describe the lab to `halab node`: config, profile.
    pub arguments: Vec<String>,
    /// The server.
    pub server: PathBuf,
    /// The kind of nodes.
    pub nodes: NodesKind,
    /// Folder for state and logs, created here.
    pub folder: PathBuf,
    /// What the fault needs of the lab.
    pub requirement: Requirement,
    /// Stock servers keep an append-only file.
    pub append_only: bool,
    /// The server that replaces the first one, in a rolling upgrade.
    pub other: Option<ServerBinary>,
    /// An application that the lab has beside those of `lab.toml`.
    pub application: Option<&'static str>,
}

impl Environment {
    /// Starts a lab. To be called on the main thread: the nodes end with the thread that starts
    /// them.
    ///
    /// # Errors
    /// When a node can't be started.
    pub fn start(mut start: LabStart) -> Result<Self, EnvironmentError> {
        let subnet = ClaimedSubnet::claim()?;
        let state = start.state();
        fs::create_dir_all(&state).map_err(file_error(&state))?;
        start.add_application()?;
        let mut lab = start.lab.relocated(subnet.octets());
        lab.security = match start.nodes {
            NodesKind::Ours | NodesKind::Containers => lab.security.for_state(&state),
            // Redis' default: no users, no passwords.
            NodesKind::Stock => Security::off(),
        };
        let disks = start.disks(&lab)?;
        let server = start.server_program()?;
        let firewall = match network::is_own() {
            true => Some(Firewall::new()?),
            false => None,
        };
        let delay = start.delay(&lab)?;
        let runner = match start.nodes {
            NodesKind::Ours | NodesKind::Containers => start.nodes_of_ours(&lab, &server, &subnet),
            NodesKind::Stock => start.stock_nodes(&lab, server),
        }?;
        let quotas = start.cpu_quotas(&lab, &runner)?;
        let backend = Backend::Own(Box::new(runner));
        Ok(Environment {
            nodes: Nodes::new(&lab, start.nodes, backend),
            lab,
            folder: start.folder,
            servers: Servers {
                current: Some(start.server),
                other: start.other,
            },
            first_config: None,
            firewall,
            disks,
            stepped_clocks: Vec::new(),
            slow_disks: Vec::new(),
            _delay: delay,
            _quotas: quotas,
            _subnet: Some(subnet),
        })
    }

    /// A lab that runs already, as processes or as containers. `folder` is for the files of the
    /// drill.
    ///
    /// # Errors
    /// When the folder can't be created.
    pub fn attach(
        lab: Lab,
        folder: PathBuf,
        containers: Option<Containers>,
    ) -> Result<Self, EnvironmentError> {
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        let (kind, backend) = match containers {
            Some(containers) => (NodesKind::Containers, Backend::Containers(containers)),
            None => (NodesKind::Ours, Backend::Attached),
        };
        Ok(Environment {
            nodes: Nodes::new(&lab, kind, backend),
            lab,
            folder,
            servers: Servers::default(),
            first_config: None,
            firewall: None,
            disks: Vec::new(),
            stepped_clocks: Vec::new(),
            slow_disks: Vec::new(),
            _delay: None,
            _quotas: Vec::new(),
            _subnet: None,
        })
    }
}

impl LabStart {
    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Adds the application to the lab, and to a `lab.toml` of the drill's own, for the nodes.
    fn add_application(&mut self) -> Result<(), EnvironmentError> {
        let Some(name) = self.application.filter(|name| self.lab.app(name).is_none()) else {
            return Ok(());
        };
        let at = self.arguments.iter().position(|a| a == "--config");
        let path = at.and_then(|at| self.arguments.get(at + 1));
        let text = match path {
            Some(path) => fs::read_to_string(path).map_err(file_error(Path::new(path)))?,
            None => BUILT_IN.to_owned(),
        };
        let path = self.folder.join(LAB_TOML);
        let text = with_application(&text, name);
        fs::write(&path, &text).map_err(file_error(&path))?;
        let with_it = Lab::parse(&text, None).map_err(|problems| {
            EnvironmentError::Unavailable(format!("lab.toml has no place for {name}: {problems}"))
        })?;
        self.lab.apps = with_it.apps;
        let path = path.display().to_string();
        match at {
            Some(at) => self.arguments[at + 1] = path,
            None => self.arguments.extend(["--config".to_owned(), path]),
        }
        Ok(())
    }

    /// File systems for every node and the ledger, if the fault needs them.
    fn disks(&self, lab: &Lab) -> Result<Vec<Tmpfs>, EnvironmentError> {
        if self.requirement != Requirement::OwnDisks {
            return Ok(Vec::new());
        }
        let state = self.state();
        let folders = lab.nodes().map(|node| state.join(&node.name));
        let folders = folders.chain([self.folder.join(LEDGER)]);
        folders.map(|path| Ok(Tmpfs::mount(&path)?)).collect()
    }

    /// The program that servers are started with: the server itself, a script that runs it, or a
    /// link that can be changed.
    fn server_program(&self) -> Result<PathBuf, EnvironmentError> {
        let script = match self.requirement {
            Requirement::OwnClocks => {
                let library = clock::library().map_err(EnvironmentError::Unavailable)?;
                clock::script(&library)
            }
            Requirement::OpenFileLimit => open_files::script(),
            Requirement::SecondServer => return link_server(&self.folder, &self.server),
            _ => return Ok(self.server.clone()),
        };
        write_wrapper(&self.server, &script, &self.folder).map_err(file_error(&self.folder))
    }

    /// Delayed packets, if the fault needs them.
    fn delay(&self, lab: &Lab) -> Result<Option<Delay>, EnvironmentError> {
        let Requirement::RoundTrip { ms } = self.requirement else {
            return Ok(None);
        };
        let nodes = lab.nodes().map(|node| node.address);
        let all: Vec<Ipv4Addr> = nodes.chain([WRITER]).collect();
        let one_way = Duration::from_millis(ms.into()) / 2;
        Ok(Some(Delay::begin(one_way, &all)?))
    }

    fn nodes_of_ours(
        &self,
        lab: &Lab,
        server: &Path,
        subnet: &ClaimedSubnet,
    ) -> Result<Runner, EnvironmentError> {
        let mut arguments = self.arguments.clone();
        for (flag, value) in [
            ("--state", self.state().display().to_string()),
            ("--subnet", subnet.to_string()),
            ("--redis-server", server.display().to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        let program = match self.requirement {
            Requirement::CpuQuota => {
                let script = cpu_quota::SCRIPT;
                let wrapper = write_wrapper(&self.program, script, &self.folder);
                wrapper.map_err(file_error(&self.folder))?
            }
            _ => self.program.clone(),
        };
        let launch = Launch {
            program,
            arguments,
            logs: self.folder.join("log"),
        };
        Ok(Runner::start(lab, launch)?)
    }

    fn stock_nodes(&self, lab: &Lab, server: PathBuf) -> Result<Runner, EnvironmentError> {
        let state = self.state();
        for node in lab.nodes() {
            let dir = state.join(&node.name);
            fs::create_dir_all(&dir).map_err(file_error(&dir))?;
            let path = state.join(format!("{}.conf", node.name));
            let text = stock_config::config(lab, node, &dir, self.append_only);
            fs::write(&path, text).map_err(file_error(&path))?;
        }
        let launch = StockLaunch {
            program: self.program.clone(),
            server,
            confs: state,
            logs: self.folder.join("log"),
        };
        Ok(Runner::start_stock(lab, launch)?)
    }

    /// A CPU quota for every node, if the fault needs it.
    fn cpu_quotas(&self, lab: &Lab, runner: &Runner) -> Result<Vec<CpuQuota>, EnvironmentError> {
        if self.requirement != Requirement::CpuQuota {
            return Ok(Vec::new());
        }
        let limited = lab.nodes().map(|node| {
            let parent = runner.pid_of(&node.name).unwrap_or_default();
            CpuQuota::begin(parent).map_err(EnvironmentError::Unavailable)
        });
        limited.collect()
    }
}

/// Links `redis-server` in the folder to a server, or changes the link, atomically. Returns its
/// path.
pub(super) fn link_server(folder: &Path, to: &Path) -> Result<PathBuf, EnvironmentError> {
    let (link, new) = (folder.join("redis-server"), folder.join("redis-server.new"));
    let to = std::path::absolute(to).map_err(file_error(to))?;
    let made = std::os::unix::fs::symlink(to, &new).and_then(|()| fs::rename(&new, &link));
    made.map_err(file_error(&link))?;
    Ok(link)
}
