//! `halab status`: how every node of the lab is, and whether the lab as a whole is healthy.
//!
//! [`gather`] asks, the parents by `parents`; `judge` says what follows from the answers, and is pure; [`Code`] lists what can
//! be wrong.

mod judge;
mod members;
mod parents;
mod problem;
mod roster;
mod stakes;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::{ClientError, Connector, ReplicationInfo, places, with_members};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Copy, PARKED_PORT};
use crate::protocol::roster::Roster;
use crate::protocol::vote::{Elected, SentinelView};
use crate::recovery::Recovery;
use crate::report::{Description, NodeReport};
use crate::sentinel::Panel;

pub use members::{Kind, Listed, Standing, Stranger};
pub use problem::{Code, Problem, Severity};
pub use table::render;

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Pause between two looks while waiting for a healthy lab.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All that was found out about a lab in one look.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The lab's name.
    pub lab: String,
    /// The primary that a majority of the Sentinels names.
    pub primary: Option<Named>,
    /// The data nodes, in the order of `lab.toml`.
    pub data_nodes: Vec<DataNodeStatus>,
    /// The Sentinels, in the order of `lab.toml`.
    pub sentinels: Vec<SentinelStatus>,
    /// Whom the Sentinels know and `lab.toml` does not state.
    pub strangers: Vec<Stranger>,
    /// The list of members, as the primary has it; without one that answers, the newest that a data node has.
    pub members: Option<Roster>,
    /// Nothing is wrong.
    pub healthy: bool,
    /// What holds while something is wrong: whether writes are taken, and what the next loss would cost. Nothing in a healthy lab.
    pub stakes: Vec<String>,
    /// What is wrong, warnings among them.
    pub problems: Vec<Problem>,
    /// What each node's parent states, by the node's name; of one that is gone, its last note in this state folder.
    pub parents: BTreeMap<String, Reached<NodeReport>>,
    /// The lab as this program knows it.
    #[serde(skip)]
    pub description: Description,
    /// Names and addresses of the nodes that this `lab.toml` states.
    #[serde(skip)]
    pub stated: Vec<(String, SocketAddrV4)>,
}

/// A primary and since which epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The node's name, or its address when it is not of this lab.
    pub node: String,
    /// The epoch of the configuration that made it primary.
    pub epoch: u64,
}

/// How a data node is.
#[derive(Debug, Clone, Serialize)]
pub struct DataNodeStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// What it holds, in words; of one that is out of reach, what its node noted last in this state folder.
    pub holds: Option<String>,
    /// What it says of itself, or why it says nothing.
    #[serde(flatten)]
    pub state: Reached<DataNodeState>,
}

/// An answer, or why there is none.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached<T> {
    /// It answered.
    Up(T),
    /// It did not, for this reason.
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

/// What a data node says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct DataNodeState {
    /// Process id of the server, on its machine.
    pub pid: u32,
    /// `primary`, `replica`, `loading`, or `parked`: a replica of nobody, whose node has not decided its role.
    pub role: &'static str,
    /// As a replica: of which node.
    pub replica_of: Option<String>,
    /// As a replica: whether its link is up and the first sync is done.
    pub link_up: Option<bool>,
    /// As a replica: whether it may be promoted.
    pub promotable: Option<bool>,
    /// Its replication offset in bytes.
    pub offset: u64,
    /// As a replica: bytes that the primary has sent and it has not processed yet.
    pub lag_bytes: Option<u64>,
    /// As a primary: replicas whose link is online.
    pub replicas: Option<usize>,
    /// The server's version.
    pub version: String,
    /// Why its list of members can't be used.
    pub members_unusable: Option<String>,
}

/// How a Sentinel is and what it sees.
#[derive(Debug, Clone, Serialize)]
pub struct SentinelStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// What it says, or why it says nothing.
    #[serde(flatten)]
    pub state: Reached<SentinelState>,
}

