//! The list of members. It is stored in the data set, so a promotion carries it along.
//!
//! Each process reads `lab.toml` once, at its start, and each host has its own copy of that file.
//! So `lab.toml` cannot define, for all processes at once, which nodes must confirm a write. The
//! list of members can: it is one key, replicated like a record. Its rules:
//!
//! 1. A data node is promotable only while its own copy of the list has it as [`Standing::Full`],
//!    at its address. A Sentinel leads failovers only while the data nodes list it as full.
//! 2. A writer needs the confirmation of every data node in the list of its primary, and asks every
//!    Sentinel in it, whatever the standing. It reads the list when a session begins. A change of
//!    the list ends all sessions in the same transaction.
//! 3. A node is added and removed by way of [`Standing::Counted`]. Each step begins only when every
//!    node that could be promoted has the step before.
//!
//! So no node that a writer leaves out can be promoted or lead a failover. Without a list, the
//! members are those of `lab.toml`. A member is identified by its name, which never gets another
//! address while it is a member's.

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// The key of the list of members. It matches no pattern of a record.
pub const MEMBER_LIST_KEY: &str = "halab-members";

/// Prefix of the connection name by which a supervisor states, on its own server, the nodes it
/// knows.
pub const KNOWN_NODES_PREFIX: &str = "halab-knows:";

/// The standing of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Writers ask it. As a data node it is not promotable, as a Sentinel it leads no failover. The
    /// node is being added or removed.
    Counted,
    /// Writers ask it. A data node is promotable when it is in sync; a Sentinel leads failovers.
    Full,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its name in `lab.toml`.
    pub name: String,
    /// Its address.
    pub address: SocketAddrV4,
    /// Its standing.
    pub standing: Standing,
}

/// The list of members.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemberList {
    /// Grows with each change.
    pub version: u64,
    /// The data nodes.
    pub data: Vec<Member>,
    /// The Sentinels.
    pub sentinels: Vec<Member>,
}

/// Data node or Sentinel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberKind {
    /// Data nodes.
    Data,
    /// Sentinels.
    Sentinel,
}

impl MemberList {
    /// The first list: all nodes of `lab.toml`, as full members.
    pub fn first(
        data: impl IntoIterator<Item = (String, SocketAddrV4)>,
        sentinels: impl IntoIterator<Item = (String, SocketAddrV4)>,
    ) -> Self {
        let full = |(name, address)| Member {
            name,
            address,
            standing: Standing::Full,
        };
        MemberList {
            version: 1,
            data: data.into_iter().map(full).collect(),
            sentinels: sentinels.into_iter().map(full).collect(),
        }
    }

