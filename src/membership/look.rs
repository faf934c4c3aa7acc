//! The primary and its roster, and the `lab.toml` that each node runs with.

use std::net::SocketAddrV4;

use futures_util::future::join_all;
use serde::Serialize;

use crate::client::{Connector, Held, as_in_roster, with_members};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Completeness, Copy};
use crate::protocol::roster::known;
use crate::sentinel::Panel;

use super::see::standing;
use super::{MemberError, kind_of};

/// Who is a member of the lab.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// The version of the list.
    pub version: u64,
    /// Every node of the list, and every one that `lab.toml` states beside those.
    pub nodes: Vec<Row>,
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// `data` or `sentinel`.
    pub kind: &'static str,
    /// Where it is.
    pub address: String,
    /// `full`, `counted` (on its way in or out), or `none`.
    pub member: &'static str,
    /// This `lab.toml` states it.
    pub stated: bool,
    /// How the `lab.toml` that its node runs with differs from this one; `None` where it does not answer, or does not say.
    pub differs: Option<Vec<String>>,
}

/// The primary, its roster, and the lab as that has it.
#[derive(Debug, Clone)]
pub(super) struct Leading {
    pub(super) node: Node,
    pub(super) epoch: u64,
    pub(super) held: Held,
    pub(super) lab: Lab,
    /// The lab is closed, to be stopped, and takes no writes.
    pub(super) closed: bool,
}

/// The data node that says that it is primary, has a roster, and is named by a majority of the Sentinels of that roster: those of
/// `lab.toml` may be others.
pub(super) async fn leading(lab: &Lab, connector: &Connector) -> Result<Leading, MemberError> {
    let mut asked: Vec<SocketAddrV4> = Vec::new();
    let mut left: Vec<Node> = lab.data_nodes.clone();
    let mut why =
        "no data node of this lab.toml says that it is primary: see halab status".to_owned();
    while let Some(node) = left.pop() {
        if asked.contains(&node.socket()) {
            continue;
        }
        asked.push(node.socket());
        let said = async {
            let mut conn = connector.open(node.socket()).await?;
            let (info, copy) = conn.holding().await?;
            let mark = copy.as_ref().and_then(Copy::mark);
            let closed = mark.is_some_and(|mark| mark.state == Completeness::Closed);
            Ok::<_, crate::client::ClientError>((info.is_primary, closed, conn.roster().await?))
        };
        let (is_primary, closed, held) = match said.await {
            Ok(said) => said,
            Err(error) if error.is_of_members() => {
                why = format!("{error}; see halab status");
                continue;
            }
            Err(_) => continue,
        };
        let Some(held) = held else {
            if is_primary {
                why = format!(
                    "there is no list of members yet: the node of {} writes it once its role is settled; if it is of an earlier \
                     version, start it again with this one",
                    node.name
                );
            }
            continue;
        };
        let members = as_in_roster(lab, &held.roster);
        if !is_primary {
            // Those that `lab.toml` does not state are asked too.
            left.splice(0..0, members.data_nodes);
            continue;
        }
        match Panel::new(&members, connector.clone()).ask().await.elect() {
            Ok(named) if named.address == node.socket() => {
                let this = members.data_node_at(node.socket()).cloned();
                return Ok(Leading {
                    node: this.unwrap_or(node),
                    epoch: named.epoch,
                    held,
                    lab: members,
                    closed,
                });
            }
            Ok(named) => {
                why = format!(
                    "{} says that it is primary, and the Sentinels name {}: run this again when halab status is healthy",
                    node.name, named.address
                );
            }
            Err(error) => why = format!("{error}; see halab status"),
        }
    }
    Err(MemberError::NotReady(why))
}

/// Which nodes a parent knows.
enum Known {
    /// Its server does not answer.
    Silent,
    /// It states nothing.
    Unstated,
    /// These.
    Of(Vec<(String, SocketAddrV4)>),
}

/// Which nodes the parent of `node` knows, as it states on its server.
async fn knows(connector: &Connector, node: &Node) -> Known {
    let cmd = redis::cmd("CLIENT").arg("LIST").clone();
    let list = async {
        let mut conn = connector.open(node.socket()).await?;
        conn.query::<String>(&cmd).await
    };
    let Ok(list) = list.await else {
        return Known::Silent;
    };
    let mut names = list
        .split([' ', '\n'])
        .filter_map(|f| f.strip_prefix("name="));
    names.find_map(known).map_or(Known::Unstated, Known::Of)
}

/// Why `node` runs with a `lab.toml` without all of `wanted`, if it does. One that does not answer is lost, and will be started
/// with what is on its host then.
pub(super) async fn without(connector: &Connector, node: &Node, wanted: &[Node]) -> Option<String> {
    let name = &node.name;
    match knows(connector, node).await {
        Known::Silent => None,
        Known::Unstated => Some(format!(
            "{name} runs with a version that does not state its lab.toml"
        )),
        Known::Of(known) => {
            let lacks = |n: &&Node| !known.contains(&(n.name.clone(), n.socket()));
            let lacks = wanted.iter().filter(lacks);
            let lacks: Vec<String> = lacks
                .map(|n| format!("{} at {}", n.name, n.socket()))
                .collect();
            (!lacks.is_empty())
                .then(|| format!("{name} runs with a lab.toml without {}", lacks.join(", ")))
        }
    }
}

pub(super) async fn list(lab: &Lab, connector: &Connector) -> Result<Listing, MemberError> {
    let leading = leading(lab, connector).await?;
    let roster = &leading.held.roster;
    let everyone = with_members(lab, roster);
    let rows = everyone.nodes().map(|node| async {
        Row {
            name: node.name.clone(),
            kind: match node.kind {
                crate::config::NodeKind::Data => "data",
                crate::config::NodeKind::Sentinel => "sentinel",
            },
            address: node.socket().to_string(),
            member: standing(roster.standing_at(kind_of(node), &node.name, node.socket())),
            stated: lab.node(&node.name).is_some(),
            differs: match knows(connector, node).await {
                Known::Of(known) => Some(differences(lab, &known)),
                Known::Silent | Known::Unstated => None,
            },
        }
    });
    Ok(Listing {
        version: roster.version,
        nodes: join_all(rows).await,
    })
}

fn differences(lab: &Lab, known: &[(String, SocketAddrV4)]) -> Vec<String> {
    let lacks = lab.nodes().filter(|n| !known.iter().any(|k| k.0 == n.name));
    let lacks = lacks.map(|n| format!("does not state {}", n.name));
    let others = known.iter().filter_map(|(name, at)| match lab.node(name) {
        None => Some(format!("states {name}")),
        Some(node) if node.socket() != *at => Some(format!("has {name} at {at}")),
        Some(_) => None,
    });
    lacks.chain(others).collect()
}
