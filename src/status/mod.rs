//! `halab status`: the state of every node, and whether the lab is healthy.
//!
//! - `gather`: asks all nodes; `supervisors`: requests the reports of their supervisors; `notes`:
//!   reads what nodes of this host have noted
//! - `judge`: the problems that follow from the answers (pure); `problem`: their kinds, as
//!   [`ProblemCode`]
//! - `known_servers`: the servers that the Sentinels know; `member_list`: the list of members; both
//!   compared with `lab.toml`
//! - `proxy`: whether a proxy serves
//! - `stakes`: what the next loss would cost (pure); `table`: the status as text (pure)

mod gather;
mod judge;
mod known_servers;
mod member_list;
mod notes;
mod problem;
mod proxy;
mod stakes;
mod supervisors;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV4;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::{Connector, with_members};
use crate::config::{Lab, Node};
use crate::protocol::member_list::MemberList;
use crate::recovery::Recovery;
use crate::report::{Description, NodeReport};
use crate::sentinel::SentinelClients;

pub use gather::gather;
pub use known_servers::{Stranger, StrangerEntry, StrangerKind, StrangerState};
pub use problem::{Problem, ProblemCode, ProblemSeverity};
pub use proxy::proxy_serves;
pub use table::render;

/// Pause between two rounds while waiting for a healthy lab.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// The state of a lab, by one round of questions.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Name of the lab.
    pub lab: String,
    /// The primary that a majority of the Sentinels names.
    pub primary: Option<NamedPrimary>,
    /// The data nodes, in the order of `lab.toml`.
    pub data_nodes: Vec<DataNodeStatus>,
    /// The Sentinels, in the order of `lab.toml`.
    pub sentinels: Vec<SentinelStatus>,
    /// Servers that a Sentinel knows and that are neither in `lab.toml` nor in the list of
    /// members.
    pub strangers: Vec<Stranger>,
    /// The list of members on the primary, or the newest one of a data node if no primary answers.
    pub members: Option<MemberList>,
    /// Whether the lab has no problems but warnings.
    pub healthy: bool,
    /// Whether writes are accepted, and what the next loss would cost. Empty in a healthy lab.
    pub stakes: Vec<String>,
    /// The problems, including warnings.
    pub problems: Vec<Problem>,
    /// The report of each node's supervisor, by the name of the node. For an ended node: the note
    /// in its state folder on this host.
    pub supervisors: BTreeMap<String, Reached<NodeReport>>,
    /// The description of the lab by the `lab.toml` of this command.
    #[serde(skip)]
    pub description: Description,
    /// Names and addresses of the nodes in the `lab.toml` of this command.
    #[serde(skip)]
    pub stated: Vec<(String, SocketAddrV4)>,
}

/// A primary as named by Sentinels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedPrimary {
    /// The name of the node, or its address if it is not in this lab.
    pub node: String,
    /// The epoch of the configuration that made it primary.
    pub epoch: u64,
}

/// The state of a data node.
#[derive(Debug, Clone, Serialize)]
pub struct DataNodeStatus {
    /// Name of the node.
    pub name: String,
    /// Address of the server.
    pub address: SocketAddrV4,
    /// The copy that it holds, in words. If it is not reachable: the last note in its state folder
    /// on this host.
    pub holds: Option<String>,
    /// The lab was closed on it (`halab close`), by the copy of its server.
    #[serde(skip)]
    pub closed: bool,
    /// The answer of its server.
    #[serde(flatten)]
    pub state: Reached<DataNodeState>,
}

/// An answer, or the reason why there is none.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached<T> {
    /// The answer.
    Up(T),
    /// The reason why there is no answer.
    Unreachable(String),
}

impl<T> Reached<T> {
    /// The answer, if there is one.
    pub fn up(&self) -> Option<&T> {
        match self {
            Reached::Up(state) => Some(state),
            Reached::Unreachable(_) => None,
        }
    }
}

