//! Reading, writing and applying the list of members. [`crate::protocol::roster`] defines the
//! content.

use std::net::SocketAddrV4;

use redis::FromRedisValue;

use crate::config::{Lab, Node, NodeKind};
use crate::protocol::roster::{MemberKind, ROSTER_KEY, Roster};

use super::{ClientError, Conn, disconnect_clients};

/// Replaces the list only if it still has the text from which the change was derived; `-` stands
/// for no list. Like the mark, it is written even if `maxmemory` is reached.
const CHANGE: &str = "#!lua flags=allow-oom\nlocal there = redis.call('GET', KEYS[1]) or '-'\n\
    if there ~= ARGV[2] then\n\
    return redis.error_reply('CHANGED the list of members was changed meanwhile') end\n\
    return redis.call('SET', KEYS[1], ARGV[1])";
/// Stands for no list of members.
const NONE: &str = "-";

/// A list of members as it was read from a data node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoster {
    /// The parsed list.
    pub roster: Roster,
    /// Its text.
    pub text: String,
}

impl Conn {
    /// The list of members on this node; `None` if there is none, or if a node of a version without
    /// it does not permit the command.
    ///
    /// # Errors
    /// As [`Conn::query`]; or the list is damaged or of a later version.
    pub async fn roster(&mut self) -> Result<Option<StoredRoster>, ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(ROSTER_KEY);
        let to = self.peer();
        let failed = |source| ClientError::Redis { to, source };
        let mut answers = self.pipeline(&pipe).await.map_err(failed)?;
        let text = match answers.pop() {
            Some(redis::Value::ServerError(error)) if error.code() == "NOPERM" => None,
            Some(redis::Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                return Err(ClientError::Members { to });
            }
            Some(value) => value
                .extract_error()
                .and_then(|value| Option::<String>::from_redis_value(value).map_err(Into::into))
                .map_err(failed)?,
            None => None,
        };
        let Some(text) = text else {
            return Ok(None);
        };
        let roster = Roster::from_text(&text).ok_or(ClientError::Members { to })?;
        Ok(Some(StoredRoster { roster, text }))
    }

    /// Replaces the list of members that was read, and closes every connection, in one transaction.
    /// Sessions that began with the old list end with their connections. The server refuses if the
    /// list has changed since.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn change_roster(
        &mut self,
        was: Option<&StoredRoster>,
        next: &Roster,
    ) -> Result<(), ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("MULTI");
        let write = pipe.cmd("EVAL").arg(CHANGE).arg(1).arg(ROSTER_KEY);
        write.arg(next.to_text());
        write.arg(was.map_or(NONE, |was| was.text.as_str()));
        pipe.add_command(disconnect_clients());
        pipe.cmd("EXEC");
        self.all(&pipe).await.map(drop)
    }

    /// States which nodes this program knows, by the name of this connection.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn state_known(&mut self, lab: &Lab) -> Result<(), ClientError> {
        let name = crate::protocol::roster::known_nodes_name(node_addresses(lab).into_iter());
        let cmd = redis::cmd("CLIENT").arg("SETNAME").arg(name).clone();
        self.query::<redis::Value>(&cmd).await.map(drop)
    }
}

/// Names and addresses of all nodes of a lab.
pub fn node_addresses(lab: &Lab) -> Vec<(String, SocketAddrV4)> {
    lab.nodes().map(|n| (n.name.clone(), n.socket())).collect()
}

/// The first list of members of a lab.
pub fn first_roster(lab: &Lab) -> Roster {
    let of = |nodes: &[Node]| {
        let nodes = nodes.iter().map(|n| (n.name.clone(), n.socket()));
        nodes.collect::<Vec<_>>()
    };
    Roster::first(of(&lab.data_nodes), of(&lab.sentinels))
}

/// The lab with exactly the nodes of its list of members, at their addresses there.
pub fn as_in_roster(lab: &Lab, roster: &Roster) -> Lab {
    let nodes = |kind, of| {
        let members = roster.of(of).iter();
        let node = members.map(|member| Node {
            name: member.name.clone(),
            kind,
            address: *member.address.ip(),
            port: member.address.port(),
        });
        node.collect()
    };
    Lab {
        data_nodes: nodes(NodeKind::Data, MemberKind::Data),
        sentinels: nodes(NodeKind::Sentinel, MemberKind::Sentinel),
        ..lab.clone()
    }
}

/// The lab with every node of `lab` and of `roster`; the address in `roster` takes precedence.
pub fn with_members(lab: &Lab, roster: &Roster) -> Lab {
    let mut all = as_in_roster(lab, roster);
    let lacks = |nodes: &[Node], node: &Node| nodes.iter().all(|n| n.name != node.name);
    for node in &lab.data_nodes {
        if lacks(&all.data_nodes, node) {
            all.data_nodes.push(node.clone());
        }
    }
    for node in &lab.sentinels {
        if lacks(&all.sentinels, node) {
            all.sentinels.push(node.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::roster::Standing;

    fn lab() -> Lab {
        Lab::parse(include_str!("../../lab.toml"), None).unwrap()
    }

    #[test]
    fn members_have_the_addresses_of_the_roster() {
        let c: SocketAddrV4 = "127.0.0.13:6379".parse().unwrap();
        let roster = first_roster(&lab()).with(MemberKind::Data, "redis-c", c, Standing::Counted);
        let adopted = as_in_roster(&lab(), &roster);
        let at: Vec<String> = adopted
            .data_nodes
            .iter()
            .map(|n| n.socket().to_string())
            .collect();
        assert_eq!(
            at,
            ["127.0.0.11:6379", "127.0.0.12:6379", "127.0.0.13:6379"]
        );
        assert_eq!(adopted.sentinels, lab().sentinels);
        let without = roster.without(MemberKind::Data, "redis-a");
        assert_eq!(as_in_roster(&lab(), &without).data_nodes.len(), 2);
        assert_eq!(with_members(&lab(), &without).data_nodes.len(), 3);
        assert_eq!(as_in_roster(&lab(), &first_roster(&lab())), lab());
        let moved = roster.moved(&node_addresses(&lab().relocated([127, 0, 7])));
        let moved = as_in_roster(&lab(), &moved);
        assert_eq!(moved.data_nodes[0].socket().to_string(), "127.0.7.11:6379");
    }
}