/// What a Sentinel sees.
#[derive(Debug, Clone, Serialize)]
pub struct SentinelState {
    /// Whom it calls primary.
    pub primary: Named,
    /// It calls the primary down, by itself.
    pub primary_down: bool,
    /// A failover is under way.
    pub failover_in_progress: bool,
    /// The other Sentinels that it knows.
    pub other_sentinels: u64,
    /// How many replicas it knows, listed or not.
    pub known_replicas: u64,
    /// The replicas that it could promote.
    pub promotable: Vec<String>,
    /// Nodes of the lab that it does not know.
    pub unknown: Vec<String>,
    /// Whom it knows and `lab.toml` does not state.
    pub strangers: Vec<Listed>,
    /// Names under which it monitors a primary, beside the lab's.
    pub other_names: Vec<String>,
    /// `CKQUORUM`: it reaches the quorum and a majority.
    pub quorum_ok: bool,
    /// What `CKQUORUM` said.
    pub quorum: String,
}

/// Looks at every node of the lab once. Where the list of members has others than `lab.toml`, or has them elsewhere, those are
/// asked too: what is healthy is decided by the members.
pub async fn gather(lab: &Lab) -> Status {
    let status = look(lab, lab, None).await;
    match &status.members {
        Some(roster) if roster::differs(lab, roster) => {
            look(lab, &with_members(lab, roster), Some(roster)).await
        }
        _ => status,
    }
}

/// Looks at every node of `lab` once, which has those of `stated` and all `members`.
async fn look(stated: &Lab, lab: &Lab, members: Option<&Roster>) -> Status {
    let connector = Connector::new(lab, User::Verifier, ANSWER_LIMIT);
    let panel = Panel::new(lab, connector.clone());
    let nodes = lab.data_nodes.iter();
    let infos = join_all(nodes.map(|node| read_info(node, &connector)));
    let (answers, quorum, known, infos, parents) = tokio::join!(
        panel.ask_each(),
        panel.check_quorum(),
        members::ask(lab, &connector),
        infos,
        parents::ask(lab),
    );
    let elected = roster::elected(&answers, members);
    let named_at = elected.map(|elected| elected.address);
    let members = roster::of_lab(lab, named_at, &infos);
    let offset = primary_offset(lab, elected, &infos);
    let data_nodes = lab
        .data_nodes
        .iter()
        .zip(&infos)
        .map(|(node, info)| DataNodeStatus {
            name: node.name.clone(),
            address: node.socket(),
            holds: match info {
                Ok(said) => said.copy.as_ref().map(ToString::to_string),
                Err(_) => None,
            },
            state: match info {
                Ok(said) => Reached::Up(data_node_state(lab, said, offset)),
                Err(why) => Reached::Unreachable(why.clone()),
            },
        })
        .collect();
    let sentinels: Vec<SentinelStatus> = lab
        .sentinels
        .iter()
        .zip(answers.all.into_iter().zip(quorum).zip(known))
        .map(|(node, ((answer, (_, quorum)), known))| SentinelStatus {
            name: node.name.clone(),
            address: node.socket(),
            state: match answer.view {
                Ok(view) => {
                    let mut state = sentinel_state(lab, &view, quorum);
                    let known = known.as_ref();
                    members::compare(lab, stated, node, &view, known, &mut state);
                    Reached::Up(state)
                }
                Err(why) => Reached::Unreachable(why),
            },
        })
        .collect();
    let mut status = Status {
        lab: lab.name.clone(),
        primary: elected.map(|e| named(lab, e.address, e.epoch)),
        data_nodes,
        strangers: members::strangers(&sentinels),
        sentinels,
        members,
        healthy: false,
        stakes: Vec::new(),
        problems: Vec::new(),
        parents,
        description: Description::of(stated),
        stated: places(stated),
    };
    roster::leave_stated(&mut status);
    status.problems = status.problems_beside_strangers();
    let strangers = status.strangers.iter().map(Stranger::problem);
    status.problems.extend(strangers);
    status.healthy = !status.problems.iter().any(Problem::is_fault);
    status.stakes = stakes::stakes(&status);
    status
}