/// The answer of a data node.
#[derive(Debug, Clone, Serialize)]
pub struct DataNodeState {
    /// Process id of the server on its machine.
    pub pid: u32,
    /// `primary`, `replica`, `loading`, or `parked` (it has no role yet).
    pub role: &'static str,
    /// Of a replica: the node that it replicates.
    pub replica_of: Option<String>,
    /// Of a replica: whether its link is up and the first sync is done.
    pub link_up: Option<bool>,
    /// Of a replica: whether it is promotable.
    pub promotable: Option<bool>,
    /// Replication offset in bytes.
    pub offset: u64,
    /// Of a replica: bytes of the stream that it has not processed yet.
    pub lag_bytes: Option<u64>,
    /// Of a primary: number of replicas whose link is online.
    pub replicas: Option<usize>,
    /// Version of the server.
    pub version: String,
    /// Why its list of members cannot be used.
    pub members_unusable: Option<String>,
}

/// The state of a Sentinel.
#[derive(Debug, Clone, Serialize)]
pub struct SentinelStatus {
    /// Name of the node.
    pub name: String,
    /// Address of the server.
    pub address: SocketAddrV4,
    /// The answer of the Sentinel.
    #[serde(flatten)]
    pub state: Reached<SentinelState>,
}

/// The view of a Sentinel.
#[derive(Debug, Clone, Serialize)]
pub struct SentinelState {
    /// The node that it names as primary.
    pub primary: NamedPrimary,
    /// It considers the primary down (`s_down`).
    pub primary_down: bool,
    /// A failover is in progress.
    pub failover_in_progress: bool,
    /// Number of other Sentinels that it knows.
    pub other_sentinels: u64,
    /// Number of replicas that it knows, listed or not.
    pub known_replicas: u64,
    /// The replicas that it could promote.
    pub promotable: Vec<String>,
    /// Nodes of the lab that it does not know.
    pub unknown: Vec<String>,
    /// Servers that it knows and that are neither in `lab.toml` nor in the list of members.
    pub strangers: Vec<StrangerEntry>,
    /// Other names under which it monitors a primary.
    pub other_names: Vec<String>,
    /// Whether it reaches the quorum and a majority (`SENTINEL CKQUORUM`).
    pub quorum_ok: bool,
    /// The answer to `SENTINEL CKQUORUM`.
    pub quorum: String,
}

