//! Whom the Sentinels know, held against `lab.toml`: who is missing there, and who is a stranger.
//!
//! [`ask`] asks; the rest is pure.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use futures_util::future::join_all;
use redis::FromRedisValue;
use serde::Serialize;

use crate::client::Connector;
use crate::config::{Lab, Node};
use crate::protocol::members::{may_know, unlisted_strangers};
use crate::protocol::vote::SentinelView;

use super::{Code, Problem, SentinelState, SentinelStatus};

/// As what a Sentinel knows an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As a replica of the primary.
    Replica,
    /// As another Sentinel.
    Sentinel,
}

/// An instance that a Sentinel knows and `lab.toml` does not state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// As what.
    pub kind: Kind,
    /// Where it listens; `None`: a replica that left in order, which the Sentinel knows and lists no more.
    pub address: Option<SocketAddrV4>,
    /// How it is.
    pub state: Standing,
}

/// How a Sentinel sees a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is down, or not listed.
    Down,
    /// It answers, and can't be promoted.
    Up,
    /// It could be promoted.
    Promotable,
}

/// A stranger, and who knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// What it is.
    #[serde(flatten)]
    pub listed: Listed,
    /// The Sentinels that know it.
    pub known_to: Vec<String>,
}

impl Stranger {
    /// Its address, or that it has none here.
    pub fn address(&self) -> String {
        match self.listed.address {
            Some(address) => address.to_string(),
            None => "a replica that is not listed".into(),
        }
    }

    /// What is wrong with that.
    pub(super) fn problem(&self) -> Problem {
        let (kind, danger, remedy) = match (self.listed.kind, self.listed.state) {
            (Kind::Replica, Standing::Promotable) => (
                "data node",
                ", and could promote it",
                "see that this command has the lab's current lab.toml; if so, end that server, then: halab forget",
            ),
            (Kind::Replica, Standing::Up) => (
                "data node",
                "",
                "see that this command has the lab's current lab.toml; if so, end that server, then: halab forget",
            ),
            (Kind::Replica, Standing::Down) => (
                "data node",
                ", and could promote who comes up there",
                "halab forget",
            ),
            (Kind::Sentinel, Standing::Down) => {
                ("Sentinel", ", and count it in each vote", "halab forget")
            }
            (Kind::Sentinel, _) => (
                "Sentinel",
                ", and count it in each vote",
                "see that this command has the lab's current lab.toml; if so, end that server, then: halab forget",
            ),
        };
        let what = format!(
            "{} is no {kind} of lab.toml; {} know it{danger}",
            self.address(),
            self.known_to.join(", ")
        );
        Problem {
            remedy: remedy.to_owned(),
            ..Problem::of_lab(Code::Stranger, what)
        }
    }
}

/// What a Sentinel says about whom it knows, beside the data nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// The other Sentinels, and whether it calls each down.
    sentinels: Vec<(SocketAddrV4, bool)>,
    /// The names under which it monitors a primary.
    names: Vec<String>,
}

/// Asks every Sentinel; `None` from one that gives no answer.
pub(super) async fn ask(lab: &Lab, connector: &Connector) -> Vec<Option<Known>> {
    join_all(lab.sentinels.iter().map(|node| async {
        let mut conn = connector.open(node.socket()).await.ok()?;
        let mut pipe = redis::pipe();
        pipe.cmd("SENTINEL").arg("SENTINELS").arg(&lab.primary_name);
        pipe.cmd("SENTINEL").arg("MASTERS");
        read(&conn.pipeline(&pipe).await.ok()?)
    }))
    .await
}

fn read(values: &[redis::Value]) -> Option<Known> {
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
    Some(Known {
        sentinels: sentinels.collect::<Option<_>>()?,
        names: names.collect::<Option<_>>()?,
    })
}

/// Holds what the Sentinel `me` knows against the lab. A data node that is stated elsewhere may be known without being listed.
pub(super) fn compare(
    lab: &Lab,
    stated: &Lab,
    me: &Node,
    view: &SentinelView,
    known: Option<&Known>,
    state: &mut SentinelState,
) {
    let data_nodes: Vec<SocketAddrV4> = lab.data_nodes.iter().map(Node::socket).collect();
    let unknown = lab.data_nodes.iter();
    let unknown = unknown.filter(|n| !may_know(view, n.socket()));
    state.unknown = unknown.map(|n| n.name.clone()).collect();
    state.known_replicas = view.known_replicas;
    let strange = view.replicas.iter();
    let strange = strange.filter(|r| !data_nodes.contains(&r.address));
    state.strangers = strange
        .map(|r| Listed {
            kind: Kind::Replica,
            address: Some(r.address),
            state: match (r.promotable(), r.down || r.disconnected) {
                (true, _) => Standing::Promotable,
                (_, true) => Standing::Down,
                _ => Standing::Up,
            },
        })
        .collect();
    let mut of_lab = data_nodes;
    of_lab.extend(stated.data_nodes.iter().map(Node::socket));
    of_lab.sort_unstable();
    of_lab.dedup();
    let unlisted = unlisted_strangers(view, &of_lab);
    let unlisted = std::iter::repeat_n(None, unlisted).map(|address| Listed {
        kind: Kind::Replica,
        address,
        state: Standing::Down,
    });
    state.strangers.extend(unlisted);
    let Some(known) = known else {
        return;
    };
    let others = || lab.sentinels.iter().filter(|n| n.name != me.name);
    let knows = |node: &&Node| known.sentinels.iter().any(|(a, _)| *a == node.socket());
    let unknown = others().filter(|n| !knows(n)).map(|n| n.name.clone());
    state.unknown.extend(unknown);
    let strange = known.sentinels.iter();
    let strange = strange.filter(|(a, _)| !others().any(|n| n.socket() == *a));
    state
        .strangers
        .extend(strange.map(|(address, down)| Listed {
            kind: Kind::Sentinel,
            address: Some(*address),
            state: if *down { Standing::Down } else { Standing::Up },
        }));
    let other = known.names.iter().filter(|n| **n != lab.primary_name);
    state.other_names = other.cloned().collect();
}

/// The strangers of all Sentinels, each once.
pub(super) fn strangers(sentinels: &[SentinelStatus]) -> Vec<Stranger> {
    let mut found: Vec<Stranger> = Vec::new();
    for node in sentinels {
        let Some(state) = node.state.up() else {
            continue;
        };
        for listed in &state.strangers {
            let same = |s: &&mut Stranger| {
                s.listed.kind == listed.kind && s.listed.address == listed.address
            };
            match found.iter_mut().find(same) {
                Some(stranger) => {
                    // One that is able to promote it is enough.
                    stranger.listed.state = stranger.listed.state.max(listed.state);
                    if !stranger.known_to.contains(&node.name) {
                        stranger.known_to.push(node.name.clone());
                    }
                }
                None => found.push(Stranger {
                    listed: listed.clone(),
                    known_to: vec![node.name.clone()],
                }),
            }
        }
    }
    found
}