/// Looks until the lab is recovered, the time is over or `stop` is cancelled. Returns the last look; without a
/// limit that is the only one, which says whether the lab is healthy.
///
/// *Recovered* as in `docs/protocol.md`: healthy, and since then every replica has processed what its primary
/// had at that time. One that was cut off for a short time looks healthy before it has.
pub async fn wait_healthy(lab: &Lab, limit: Duration, stop: &CancellationToken) -> Status {
    let deadline = Instant::now() + limit;
    let connector = Connector::new(lab, User::Verifier, ANSWER_LIMIT);
    let mut recovery = Recovery::default();
    let mut not_raised_since = HashMap::new();
    loop {
        let mut status = gather(lab).await;
        status.tell_since(&mut not_raised_since, Instant::now());
        if !limit.is_zero() {
            let full = status.full(lab);
            let panel = Panel::new(&full, connector.clone());
            let missing = recovery.observe(&full, &panel, &connector).await.err();
            if let Some(missing) = missing.filter(|_| status.healthy) {
                status.healthy = false;
                let problem = Problem::of_lab(Code::NotRecovered, missing);
                status.problems.push(problem);
            }
        }
        if status.healthy || Instant::now() >= deadline || stop.is_cancelled() {
            return status;
        }
        tokio::select! {
            () = sleep(LOOK_AGAIN) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Whether one node serves: a data node as primary, or as a replica whose link is up; a Sentinel when it
/// knows the primary.
///
/// # Errors
/// Why it does not.
pub async fn node_serves(lab: &Lab, node: &Node) -> Result<&'static str, String> {
    let connector = Connector::new(lab, User::Verifier, ANSWER_LIMIT);
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
            Ok(None) => Err(format!("does not know {}", lab.primary_name)),
            Err(error) => Err(error.to_string()),
        };
    }
    let info = read_info(node, &connector).await?.info;
    match (info.loading, info.is_primary, info.link_up) {
        (true, ..) => Err("loads its data".into()),
        (_, true, _) => Ok("primary"),
        (_, _, true) => Ok("replica"),
        _ => Err("a replica whose link to the primary is down".into()),
    }
}

/// What a data node's server says.
struct Said {
    info: ReplicationInfo,
    copy: Option<Copy>,
    roster: Option<Roster>,
    /// Why there is none that can be used.
    roster_unusable: Option<String>,
}

async fn read_info(node: &Node, connector: &Connector) -> Result<Said, String> {
    let mut conn = connector
        .open(node.socket())
        .await
        .map_err(|e| e.to_string())?;
    let (info, copy) = conn.holding().await.map_err(|e| e.to_string())?;
    // A server that loads its data answers this with an error.
    let held = conn.roster().await;
    let unreadable = held.as_ref().is_err_and(ClientError::is_of_members);
    let mut roster = held.ok().flatten().map(|held| held.roster);
    let elsewhere = roster
        .as_ref()
        .and_then(|roster| roster::at_odds(roster, node, info.is_primary));
    if elsewhere.is_some() {
        roster = None;
    }
    Ok(Said {
        info,
        copy,
        roster,
        roster_unusable: match unreadable {
            true => Some("it is of a later version of halab, or damaged".into()),
            false => elsewhere,
        },
    })
}

fn primary_offset(
    lab: &Lab,
    elected: Option<Elected>,
    infos: &[Result<Said, String>],
) -> Option<u64> {
    let at = lab
        .data_nodes
        .iter()
        .position(|n| Some(n.socket()) == elected.map(|e| e.address))?;
    infos.get(at)?.as_ref().ok().map(|said| said.info.offset)
}

fn name_of(lab: &Lab, address: SocketAddrV4) -> String {
    lab.data_node_at(address)
        .map_or_else(|| address.to_string(), |n| n.name.clone())
}

fn named(lab: &Lab, address: SocketAddrV4, epoch: u64) -> Named {
    Named {
        node: name_of(lab, address),
        epoch,
    }
}

fn data_node_state(lab: &Lab, said: &Said, primary: Option<u64>) -> DataNodeState {
    let info = &said.info;
    let parked = info.primary.is_some_and(|p| p.port() == PARKED_PORT);
    let replica = !info.is_primary && !parked;
    DataNodeState {
        pid: info.pid,
        role: match (info.loading, info.is_primary) {
            (true, _) => "loading",
            (_, true) => "primary",
            _ if parked => "parked",
            _ => "replica",
        },
        replica_of: info.primary.filter(|_| replica).map(|p| name_of(lab, p)),
        link_up: replica.then_some(info.link_up && !info.syncing),
        promotable: replica.then_some(info.priority > 0),
        offset: info.offset,
        // The two offsets were not read at the same moment.
        lag_bytes: primary
            .filter(|_| replica)
            .map(|p| p.saturating_sub(info.offset)),
        replicas: info.is_primary.then_some(info.online.len()),
        version: info.version.clone(),
        members_unusable: said.roster_unusable.clone(),
    }
}

