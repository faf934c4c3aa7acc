//! The servers that the Sentinels know, compared with `lab.toml`: missing nodes and strangers.
//!
//! Only [`ask`] is not pure.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use futures_util::future::join_all;
use redis::FromRedisValue;
use serde::Serialize;

use crate::client::Connector;
use crate::config::{Lab, Node};
use crate::protocol::strangers::{may_know, unlisted_strangers};
use crate::protocol::vote::SentinelView;

use super::{Problem, ProblemCode, SentinelState, SentinelStatus};

/// The kind of a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StrangerKind {
    /// A replica of the primary.
    Replica,
    /// Another Sentinel.
    Sentinel,
}

/// A Sentinel's entry for a stranger: a server that it knows and that is neither in
/// `lab.toml` nor in the list of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StrangerEntry {
    /// Its kind.
    pub kind: StrangerKind,
    /// Its address. `None` for a replica that left in order: the Sentinel knows it without listing
    /// it.
    pub address: Option<SocketAddrV4>,
    /// Its state.
    pub state: StrangerState,
}

/// The state of a stranger as seen by a Sentinel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StrangerState {
    /// Down, or not listed.
    Down,
    /// Answers, and cannot be promoted.
    Up,
    /// Could be promoted.
    Promotable,
}

/// A stranger, and the Sentinels that know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// Kind, address and state.
    #[serde(flatten)]
    pub entry: StrangerEntry,
    /// The Sentinels that know it.
    pub known_to: Vec<String>,
}

impl Stranger {
    /// Its address in words.
    pub fn address(&self) -> String {
        match self.entry.address {
            Some(address) => address.to_string(),
            None => "an unlisted replica".into(),
        }
    }

    /// The problem of this stranger.
    pub(super) fn problem(&self) -> Problem {
        let (kind, danger) = match (self.entry.kind, self.entry.state) {
            (StrangerKind::Replica, StrangerState::Promotable) => {
                ("data node", "; it could be promoted")
            }
            (StrangerKind::Replica, StrangerState::Up) => ("data node", ""),
            (StrangerKind::Replica, StrangerState::Down) => {
                ("data node", "; a server started there could be promoted")
            }
            (StrangerKind::Sentinel, _) => ("Sentinel", "; it is counted in votes"),
        };
        let remedy = match self.entry.state {
            StrangerState::Down => "halab forget",
            StrangerState::Up | StrangerState::Promotable => {
                "check that this command uses the lab's current lab.toml; if so, stop that server, then run halab forget"
            }
        };
        let what = format!(
            "{} is not a {kind} of lab.toml and is known to {}{danger}",
            self.address(),
            self.known_to.join(", ")
        );
        Problem {
            remedy: remedy.to_owned(),
            ..Problem::of_lab(ProblemCode::Stranger, what)
        }
    }
}

/// The other Sentinels and the names that a Sentinel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownServers {
    /// The other Sentinels, and whether it considers each down.
    sentinels: Vec<(SocketAddrV4, bool)>,
    /// The names under which it monitors a primary.
    names: Vec<String>,
}

/// Asks every Sentinel. `None` for one that does not answer.
pub(super) async fn ask(lab: &Lab, connector: &Connector) -> Vec<Option<KnownServers>> {
    join_all(lab.sentinels.iter().map(|node| async {
        let mut conn = connector.open(node.socket()).await.ok()?;
        let mut pipe = redis::pipe();
        pipe.cmd("SENTINEL").arg("SENTINELS").arg(&lab.primary_name);
        pipe.cmd("SENTINEL").arg("MASTERS");
        read(&conn.pipeline(&pipe).await.ok()?)
    }))
    .await
}

fn read(values: &[redis::Value]) -> Option<KnownServers> {
    let [sentinels, names] = values else {
        return None;
    };
    let fields = |value: &redis::Value| -> Option<Vec<HashMap<String, String>>> {
        FromRedisValue::from_redis_value(value.clone().extract_error().ok()?).ok()
    };
    let sentinels = fields(sentinels)?.into_iter().map(|fields| {
        let address = format!("{}:{}", fields.get("ip")?, fields.get("port")?);
        let flags = fields.get("flags")?;
        let down = flags
            .split(',')
            .any(|f| f == "s_down" || f == "disconnected");
        Some((address.parse().ok()?, down))
    });
    let names = fields(names)?.into_iter().map(|f| f.get("name").cloned());
    Some(KnownServers {
        sentinels: sentinels.collect::<Option<_>>()?,
        names: names.collect::<Option<_>>()?,
    })
}