    /// Its text, as stored.
    pub fn to_text(&self) -> String {
        // Serializing names, addresses and numbers cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses its text; `None` if this version cannot read it.
    pub fn from_text(text: &str) -> Option<Self> {
        let member_list: MemberList = serde_json::from_str(text).ok()?;
        (!member_list.data.is_empty() && !member_list.sentinels.is_empty()).then_some(member_list)
    }

    /// The members of that kind.
    pub fn of(&self, kind: MemberKind) -> &[Member] {
        match kind {
            MemberKind::Data => &self.data,
            MemberKind::Sentinel => &self.sentinels,
        }
    }

    fn of_mut(&mut self, kind: MemberKind) -> &mut Vec<Member> {
        match kind {
            MemberKind::Data => &mut self.data,
            MemberKind::Sentinel => &mut self.sentinels,
        }
    }

    /// The member of that kind and name.
    pub fn member(&self, kind: MemberKind, name: &str) -> Option<&Member> {
        self.of(kind).iter().find(|member| member.name == name)
    }

    /// The standing of the node with that kind and name; `None` if it is not a member.
    pub fn standing(&self, kind: MemberKind, name: &str) -> Option<Standing> {
        self.member(kind, name).map(|member| member.standing)
    }

    /// The standing of the node with that kind and name, if it is a member at that address.
    pub fn standing_at(&self, kind: MemberKind, name: &str, at: SocketAddrV4) -> Option<Standing> {
        let member = self.member(kind, name);
        member.filter(|m| m.address == at).map(|m| m.standing)
    }

    /// The full members of that kind.
    pub fn full(&self, kind: MemberKind) -> impl Iterator<Item = &Member> {
        let full = |member: &&Member| member.standing == Standing::Full;
        self.of(kind).iter().filter(full)
    }

    /// The next list, with the node at that standing.
    #[must_use]
    pub fn with(
        &self,
        kind: MemberKind,
        name: &str,
        address: SocketAddrV4,
        standing: Standing,
    ) -> Self {
        let mut next = self.next();
        let member = Member {
            name: name.to_owned(),
            address,
            standing,
        };
        let members = next.of_mut(kind);
        match members.iter_mut().find(|m| m.name == name) {
            Some(there) => *there = member,
            None => members.push(member),
        }
        next
    }

    /// The next list, without that node.
    #[must_use]
    pub fn without(&self, kind: MemberKind, name: &str) -> Self {
        let mut next = self.next();
        next.of_mut(kind).retain(|member| member.name != name);
        next
    }

    /// The next list, with the members of these names at these addresses, after the lab has moved.
    #[must_use]
    pub fn moved(&self, places: &[(String, SocketAddrV4)]) -> Self {
        let mut next = self.next();
        for member in next.data.iter_mut().chain(&mut next.sentinels) {
            if let Some((_, at)) = places.iter().find(|(name, _)| *name == member.name) {
                member.address = *at;
            }
        }
        next
    }

    fn next(&self) -> Self {
        MemberList {
            version: self.version + 1,
            ..self.clone()
        }
    }
}

/// The connection name that states the nodes a supervisor knows. Such names contain no blanks.
pub fn known_nodes_name(nodes: impl Iterator<Item = (String, SocketAddrV4)>) -> String {
    let nodes: Vec<String> = nodes.map(|(name, at)| format!("{name}={at}")).collect();
    format!("{KNOWN_NODES_PREFIX}{}", nodes.join(","))
}

/// The nodes in such a connection name; `None` for any other name.
pub fn parse_known_nodes(name: &str) -> Option<Vec<(String, SocketAddrV4)>> {
    let nodes = name.strip_prefix(KNOWN_NODES_PREFIX)?.split(',');
    nodes
        .map(|node| {
            let (name, at) = node.split_once('=')?;
            Some((name.to_owned(), at.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::MemberKind::{Data, Sentinel};
    use super::*;

    fn at(host: u8) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, host].into(), 6379)
    }

    fn member_list() -> MemberList {
        MemberList::first(
            [("a".into(), at(11)), ("b".into(), at(12))],
            [("s".into(), at(21))],
        )
    }

    #[test]
    fn a_member_list_is_read_as_it_was_written_and_anything_else_is_none() {
        let text = member_list().to_text();
        assert_eq!(MemberList::from_text(&text), Some(member_list()));
        for other in ["", "{}", "1"] {
            assert_eq!(MemberList::from_text(other), None, "{other}");
        }
        // A lab has nodes of both kinds.
        let mut no_data = member_list();
        no_data.data.clear();
        let mut no_sentinels = member_list();
        no_sentinels.sentinels.clear();
        for other in [no_data, no_sentinels] {
            assert_eq!(MemberList::from_text(&other.to_text()), None, "{other:?}");
        }
        // From a later version with a third standing.
        assert_eq!(
            MemberList::from_text(&text.replacen("full", "other", 1)),
            None
        );
    }

    #[test]
    fn a_node_comes_and_goes_by_way_of_being_counted() {
        let counted = member_list().with(Data, "c", at(13), Standing::Counted);
        assert_eq!(counted.version, 2);
        assert_eq!(counted.standing(Data, "c"), Some(Standing::Counted));
        assert_eq!(counted.standing(Sentinel, "c"), None);
        assert_eq!(counted.full(Data).count(), 2);
        let full = counted.with(Data, "c", at(13), Standing::Full);
        assert_eq!((full.full(Data).count(), full.data.len()), (3, 3));
        let gone = full.with(Data, "a", at(11), Standing::Counted);
        let gone = gone.without(Data, "a");
        assert_eq!(gone.standing(Data, "a"), None);
        assert_eq!((gone.version, gone.data.len()), (5, 2));
    }

    #[test]
    fn a_name_at_another_address_is_not_a_member() {
        let standing = |host| member_list().standing_at(Data, "a", at(host));
        assert_eq!(standing(11), Some(Standing::Full));
        assert_eq!(standing(13), None);
        let moved = member_list().moved(&[("a".into(), at(13))]);
        assert_eq!(moved.standing_at(Data, "a", at(13)), Some(Standing::Full));
        assert_eq!(moved.standing_at(Data, "b", at(12)), Some(Standing::Full));
    }

    #[test]
    fn what_a_parent_knows_is_read_as_it_was_stated() {
        let nodes = vec![("a".to_owned(), at(11)), ("b".to_owned(), at(12))];
        let name = known_nodes_name(nodes.clone().into_iter());
        assert!(!name.contains(' '));
        assert_eq!(parse_known_nodes(&name), Some(nodes));
        assert_eq!(parse_known_nodes("something"), None);
        assert_eq!(parse_known_nodes("halab-knows:a"), None);
    }
}