fn sentinel_state(lab: &Lab, view: &SentinelView, quorum: Result<String, String>) -> SentinelState {
    SentinelState {
        primary: named(lab, view.primary, view.config_epoch),
        primary_down: view.primary_s_down,
        failover_in_progress: view.failover_in_progress,
        other_sentinels: view.other_sentinels,
        known_replicas: view.known_replicas,
        unknown: Vec::new(),
        strangers: Vec::new(),
        other_names: Vec::new(),
        promotable: view
            .replicas
            .iter()
            .filter(|r| r.promotable())
            .map(|r| name_of(lab, r.address))
            .collect(),
        quorum_ok: quorum.is_ok(),
        quorum: quorum.unwrap_or_else(|e| e),
    }
}

/// Where the node of that folder notes what it holds, for whoever asks while its server is down.
const NOTE: &str = "holds";
/// Where a node that has ended with an error, or was stopped, notes that, in its folder.
const END_NOTE: &str = "ended.json";

impl Status {
    /// Adds, for data nodes that are out of reach, what their nodes noted last under `state_root`.
    pub fn recall(&mut self, state_root: &Path) {
        let away = |node: &&mut DataNodeStatus| node.state.up().is_none();
        for node in self.data_nodes.iter_mut().filter(away) {
            // Of another host, or never started here: nothing is known.
            let note = fs::read_to_string(state_root.join(&node.name).join(NOTE)).ok();
            node.holds = note.map(|note| format!("{} (as its node saw it last)", note.trim()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.recall_ends(state_root, now.unwrap_or_default().as_secs());
    }

    /// Says why nodes that are gone have ended, where they have noted that here.
    fn recall_ends(&mut self, state_root: &Path, now: u64) {
        let gone = |p: &&mut Problem| p.code == Code::NodeDown;
        for problem in self.problems.iter_mut().filter(gone) {
            let Some(name) = problem.node.clone() else {
                continue;
            };
            let note = fs::read(state_root.join(&name).join(END_NOTE)).ok();
            let note: Option<NodeReport> = note.and_then(|n| serde_json::from_slice(&n).ok());
            if let Some(mut report) = note {
                if let (Some(said), Some(at)) =
                    (&mut report.said, report.ended_at.or(report.stopped_at))
                {
                    // It was told as it was then. A clock that was set back since adds nothing.
                    said.ago_s = said.ago_s.map(|ago| ago + now.saturating_sub(at));
                }
                *problem = judge::ended(&name, &problem.what, &report, now);
                self.parents.insert(name, Reached::Up(report));
            }
        }
    }

    /// Says in the remedies how a node is started: by `command`, with the node's unit of systemd in place of `{unit}`, or
    /// else with its name at the end.
    pub fn name_start_command(&mut self, command: &str) {
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

    /// What is wrong with the nodes of the lab. Without strangers as well, the lab can lose any one node.
    pub fn problems_beside_strangers(&self) -> Vec<Problem> {
        judge::problems(self)
    }

    /// The same, without what leaves the lab healthy, and without what says nothing about the Sentinels: a node may run with a
    /// `lab.toml` of before.
    pub fn faults_of_nodes(&self) -> Vec<String> {
        let faults = self.problems_beside_strangers();
        let faults = faults
            .iter()
            .filter(|p| p.is_fault() && p.code != Code::OtherLabToml);
        faults.map(ToString::to_string).collect()
    }

    /// The lab without data nodes that are no full members, which only copy, and without Sentinels that are no members and do
    /// not run.
    fn full(&self, lab: &Lab) -> Lab {
        let mut full = match &self.members {
            Some(roster) => with_members(lab, roster),
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

    /// Says of each replica that is in sync and not promotable for how long it has been so in all looks.
    fn tell_since(&mut self, since: &mut HashMap<String, Instant>, now: Instant) {
        let waits = |p: &&mut Problem| p.code == Code::NotPromotable;
        let mut names = Vec::new();
        for problem in self.problems.iter_mut().filter(waits) {
            let name = problem.node.clone().unwrap_or_default();
            let at = *since.entry(name.clone()).or_insert(now);
            problem.what = judge::not_raised(&name, Some(now - at));
            names.push(name);
        }
        since.retain(|name, _| names.contains(name));
    }
}
