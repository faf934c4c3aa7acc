//! The lab as `lab.toml` describes it: names, addresses, ports, quorum, timings, writer defaults.
//!
//! `lab.toml` is the one place that states them. This module is pure, text in, [`Lab`] or the list
//! of all problems out, but for [`load()`], which reads the file. It leaves to others every runtime
//! state.
//!
//! - `load`: reads the file; `parse`: from the text to a [`Lab`]; `text`: its lines and columns
//! - `keys`: every key, as types; `attributes`: parts of their JSON schema; `schema`: the schema,
//!   and the description of each key; `reference`: the descriptions as Markdown
//! - `check`: checks each value by itself; `rules`: checks several values together; `values`: the
//!   limits of single values; `nearest`: the known word that is most like an unknown one
//! - `app`: what an application may state; `glob`: patterns of keys and channels
//! - `problem`: everything that can be wrong, as a [`ConfigProblem`] with its remedy
//! - `relocate`: the lab, moved into another network

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

/// A whole lab: the data nodes, their Sentinels, and how fast they are to react.
#[derive(Debug, Clone, PartialEq)]
pub struct Lab {
    /// The name of the lab, unique among the labs of a machine; a label of metrics and reports.
    pub name: String,
    /// The name under which the Sentinels monitor the primary.
    pub primary_name: String,
    /// Sentinels that must agree before the primary counts as objectively down.
    pub quorum: usize,
    /// The data node that is primary when the lab starts for the very first time.
    pub seed_primary: String,
    /// The Redis data nodes: one primary and its replicas; two or more.
    pub data_nodes: Vec<Node>,
    /// The Sentinels: three or more, an odd number.
    pub sentinels: Vec<Node>,
    /// Time limits of nodes and Sentinels.
    pub timing: Timing,
    /// Defaults of `halab write`.
    pub writer: WriterDefaults,
    /// Where metrics are served, and who gathers them; `None`: nowhere.
    pub monitoring: Option<Monitoring>,
    /// Users and their passwords, and TLS.
    pub security: Security,
    /// The proxy; `None`: no lane starts one.
    pub proxy: Option<Proxy>,
    /// The applications that use it.
    pub apps: Vec<App>,
    /// This process's own node, if it listens elsewhere than at its address. `lab.toml` does not
    /// state it.
    pub forwarded: Option<ForwardedNode>,
}

/// A node whose server listens at another address than that of `lab.toml`: connections to the
/// latter are forwarded, as by a Service of Kubernetes to a pod. All others use the address of
/// `lab.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedNode {
    /// The node's name.
    pub node: String,
    /// Its address on its own machine: it listens there, and its connections come from there.
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
    /// Its one name: in metrics, in reports and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            NodeKind::Data => "data",
            NodeKind::Sentinel => "sentinel",
        }
    }
}

/// One node of the lab: a server with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its one name everywhere: folder, log, metric label, report.
    pub name: String,
    /// Its server.
    pub kind: NodeKind,
    /// Its own address; it listens there and its outgoing connections come from there.
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
    /// Whoever reaches an address may do anything there.
    pub fn off() -> Self {
        Security {
            acl: false,
            tls: false,
            mutual_tls: false,
            secrets: None,
        }
    }

    /// The same for a lab with its state elsewhere: passwords of its own, unless they are given.
    #[must_use]
    pub fn for_state(mut self, state_root: &Path) -> Self {
        if !matches!(self.secrets, Some(SecretsFolder::Given(_))) {
            self.secrets = Some(SecretsFolder::under(None, state_root));
        }
        self
    }
}

/// The folder with a file for each user, and with certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretsFolder {
    /// In the lab's own state: what is missing is made there.
    Own(PathBuf),
    /// Given: what is missing is an error, since the other nodes would not know what was made here.
    Given(PathBuf),
}

impl SecretsFolder {
    /// The folder of the lab whose state is under `state_root`; a given one stays.
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
    /// Where the metrics of `halab write` are.
    pub fn writer_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.writer_address, self.writer_port)
    }

    /// Where the metrics of a node are.
    pub fn node_socket(&self, node: &Node) -> SocketAddrV4 {
        SocketAddrV4::new(node.address, self.node_port)
    }
}

impl Timing {
    /// Shortest answer limit: more than a round trip between distant sites.
    const SHORTEST_ANSWER: Duration = Duration::from_millis(500);
    /// Shortest limit of a promotion: several times what one takes.
    const SHORTEST_PROMOTION: Duration = Duration::from_secs(3);

    /// Limit of a connect, a TLS handshake or an answer of a node: half of the silence after which
    /// its supervisor kills it as hung. Where a healthy server may be silent for longer, everything
    /// else is slow too.
    pub fn answer_limit(&self) -> Duration {
        (self.hang_timeout / 2).max(Self::SHORTEST_ANSWER)
    }

    /// Limit of a planned handover's promotion, and then of the old primary's change to a replica:
    /// three fifths of the time after which a Sentinel gives up the failover.
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

    /// Where the proxy listens for clients.
    pub fn proxy_socket(&self) -> SocketAddrV4 {
        let proxy = self.proxy_settings();
        let first = self.data_nodes.first();
        let first = first.map_or(Ipv4Addr::LOCALHOST, |node| node.address);
        let address = proxy.address.unwrap_or_else(|| Proxy::usual_address(first));
        SocketAddrV4::new(address, proxy.port)
    }

    /// Where the proxy serves its metrics; `None`: nowhere.
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

    /// The address that a node has on its own machine.
    pub fn listens(&self, node: &Node) -> Ipv4Addr {
        match &self.forwarded {
            Some(forwarded) if forwarded.node == node.name => forwarded.listens,
            _ => node.address,
        }
    }

    /// Sentinels that make a majority of all Sentinels of the lab.
    pub fn majority(&self) -> usize {
        self.sentinels.len() / 2 + 1
    }
}
