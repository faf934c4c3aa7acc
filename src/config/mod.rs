//! The lab as `lab.toml` describes it: names, addresses, ports, quorum, timings, writer defaults.
//!
//! `lab.toml` is the only source of these settings. This module turns its text into a [`Lab`] or
//! the list of all problems. It is pure, except for [`load()`], which reads the file. Runtime state
//! belongs to other modules.
//!
//! - `load`: reads the file; `parse`: from the text to a [`Lab`]; `text`: its lines and columns
//! - `keys`: every key, as types; `attributes`: parts of their JSON schema; `schema`: the schema,
//!   and the description of each key; `reference`: the descriptions as Markdown
//! - `check`: checks each value individually; `rules`: checks several values together; `values`:
//!   the limits of single values; `nearest`: the known word closest to an unknown one
//! - `app`: checks the patterns and rules of applications; `glob`: patterns of keys and channels
//! - `problem`: the problems, each as a [`ConfigProblem`] with its remedy
//! - `relocate`: moves a lab into another network

mod app;
mod attributes;
mod check;
mod glob;
mod keys;
mod load;
mod nearest;
mod parse;
mod problem;
mod reference;
mod relocate;
mod rules;
mod schema;
#[cfg(test)]
mod tests;
mod text;
mod values;

pub use app::{App, WHOLE_DATABASE_COMMANDS};
pub use keys::{Monitoring, Proxy, Reads, Security, Timing, Unanswered, WriterDefaults};
pub use load::{LoadError, load};
pub use problem::{ConfigProblem, ConfigProblemKind, ConfigProblems, Hint, Position};
pub use reference::key_reference;
pub use schema::lab_schema;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A lab: the data nodes, the Sentinels, and all settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Lab {
    /// The name of the lab, unique among the labs of a machine; a label of metrics and reports.
    pub name: String,
    /// The name under which the Sentinels monitor the primary.
    pub primary_name: String,
    /// Sentinels that must agree before the primary counts as objectively down.
    pub quorum: usize,
    /// The data node that is primary at the first start of the lab.
    pub seed_primary: String,
    /// The Redis data nodes: one primary and its replicas; two or more.
    pub data_nodes: Vec<Node>,
    /// The Sentinels: three or more, an odd number.
    pub sentinels: Vec<Node>,
    /// Time limits of nodes and Sentinels.
    pub timing: Timing,
    /// Defaults of `halab write`.
    pub writer: WriterDefaults,
    /// Addresses of the metrics and the monitoring services; `None`: there are none.
    pub monitoring: Option<Monitoring>,
    /// Users and their passwords, and TLS.
    pub security: Security,
    /// The proxy; `None`: no lane starts one.
    pub proxy: Option<Proxy>,
    /// The applications that use the lab.
    pub apps: Vec<App>,
    /// This process's own node, if it listens at another address than that of `lab.toml`. It is
    /// not part of `lab.toml`.
    pub forwarded: Option<ForwardedNode>,
}

/// A node whose server listens at another address than that of `lab.toml`. Connections to the
/// latter are forwarded, as by a Kubernetes Service to a pod. All other processes use the address
/// of `lab.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedNode {
    /// The node's name.
    pub node: String,
    /// Its address on its own machine, where it listens and from which its connections come.
    pub listens: Ipv4Addr,
}

/// The server of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A Redis server that holds data, as primary or as replica.
    Data,
    /// A Redis Sentinel.
    Sentinel,
}

impl NodeKind {
    /// Its name in metrics, reports and JSON.
    pub fn name(self) -> &'static str {
        match self {
            NodeKind::Data => "data",
            NodeKind::Sentinel => "sentinel",
        }
    }
}

/// A node of the lab: a server with its own address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its name in folders, logs, metric labels and reports.
    pub name: String,
    /// Its server.
    pub kind: NodeKind,
    /// Its address, where it listens and from which its outgoing connections come.
    pub address: Ipv4Addr,
    /// The port that its server listens on.
    pub port: u16,
}

impl Node {
    /// The address and port that its server listens on.
    pub fn socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.port)
    }
}

impl Security {
    /// No access control and no encryption: every client has all rights.
    pub fn off() -> Self {
        Security {
            acl: false,
            tls: false,
            mutual_tls: false,
            secrets: None,
        }
    }

