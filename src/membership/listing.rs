//! All members, and the `lab.toml` that each node runs with.

use std::net::SocketAddrV4;

use futures_util::future::join_all;
use serde::Serialize;

use crate::access::User;
use crate::client::{Connector, with_members};
use crate::config::{Lab, Node};
use crate::protocol::member_list::{Standing, parse_known_nodes};

use super::primary::find_primary;
use super::{MemberError, kind_of};

/// All members of the lab.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// The version of the list.
    pub version: u64,
    /// Every member, and every other node of `lab.toml`.
    pub nodes: Vec<Row>,
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// `data` or `sentinel`.
    pub kind: &'static str,
    /// Its address.
    pub address: String,
    /// `full`, `counted` (being added or removed), or `none`.
    pub member: &'static str,
    /// It is in this `lab.toml`.
    pub stated: bool,
    /// How the `lab.toml` that its node runs with differs from this one; `None` if the node does
    /// not answer or does not state it.
    pub differs: Option<Vec<String>>,
}

/// The nodes that a supervisor knows.
enum KnownNodes {
    /// Its server does not answer.
    Silent,
    /// Its supervisor states no nodes.
    Unstated,
    /// The nodes that it states.
    Listed(Vec<(String, SocketAddrV4)>),
}

/// The nodes that the supervisor of `node` knows, as it states them on its server.
async fn known_nodes_of(connector: &Connector, node: &Node) -> KnownNodes {
    let cmd = redis::cmd("CLIENT").arg("LIST").clone();
    let list = async {
        let mut conn = connector.open(node.socket()).await?;
        conn.query::<String>(&cmd).await
    };
    let Ok(list) = list.await else {
        return KnownNodes::Silent;
    };
    stated_nodes(&list).map_or(KnownNodes::Unstated, KnownNodes::Listed)
}

/// The nodes that the supervisor states, from the answer to `CLIENT LIST`. Any client can set any
/// name, so those of other users are ignored. Without ACL, every client is `default`.
fn stated_nodes(list: &str) -> Option<Vec<(String, SocketAddrV4)>> {
    list.lines().find_map(|line| {
        let field = |key: &str| line.split(' ').find_map(|field| field.strip_prefix(key));
        let user = field("user=")?;
        if user != User::Node.name() && user != "default" {
            return None;
        }
        parse_known_nodes(field("name=")?)
    })
}

/// What is missing if `node` runs with a `lab.toml` without all of `required`. `None` if nothing
/// is, or if the node does not answer: a lost node will start with the file that is on its host
/// then.
pub(super) async fn nodes_missing_at(
    connector: &Connector,
    node: &Node,
    required: &[Node],
) -> Option<String> {
    let name = &node.name;
    match known_nodes_of(connector, node).await {
        KnownNodes::Silent => None,
        KnownNodes::Unstated => Some(format!(
            "{name} runs a version that does not report its lab.toml"
        )),
        KnownNodes::Listed(known) => {
            let missing = |n: &&Node| !known.contains(&(n.name.clone(), n.socket()));
            let missing = required.iter().filter(missing);
            let missing: Vec<String> = missing
                .map(|n| format!("{} at {}", n.name, n.socket()))
                .collect();
            (!missing.is_empty())
                .then(|| format!("{name} runs with a lab.toml without {}", missing.join(", ")))
        }
    }
}

pub(super) async fn list(lab: &Lab, connector: &Connector) -> Result<Listing, MemberError> {
    let primary = find_primary(lab, connector).await?;
    let member_list = &primary.stored.member_list;
    let all = with_members(lab, member_list);
    let rows = all.nodes().map(|node| async {
        Row {
            name: node.name.clone(),
            kind: node.kind.name(),
            address: node.socket().to_string(),
            member: standing_text(member_list.standing_at(
                kind_of(node),
                &node.name,
                node.socket(),
            )),
            stated: lab.node(&node.name).is_some(),
            differs: match known_nodes_of(connector, node).await {
                KnownNodes::Listed(known) => Some(differences(lab, &known)),
                KnownNodes::Silent | KnownNodes::Unstated => None,
            },
        }
    });
    Ok(Listing {
        version: member_list.version,
        nodes: join_all(rows).await,
    })
}

fn differences(lab: &Lab, known: &[(String, SocketAddrV4)]) -> Vec<String> {
    let missing = lab.nodes().filter(|n| !known.iter().any(|k| k.0 == n.name));
    let missing = missing.map(|n| format!("does not have {}", n.name));
    let others = known.iter().filter_map(|(name, at)| match lab.node(name) {
        None => Some(format!("also has {name}")),
        Some(node) if node.socket() != *at => Some(format!("has {name} at {at}")),
        Some(_) => None,
    });
    missing.chain(others).collect()
}

fn standing_text(standing: Option<Standing>) -> &'static str {
    match standing {
        Some(Standing::Full) => "full",
        Some(Standing::Counted) => "counted",
        None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_supervisor_states_which_nodes_it_knows() {
        let line = |user: &str, name: &str| {
            format!(
                "id=7 addr=127.0.0.1:4 name={name} db=0 cmd=client|setname user={user} redir=-1\n"
            )
        };
        let named = "halab-knows:redis-a=127.0.0.11:6379";
        let of = |list: &[String]| stated_nodes(&list.concat()).map(|nodes| nodes[0].0.clone());
        let own = line("node", named);
        let of_shop = line("shop", "halab-knows:redis-z=127.0.0.11:6379");
        assert_eq!(of(&[of_shop.clone(), own.clone()]), Some("redis-a".into()));
        assert_eq!(of(&[of_shop]), None);
        // Without ACL, all are this user.
        assert_eq!(of(&[line("default", named)]), Some("redis-a".into()));
        assert_eq!(of(&[line("node", "shop")]), None);
    }
}
