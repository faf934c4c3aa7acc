//! The lab that a drill works on: nodes, links, disks, clocks, the writer, the observer.
//!
//! - [`Environment`]: a lab of the drill's own, or one that runs already; `start`: how it is
//!   started
//! - [`Requirement`]: what a fault needs of it, and whether this machine has that
//! - `nodes`: processes and containers; `engine`, `containers`: Docker's API
//! - [`network`]: a network namespace in which links can be cut; `delay`: round-trip times in it;
//!   `tmpfs`: file systems in it that can be filled
//! - `clock`, `open_files`: servers with a clock of their own, or few open files, by a
//!   `wrapper_script`; `disk_latency`: a slow disk; `cpu_quota`: a part of a processor
//! - `stock_config`: stock servers; `lab_toml`: other members and addresses
//! - [`Load`]: the writer; [`LabObserver`]: events and roles on one clock
//!
//! Every change is recorded before it is made, so that [`Environment::restore`] undoes it. What
//! would outlive this process (a stopped process or a paused container of a lab that the drill did
//! not start) is undone also after a panic.

mod clock;
mod containers;
mod cpu_quota;
mod delay;
mod disk_latency;
mod engine;
mod error;
mod healing;
mod held_process;
pub mod lab_toml;
mod load;
pub mod network;
mod nodes;
mod observer;
mod open_files;
mod requirement;
mod start;
mod stock_config;
mod timed_cuts;
mod tmpfs;
mod wrapper_script;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::config::{Lab, Node};
use crate::node::ServerBinary;
use crate::runner::ClaimedSubnet;

use cpu_quota::CpuQuota;
use delay::Delay;
use disk_latency::DiskLatency;
use error::file_error;
use network::Firewall;
use tmpfs::Tmpfs;

pub use containers::{Containers, EngineAt};
pub use disk_latency::DelayedCalls;
pub use error::EnvironmentError;
pub use held_process::{HeldProcess, is_stopped, parent_of};
pub use load::{Load, LoadSettings};
pub use network::NetworkError;
pub use nodes::Nodes;
pub use observer::LabObserver;
pub use open_files::OPEN_FILES;
pub use requirement::{Availability, Requirement};
pub use start::LabStart;
pub use timed_cuts::TimedCuts;

/// The source address of the writer's connections: the one that the system chooses on the loopback
/// when a program does not bind one.
pub const WRITER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The `lab.toml` that this program has.
const BUILT_IN: &str = include_str!("../../../lab.toml");
/// Name of the drill's own `lab.toml` in the folder of a run.
const LAB_TOML: &str = "lab.toml";
/// Folder of the ledger, if that has a file system of its own.
const LEDGER: &str = "ledger";

/// A running lab.
#[derive(Debug)]
pub struct Environment {
    /// The lab, with its actual addresses.
    pub lab: Lab,
    /// Its nodes.
    pub nodes: Nodes,
    folder: PathBuf,
    servers: Servers,
    /// The text of the first `lab.toml`, once there is another.
    first_config: Option<String>,
    firewall: Option<Firewall>,
    /// After the nodes, which have files open there.
    disks: Vec<Tmpfs>,
    /// State folders of nodes whose clock was stepped.
    stepped_clocks: Vec<PathBuf>,
    slow_disks: Vec<DiskLatency>,
    /// Of the whole network, from the start.
    _delay: Option<Delay>,
    /// Of every node, from the start.
    _quotas: Vec<CpuQuota>,
    _subnet: Option<ClaimedSubnet>,
}

/// The server programs of a lab that the drill has started.
#[derive(Debug, Default)]
struct Servers {
    /// The program that nodes are started with.
    current: Option<PathBuf>,
    /// The program that can replace it.
    other: Option<ServerBinary>,
}

impl Environment {
    /// The folder of this run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The state folder of a node.
    pub fn state_of(&self, name: &str) -> PathBuf {
        self.folder.join("state").join(name)
    }