    /// The same for a lab with another state folder: it has its own passwords, unless they are
    /// given.
    #[must_use]
    pub fn for_state(mut self, state_root: &Path) -> Self {
        if !matches!(self.secrets, Some(SecretsFolder::Given(_))) {
            self.secrets = Some(SecretsFolder::under(None, state_root));
        }
        self
    }
}

/// The folder with a password file for each user, and the certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretsFolder {
    /// In the lab's own state folder: missing files are created.
    Own(PathBuf),
    /// Given: a missing file is an error, because the other nodes would not have a file created
    /// here.
    Given(PathBuf),
}

impl SecretsFolder {
    /// The folder of a lab with the state folder `state_root`; a given one is unchanged.
    #[must_use]
    pub fn under(given: Option<&Path>, state_root: &Path) -> Self {
        match given {
            Some(folder) => SecretsFolder::Given(folder.to_owned()),
            None => SecretsFolder::Own(state_root.join("secrets")),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        match self {
            SecretsFolder::Own(path) | SecretsFolder::Given(path) => path,
        }
    }
}

impl Monitoring {
    /// The address of the metrics of `halab write`.
    pub fn writer_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.writer_address, self.writer_port)
    }

    /// The address of the lab in a browser.
    pub fn web_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, self.web_port)
    }

    /// The address of the metrics of a node.
    pub fn node_socket(&self, node: &Node) -> SocketAddrV4 {
        SocketAddrV4::new(node.address, self.node_port)
    }
}

impl Timing {
    /// Shortest answer limit: more than a round trip between distant sites.
    const SHORTEST_ANSWER: Duration = Duration::from_millis(500);
    /// Shortest limit of a promotion: several times its usual duration.
    const SHORTEST_PROMOTION: Duration = Duration::from_secs(3);

    /// Limit of a connect, a TLS handshake or an answer of a node: half of the hang timeout. If a
    /// healthy server may be silent for longer, everything else is slow too.
    pub fn answer_limit(&self) -> Duration {
        (self.hang_timeout / 2).max(Self::SHORTEST_ANSWER)
    }

    /// Limit of a planned handover's promotion, and then of the old primary's change to a replica:
    /// three fifths of the failover timeout of the Sentinels.
    pub fn handover_limit(&self) -> Duration {
        (self.failover_timeout * 3 / 5).max(Self::SHORTEST_PROMOTION)
    }
}

impl Lab {
    /// All nodes, data nodes first, each group in the order of `lab.toml`.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.data_nodes.iter().chain(&self.sentinels)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes().find(|n| n.name == name)
    }

    /// The application of that name.
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// The settings of `halab proxy`: its defaults, if `lab.toml` has none.
    pub fn proxy_settings(&self) -> Proxy {
        self.proxy.clone().unwrap_or_default()
    }

    /// The address on which the proxy listens for clients.
    pub fn proxy_socket(&self) -> SocketAddrV4 {
        let proxy = self.proxy_settings();
        let first = self.data_nodes.first();
        let first = first.map_or(Ipv4Addr::LOCALHOST, |node| node.address);
        let address = proxy.address.unwrap_or_else(|| Proxy::usual_address(first));
        SocketAddrV4::new(address, proxy.port)
    }

    /// The address of the metrics of the proxy; `None`: it serves none.
    pub fn proxy_metrics(&self) -> Option<SocketAddrV4> {
        let port = self.monitoring.as_ref()?.proxy_port;
        Some(SocketAddrV4::new(*self.proxy_socket().ip(), port))
    }

    /// Whether clients of the proxy connect by TLS.
    pub fn proxy_uses_tls(&self) -> bool {
        self.security.tls && self.proxy_settings().tls.unwrap_or(true)
    }

    /// The data node that listens on `socket`.
    pub fn data_node_at(&self, socket: SocketAddrV4) -> Option<&Node> {
        self.data_nodes.iter().find(|n| n.socket() == socket)
    }

    /// The address of a node on its own machine.
    pub fn listens(&self, node: &Node) -> Ipv4Addr {
        match &self.forwarded {
            Some(forwarded) if forwarded.node == node.name => forwarded.listens,
            _ => node.address,
        }
    }

    /// The number of Sentinels in a majority.
    pub fn majority(&self) -> usize {
        self.sentinels.len() / 2 + 1
    }
}
