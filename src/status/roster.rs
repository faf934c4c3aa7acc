//! The list of members ([`crate::protocol::roster`]), held against `lab.toml`.

use std::net::SocketAddrV4;

use crate::config::Lab;
use crate::protocol::roster::{Kind, Roster};

use super::{Code, Problem, Said, Status, members};

/// What the list of members says of a node that `lab.toml` states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is a member there, or there is no list to go by.
    Member,
    /// A member of that name is at another address.
    Elsewhere(SocketAddrV4),
    /// It is not in the list.
    NotListed,
}

/// The list that counts: that of the primary; without one that answers, the newest that a data node has.
pub(super) fn of_lab(
    lab: &Lab,
    primary: Option<SocketAddrV4>,
    said: &[Result<Said, String>],
) -> Option<Roster> {
    let rosters = || {
        let nodes = lab.data_nodes.iter().zip(said);
        nodes.filter_map(|(node, said)| Some((node.socket(), said.as_ref().ok()?.roster.clone()?)))
    };
    let of_primary = rosters().find(|(at, _)| Some(*at) == primary);
    let newest = || rosters().max_by_key(|(_, roster)| roster.version);
    of_primary.or_else(newest).map(|(_, roster)| roster)
}

/// Takes members of the lab off the strangers: who is in the list is none, whatever this `lab.toml` states.
pub(super) fn leave_members(status: &mut Status) {
    let Some(roster) = &status.members else {
        return;
    };
    status.strangers.retain(|stranger| {
        let kind = match stranger.listed.kind {
            members::Kind::Replica => Kind::Data,
            members::Kind::Sentinel => Kind::Sentinel,
        };
        let is_at = |at| roster.of(kind).iter().any(|member| member.address == at);
        !stranger.listed.address.is_some_and(is_at)
    });
}

impl Status {
    /// What the list says of that node of `lab.toml`.
    pub(super) fn place(&self, name: &str) -> Place {
        let data = self.data_nodes.iter();
        let data = data.map(|n| (Kind::Data, &n.name, n.address));
        let sentinels = self.sentinels.iter();
        let mut all = data.chain(sentinels.map(|n| (Kind::Sentinel, &n.name, n.address)));
        let stated = all.find(|(_, stated, _)| *stated == name);
        let (Some(roster), Some((kind, _, at))) = (&self.members, stated) else {
            return Place::Member;
        };
        match roster.member(kind, name) {
            None => Place::NotListed,
            Some(member) if member.address != at => Place::Elsewhere(member.address),
            Some(_) => Place::Member,
        }
    }

    /// The members that this `lab.toml` does not state, and those of the nodes that run with one that does not.
    pub(super) fn unstated(&self) -> Vec<Problem> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        let mut lacks = |member: &str, who: String| match found.iter_mut().find(|f| f.0 == member) {
            Some((_, lacking)) => lacking.push(who),
            None => found.push((member.to_owned(), vec![who])),
        };
        for (name, report) in &self.parents {
            for member in report.up().iter().flat_map(|r| &r.members_unstated) {
                lacks(member, name.clone());
            }
        }
        let stated = |name: &str| {
            self.data_nodes.iter().any(|n| n.name == name)
                || self.sentinels.iter().any(|n| n.name == name)
        };
        let members = self
            .members
            .iter()
            .flat_map(|r| r.data.iter().chain(&r.sentinels));
        for member in members.filter(|member| !stated(&member.name)) {
            lacks(&member.name, "this command".to_owned());
        }
        let problem = |(member, lacking): (String, Vec<String>)| {
            let lacking = lacking.join(" and of ");
            let what =
                format!("{member} is a member of the lab, and not in the lab.toml of {lacking}");
            let cause = "every writer asks it, and waits for its word unless it is down".to_owned();
            Problem::of_node(Code::MemberUnstated, &member, what).because(Some(cause))
        };
        found.into_iter().map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::healthy;
    use super::super::{Listed, Standing, Stranger};
    use super::*;

    fn stranger(kind: members::Kind, address: &str) -> Stranger {
        Stranger {
            listed: Listed {
                kind,
                address: Some(address.parse().unwrap()),
                state: Standing::Up,
            },
            known_to: vec!["sentinel-1".into()],
        }
    }

    #[test]
    fn a_member_is_no_stranger_and_is_one_as_what_it_is() {
        let mut status = healthy();
        let data = [("redis-c".to_owned(), "127.0.0.13:6379".parse().unwrap())];
        let sentinels = [("sentinel-9".to_owned(), "127.0.0.29:26379".parse().unwrap())];
        status.members = Some(Roster::first(data, sentinels));
        let strange = [
            stranger(members::Kind::Replica, "127.0.0.29:26379"),
            stranger(members::Kind::Sentinel, "127.0.0.99:26379"),
        ];
        status.strangers = strange.to_vec();
        status.strangers.extend([
            stranger(members::Kind::Replica, "127.0.0.13:6379"),
            stranger(members::Kind::Sentinel, "127.0.0.29:26379"),
        ]);
        leave_members(&mut status);
        assert_eq!(status.strangers, strange);
    }
}