    /// Path of the writer's ledger.
    pub fn ledger(&self) -> PathBuf {
        let folder = self.folder.join(LEDGER);
        let own = self.disks.iter().any(|disk| disk.is_under(&folder));
        let folder = if own { folder } else { self.folder.clone() };
        folder.join("writer.ledger")
    }

    /// The log of a node so far.
    pub fn log_of(&self, name: &str) -> String {
        let path = self.folder.join("log").join(format!("{name}.log"));
        // It does not exist before its first line.
        fs::read_to_string(path).unwrap_or_default()
    }

    /// The name of the node with that address; the address if there is none.
    pub fn name_of(&self, ip: &str) -> String {
        let mut nodes = self.lab.nodes();
        nodes
            .find(|node| node.address.to_string() == ip)
            .map_or_else(|| ip.to_owned(), |node| node.name.clone())
    }

    /// The program of the servers, if the nodes are stock servers.
    pub fn stock_server(&self) -> Option<&Path> {
        let server = self.servers.current.as_deref();
        server.filter(|_| self.nodes.are_stock())
    }

    /// Nodes that start from now on run the other server. Returns its name and version.
    ///
    /// # Errors
    /// When there is no other.
    pub fn replace_server(&mut self) -> Result<String, EnvironmentError> {
        let none = || EnvironmentError::Unavailable("there is no second server".into());
        let other = self.servers.other.as_ref().ok_or_else(none)?;
        start::link_server(&self.folder, &other.path)?;
        self.servers.current = Some(other.path.clone());
        Ok(other.title())
    }

    /// Nodes that start from now on read a `lab.toml` that is an edited form of the first one.
    ///
    /// # Errors
    /// When it can't be read or written, or the drill did not start the lab.
    pub fn edit_config(&mut self, edit: impl Fn(&str) -> String) -> Result<(), EnvironmentError> {
        let first = match &self.first_config {
            Some(first) => first.clone(),
            None => {
                let text = match self.nodes.runner()?.config() {
                    Some(path) => fs::read_to_string(&path).map_err(file_error(&path))?,
                    None => BUILT_IN.to_owned(),
                };
                self.first_config.insert(text).clone()
            }
        };
        let path = self.folder.join(LAB_TOML);
        fs::write(&path, edit(&first)).map_err(file_error(&path))?;
        self.nodes.runner()?.set_config(&path);
        Ok(())
    }

    /// Starts a node that is not in the lab.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_new_node(&mut self, node: &Node) -> Result<(), EnvironmentError> {
        self.nodes.runner()?.add_node(&node.name, node.kind);
        self.nodes.start(&node.name)
    }

    /// Starts the proxy with these options, unless it runs. Returns its address.
    ///
    /// # Errors
    /// When it can't be started, or the drill did not start the lab.
    pub fn start_proxy(&mut self, options: &[&str]) -> Result<SocketAddrV4, EnvironmentError> {
        let runner = self.nodes.runner()?;
        if !runner.proxy_is_running() {
            runner.start_proxy(options)?;
        }
        Ok(self.lab.proxy_socket())
    }

    /// Removes all files of a node.
    ///
    /// # Errors
    /// When they can't be removed.
    pub fn remove_data(&self, name: &str) -> Result<(), EnvironmentError> {
        let path = self.state_of(name);
        fs::remove_dir_all(&path).map_err(file_error(&path))?;
        if self.nodes.are_stock() {
            // Its config file lies beside the folder and names it.
            fs::create_dir_all(&path).map_err(file_error(&path))?;
        }
        Ok(())
    }

    /// Stops the nodes, and removes the file systems of the drill. With `keep`, their content is
    /// copied first.
    pub fn stop(mut self, keep: bool) {
        self.nodes.stop_all();
        if keep {
            for disk in &self.disks {
                if let Err(error) = disk.keep() {
                    warn!(%error, "cannot copy the content of a file system of the drill");
                }
            }
        }
    }
}