/// The answers of one Sentinel.
#[derive(Debug)]
pub(super) struct SentinelAnswer<'a> {
    pub(super) node: &'a Node,
    pub(super) view: &'a SentinelView,
    pub(super) known: Option<&'a KnownServers>,
}

/// Compares the servers that a Sentinel knows with those of the lab, and adds the differences to
/// `state`. A data node that `stated` has at another address may be known without being listed.
pub(super) fn compare(
    lab: &Lab,
    stated: &Lab,
    sentinel: &SentinelAnswer<'_>,
    state: &mut SentinelState,
) {
    compare_data_nodes(lab, stated, sentinel.view, state);
    if let Some(known) = sentinel.known {
        let others = lab
            .sentinels
            .iter()
            .filter(|n| n.name != sentinel.node.name);
        compare_sentinels(&others.collect::<Vec<_>>(), known, state);
        let other = known.names.iter().filter(|n| **n != lab.primary_name);
        state.other_names = other.cloned().collect();
    }
}

fn compare_data_nodes(lab: &Lab, stated: &Lab, view: &SentinelView, state: &mut SentinelState) {
    let data_nodes: Vec<SocketAddrV4> = lab.data_nodes.iter().map(Node::socket).collect();
    let unknown = lab.data_nodes.iter();
    let unknown = unknown.filter(|n| !may_know(view, n.socket()));
    state.unknown = unknown.map(|n| n.name.clone()).collect();
    state.known_replicas = view.known_replicas;
    let strangers = view.replicas.iter();
    let strangers = strangers.filter(|r| !data_nodes.contains(&r.address));
    state.strangers = strangers
        .map(|r| StrangerEntry {
            kind: StrangerKind::Replica,
            address: Some(r.address),
            state: match (r.promotable(), r.down || r.disconnected) {
                (true, _) => StrangerState::Promotable,
                (_, true) => StrangerState::Down,
                _ => StrangerState::Up,
            },
        })
        .collect();
    let mut of_lab = data_nodes;
    of_lab.extend(stated.data_nodes.iter().map(Node::socket));
    of_lab.sort_unstable();
    of_lab.dedup();
    let unlisted = unlisted_strangers(view, &of_lab);
    let unlisted = std::iter::repeat_n(None, unlisted).map(|address| StrangerEntry {
        kind: StrangerKind::Replica,
        address,
        state: StrangerState::Down,
    });
    state.strangers.extend(unlisted);
}

/// `others`: the Sentinels of the lab without the one that was asked.
fn compare_sentinels(others: &[&Node], known: &KnownServers, state: &mut SentinelState) {
    let knows = |node: &&&Node| known.sentinels.iter().any(|(a, _)| *a == node.socket());
    let unknown = others.iter().filter(|n| !knows(n));
    state.unknown.extend(unknown.map(|n| n.name.clone()));
    let strangers = known.sentinels.iter();
    let strangers = strangers.filter(|(a, _)| !others.iter().any(|n| n.socket() == *a));
    state
        .strangers
        .extend(strangers.map(|(address, down)| StrangerEntry {
            kind: StrangerKind::Sentinel,
            address: Some(*address),
            state: if *down {
                StrangerState::Down
            } else {
                StrangerState::Up
            },
        }));
}

/// The strangers of all Sentinels, without duplicates.
pub(super) fn strangers(sentinels: &[SentinelStatus]) -> Vec<Stranger> {
    let mut found: Vec<Stranger> = Vec::new();
    for node in sentinels {
        let Some(state) = node.state.up() else {
            continue;
        };
        for entry in &state.strangers {
            let same =
                |s: &&mut Stranger| s.entry.kind == entry.kind && s.entry.address == entry.address;
            match found.iter_mut().find(same) {
                Some(stranger) => {
                    // The most dangerous state counts.
                    stranger.entry.state = stranger.entry.state.max(entry.state);
                    if !stranger.known_to.contains(&node.name) {
                        stranger.known_to.push(node.name.clone());
                    }
                }
                None => found.push(Stranger {
                    entry: entry.clone(),
                    known_to: vec![node.name.clone()],
                }),
            }
        }
    }
    found
}
