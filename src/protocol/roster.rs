//! The roster: who is a member of the lab, stated within the data set, so that a promotion carries it along.
//!
//! `lab.toml` is read once, by each process at its start, and there is a copy of it on every host. So it can't say, for all at
//! once, whose confirmation a write needs. The roster can: it is one key, replicated like a record. Its rules:
//!
//! 1. A data node is promotable only while its own copy of the roster lists it as [`Standing::Full`], at its address. A Sentinel
//!    leads a failover only while the data nodes list it so.
//! 2. A writer asks for the confirmation of every data node in the roster of the primary it is connected to, and asks every
//!    Sentinel in it, whatever its standing. It reads the roster at the begin of a session; whoever changes the roster ends
//!    all sessions in the same transaction.
//! 3. A node comes and goes by way of [`Standing::Counted`], and the next step is taken only when every node that could
//!    be promoted has the step before.
//!
//! So at no moment could a node be promoted, or a failover be led, that a writer leaves out. A lab without a roster is what
//! `lab.toml` says. A node is told by its name: a name is never given to another address while it is a member's.

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// The key of the roster. No pattern of a record matches it.
pub const ROSTER_KEY: &str = "halab-members";

/// How a parent begins the name of its connection to its own server, by which it states which nodes it knows.
pub const KNOWS: &str = "halab-knows:";

/// What a node may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Writers ask it. A data node is never promotable, and a Sentinel never leads a failover: it is on its way in or out.
    Counted,
    /// Writers ask it. A data node is promotable when it is in sync, and a Sentinel leads failovers.
    Full,
}

/// A node of the roster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its name in `lab.toml`.
    pub name: String,
    /// Where it is.
    pub address: SocketAddrV4,
    /// What it may do.
    pub standing: Standing,
}

/// Who is a member of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roster {
    /// Grows with each change.
    pub version: u64,
    /// The data nodes.
    pub data: Vec<Member>,
    /// The Sentinels.
    pub sentinels: Vec<Member>,
}

/// Which of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Data nodes.
    Data,
    /// Sentinels.
    Sentinel,
}

impl Roster {
    /// The first one: everyone of `lab.toml`.
    pub fn first(
        data: impl IntoIterator<Item = (String, SocketAddrV4)>,
        sentinels: impl IntoIterator<Item = (String, SocketAddrV4)>,
    ) -> Self {
        let full = |(name, address)| Member {
            name,
            address,
            standing: Standing::Full,
        };
        Roster {
            version: 1,
            data: data.into_iter().map(full).collect(),
            sentinels: sentinels.into_iter().map(full).collect(),
        }
    }

    /// As text.
    pub fn to_text(&self) -> String {
        // Names, addresses and numbers: there is nothing in it that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From text; `None` where it is none that this version reads.
    pub fn from_text(text: &str) -> Option<Self> {
        let roster: Roster = serde_json::from_str(text).ok()?;
        (!roster.data.is_empty() && !roster.sentinels.is_empty()).then_some(roster)
    }

    /// The nodes of that kind.
    pub fn of(&self, kind: Kind) -> &[Member] {
        match kind {
            Kind::Data => &self.data,
            Kind::Sentinel => &self.sentinels,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Vec<Member> {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Sentinel => &mut self.sentinels,
        }
    }

    /// The member of that kind and name.
    pub fn member(&self, kind: Kind, name: &str) -> Option<&Member> {
        self.of(kind).iter().find(|member| member.name == name)
    }

    /// What the node of that kind and name may do; `None`: not a member.
    pub fn standing(&self, kind: Kind, name: &str) -> Option<Standing> {
        self.member(kind, name).map(|member| member.standing)
    }

    /// What the node at that address may do, as a member of that name; `None`: not a member there.
    pub fn standing_at(&self, kind: Kind, name: &str, at: SocketAddrV4) -> Option<Standing> {
        let member = self.member(kind, name);
        member.filter(|m| m.address == at).map(|m| m.standing)
    }

    /// The members of that kind that are full.
    pub fn full(&self, kind: Kind) -> impl Iterator<Item = &Member> {
        let full = |member: &&Member| member.standing == Standing::Full;
        self.of(kind).iter().filter(full)
    }

    /// The next roster, in which the node is of that standing.
    #[must_use]
    pub fn with(&self, kind: Kind, name: &str, address: SocketAddrV4, standing: Standing) -> Self {
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

    /// The next roster, without that node.
    #[must_use]
    pub fn without(&self, kind: Kind, name: &str) -> Self {
        let mut next = self.next();
        next.of_mut(kind).retain(|member| member.name != name);
        next
    }

    /// The next roster, with everyone of these names at these addresses: the whole lab has moved.
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
        Roster {
            version: self.version + 1,
            ..self.clone()
        }
    }
}

/// How a parent states the nodes of its `lab.toml`: the name of a connection has no blanks.
pub fn knows(nodes: impl Iterator<Item = (String, SocketAddrV4)>) -> String {
    let nodes: Vec<String> = nodes.map(|(name, at)| format!("{name}={at}")).collect();
    format!("{KNOWS}{}", nodes.join(","))
}

/// What was stated so; `None` where it is no such name.
pub fn known(name: &str) -> Option<Vec<(String, SocketAddrV4)>> {
    let nodes = name.strip_prefix(KNOWS)?.split(',');
    nodes
        .map(|node| {
            let (name, at) = node.split_once('=')?;
            Some((name.to_owned(), at.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Kind::{Data, Sentinel};
    use super::*;

    fn at(host: u8) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, host].into(), 6379)
    }

    fn roster() -> Roster {
        Roster::first(
            [("a".into(), at(11)), ("b".into(), at(12))],
            [("s".into(), at(21))],
        )
    }

    #[test]
    fn a_roster_is_read_as_it_was_written_and_anything_else_is_none() {
        let text = roster().to_text();
        assert_eq!(Roster::from_text(&text), Some(roster()));
        for other in ["", "{}", "1", r#"{"version":1,"data":[],"sentinels":[]}"#] {
            assert_eq!(Roster::from_text(other), None, "{other}");
        }
        // Of a later version, which knows a third standing.
        assert_eq!(Roster::from_text(&text.replacen("full", "other", 1)), None);
    }

    #[test]
    fn a_node_comes_and_goes_by_way_of_being_counted() {
        let counted = roster().with(Data, "c", at(13), Standing::Counted);
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
        let standing = |host| roster().standing_at(Data, "a", at(host));
        assert_eq!(standing(11), Some(Standing::Full));
        assert_eq!(standing(13), None);
        let moved = roster().moved(&[("a".into(), at(13))]);
        assert_eq!(moved.standing_at(Data, "a", at(13)), Some(Standing::Full));
        assert_eq!(moved.standing_at(Data, "b", at(12)), Some(Standing::Full));
    }

    #[test]
    fn what_a_parent_knows_is_read_as_it_was_stated() {
        let nodes = vec![("a".to_owned(), at(11)), ("b".to_owned(), at(12))];
        let name = knows(nodes.clone().into_iter());
        assert!(!name.contains(' '));
        assert_eq!(known(&name), Some(nodes));
        assert_eq!(known("something"), None);
        assert_eq!(known("halab-knows:a"), None);
    }
}