/// Asks all nodes until the lab is recovered, the time is over or `stop` is cancelled, and returns
/// the last status. With a limit of 0 it asks once, and checks for *healthy* only.
///
/// *Recovered* as in `docs/protocol.md`: healthy, and every replica has processed what its primary
/// had when the lab became healthy. A replica that was cut off for a short time looks healthy
/// before that.
pub async fn wait_healthy(lab: &Lab, limit: Duration, stop: &CancellationToken) -> Status {
    let deadline = Instant::now() + limit;
    let connector = Connector::new(lab, User::Verifier);
    let mut recovery = Recovery::default();
    let mut not_raised_since = HashMap::new();
    loop {
        let mut status = gather(lab).await;
        status.add_not_raised_time(&mut not_raised_since, Instant::now());
        if !limit.is_zero() {
            let missing = status.recovery(lab, &connector, &mut recovery).await.err();
            if let Some(missing) = missing {
                status.add_not_recovered(missing);
            }
        }
        if status.healthy || Instant::now() >= deadline || stop.is_cancelled() {
            return status;
        }
        tokio::select! {
            () = sleep(ROUND_PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// The role in which a node serves: a data node as primary, or as a replica with its link up; a
/// Sentinel if it knows the primary.
///
/// # Errors
/// The reason why it does not serve.
pub async fn node_serves(lab: &Lab, node: &Node) -> Result<&'static str, String> {
    let connector = Connector::new(lab, User::Verifier);
    if lab.sentinels.contains(node) {
        let mut conn = connector
            .open(node.socket())
            .await
            .map_err(|e| e.to_string())?;
        let cmd = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&lab.primary_name)
            .clone();
        return match conn.query::<Option<(String, String)>>(&cmd).await {
            Ok(Some(_)) => Ok("sentinel"),
            Ok(None) => Err(format!("it does not know {}", lab.primary_name)),
            Err(error) => Err(error.to_string()),
        };
    }
    let info = gather::ask_data_node(node, &connector).await?.info;
    match (info.loading, info.is_primary, info.link_up) {
        (true, ..) => Err("it is loading its data".into()),
        (_, true, _) => Ok("primary"),
        (_, _, true) => Ok("replica"),
        _ => Err("it is a replica whose link to the primary is down".into()),
    }
}

impl Status {
    /// Adds to the remedies how a node is started: by `command`, in which `{unit}` stands for the
    /// node's systemd unit. Without `{unit}` the node's name is appended.
    pub fn add_start_command(&mut self, command: &str) {
        for problem in &mut self.problems {
            if let Some(name) = &problem.node {
                let kind = if self.sentinels.iter().any(|s| s.name == *name) {
                    "sentinel"
                } else {
                    "data-node"
                };
                let command = if command.contains("{unit}") {
                    command.replace("{unit}", &format!("halab-{kind}@{name}"))
                } else {
                    format!("{command} {name}")
                };
                let start = format!("start the node {name}");
                problem.remedy = problem
                    .remedy
                    .replace(&start, &format!("{start} ({command})"));
            }
        }
    }

    /// The problems of the lab without those of strangers.
    pub fn problems_without_strangers(&self) -> Vec<Problem> {
        judge::problems(self)
    }

    /// The same without warnings, and without *other-lab-toml*: a node that runs with an older
    /// `lab.toml` does not affect the Sentinels.
    pub fn faults_of_nodes(&self) -> Vec<String> {
        let faults = self.problems_without_strangers();
        let faults = faults
            .iter()
            .filter(|p| p.is_fault() && p.code != ProblemCode::OtherLabToml);
        faults.map(ToString::to_string).collect()
    }

    /// Adds what a recovery needs to a status that is healthy otherwise.
    pub fn add_not_recovered(&mut self, missing: String) {
        if self.healthy {
            self.healthy = false;
            let problem = Problem::of_lab(ProblemCode::NotRecovered, missing);
            self.problems.push(problem);
        }
    }

    /// Observes whether the lab has recovered. Returns the primary.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub async fn recovery(
        &self,
        lab: &Lab,
        connector: &Connector,
        recovery: &mut Recovery,
    ) -> Result<String, String> {
        let full = self.full(lab);
        let sentinels = SentinelClients::new(&full, connector.clone());
        recovery.observe(&full, &sentinels, connector).await
    }

    /// The lab without data nodes that are not full members (they only copy), and without Sentinels
    /// that are neither members nor running.
    fn full(&self, lab: &Lab) -> Lab {
        let mut full = match &self.members {
            Some(member_list) => with_members(lab, member_list),
            None => lab.clone(),
        };
        let runs = |name: &str| {
            let mut sentinels = self.sentinels.iter();
            sentinels.any(|n| n.name == name && n.state.up().is_some())
        };
        full.sentinels
            .retain(|node| self.standing(&node.name).is_some() || runs(&node.name));
        full.data_nodes
            .retain(|node| judge::not_full(self, &node.name).is_none());
        full
    }

    /// Adds to *not-promotable* problems how long each has lasted. `since` has the first time.
    fn add_not_raised_time(&mut self, since: &mut HashMap<String, Instant>, now: Instant) {
        let not_raised = |p: &&mut Problem| p.code == ProblemCode::NotPromotable;
        let mut names = Vec::new();
        for problem in self.problems.iter_mut().filter(not_raised) {
            let name = problem.node.clone().unwrap_or_default();
            let at = *since.entry(name.clone()).or_insert(now);
            problem.what = judge::not_raised(&name, Some(now - at));
            names.push(name);
        }
        since.retain(|name, _| names.contains(name));
    }
}
