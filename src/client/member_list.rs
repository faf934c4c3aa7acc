//! Reading, writing and applying the list of members. [`crate::protocol::member_list`] defines the
//! content.

use std::net::SocketAddrV4;

use redis::FromRedisValue;

use crate::config::{Lab, Node, NodeKind};
use crate::protocol::member_list::{MEMBER_LIST_KEY, MemberKind, MemberList};

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
pub struct StoredMemberList {
    /// The parsed list.
    pub member_list: MemberList,
    /// Its text.
    pub text: String,
}

impl Conn {
    /// The list of members on this node; `None` if there is none, or if a node of a version without
    /// it does not permit the command.
    ///
    /// # Errors
    /// As [`Conn::query`]; or the list is damaged or of a later version.
    pub async fn member_list(&mut self) -> Result<Option<StoredMemberList>, ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(MEMBER_LIST_KEY);
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
        let member_list = MemberList::from_text(&text).ok_or(ClientError::Members { to })?;
        Ok(Some(StoredMemberList { member_list, text }))
    }

    /// Replaces the list of members that was read, and closes every connection, in one transaction.
    /// Sessions that began with the old list end with their connections. The server refuses if the
    /// list has changed since.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn change_member_list(
        &mut self,
        was: Option<&StoredMemberList>,
        next: &MemberList,
    ) -> Result<(), ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("MULTI");
        let write = pipe.cmd("EVAL").arg(CHANGE).arg(1).arg(MEMBER_LIST_KEY);
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
        let name = crate::protocol::member_list::known_nodes_name(node_addresses(lab).into_iter());
        let cmd = redis::cmd("CLIENT").arg("SETNAME").arg(name).clone();
        self.query::<redis::Value>(&cmd).await.map(drop)
    }
}

/// Names and addresses of all nodes of a lab.
pub fn node_addresses(lab: &Lab) -> Vec<(String, SocketAddrV4)> {
    lab.nodes().map(|n| (n.name.clone(), n.socket())).collect()
}

/// The first list of members of a lab.
pub fn first_member_list(lab: &Lab) -> MemberList {
    let of = |nodes: &[Node]| {
        let nodes = nodes.iter().map(|n| (n.name.clone(), n.socket()));
        nodes.collect::<Vec<_>>()
    };
    MemberList::first(of(&lab.data_nodes), of(&lab.sentinels))
}

/// The lab with exactly the nodes of its list of members, at their addresses there.
pub fn as_in_member_list(lab: &Lab, member_list: &MemberList) -> Lab {
    let nodes = |kind, of| {
        let members = member_list.of(of).iter();
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

/// The lab with every node of `lab` and of `member_list`; the address in `member_list` takes
/// precedence.
pub fn with_members(lab: &Lab, member_list: &MemberList) -> Lab {
    let mut all = as_in_member_list(lab, member_list);
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
    use crate::protocol::member_list::Standing;

    fn lab() -> Lab {
        Lab::parse(include_str!("../../lab.toml"), None).unwrap()
    }

    #[test]
    fn members_have_the_addresses_of_the_member_list() {
        let c: SocketAddrV4 = "127.0.0.13:6379".parse().unwrap();
        let member_list =
            first_member_list(&lab()).with(MemberKind::Data, "redis-c", c, Standing::Counted);
        let adopted = as_in_member_list(&lab(), &member_list);
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
        let without = member_list.without(MemberKind::Data, "redis-a");
        assert_eq!(as_in_member_list(&lab(), &without).data_nodes.len(), 2);
        assert_eq!(with_members(&lab(), &without).data_nodes.len(), 3);
        assert_eq!(as_in_member_list(&lab(), &first_member_list(&lab())), lab());
        let moved = member_list.moved(&node_addresses(&lab().relocated([127, 0, 7])));
        let moved = as_in_member_list(&lab(), &moved);
        assert_eq!(moved.data_nodes[0].socket().to_string(), "127.0.7.11:6379");
    }
}
