//! The list of members ([`crate::protocol::roster`]), held against `lab.toml`.

use std::net::SocketAddrV4;

use crate::config::{Lab, Node};
use crate::protocol::roster::{Member, MemberKind, Roster, Standing};
use crate::protocol::vote::{Elected, SentinelView, elect};
use crate::sentinel::Answers;

use super::{Code, Problem, Said, Status};

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

/// Whether the list has other nodes than `lab.toml`, or has them elsewhere.
pub(super) fn differs(lab: &Lab, roster: &Roster) -> bool {
    let members = || roster.data.iter().chain(&roster.sentinels);
    let stated = |m: &Member| lab.node(&m.name).is_some_and(|n| n.socket() == m.address);
    members().count() != lab.nodes().count() || !members().all(stated)
}

/// Why the list on the server of `node` can't be used: it is of before a move, or does not have the primary.
pub(super) fn at_odds(roster: &Roster, node: &Node, is_primary: bool) -> Option<String> {
    match roster.member(MemberKind::Data, &node.name) {
        Some(member) if member.address != node.socket() => {
            Some(format!("it has {} at {}", node.name, member.address))
        }
        None if is_primary => Some(format!("it does not have {}", node.name)),
        _ => None,
    }
}

/// The primary that a majority names, of the members where they are known: others have no say.
pub(super) fn elected(answers: &Answers, members: Option<&Roster>) -> Option<Elected> {
    let Some(roster) = members else {
        return answers.elect().ok();
    };
    let all = answers.all.iter();
    let votes = all.filter(|a| roster.member(MemberKind::Sentinel, &a.sentinel).is_some());
    let views: Vec<SentinelView> = votes.filter_map(|a| a.view.clone().ok()).collect();
    let members = roster.sentinels.len();
    elect(&views, members, members / 2 + 1).ok()
}

/// Takes off the strangers whoever is at an address that `lab.toml` states: of a name that is a member's elsewhere, that is said.
pub(super) fn leave_stated(status: &mut Status) {
    let stated = |at: &SocketAddrV4| status.stated.iter().any(|(_, there)| there == at);
    status
        .strangers
        .retain(|stranger| !stranger.listed.address.as_ref().is_some_and(stated));
}

impl Status {
    fn kind(&self, name: &str) -> Option<MemberKind> {
        if self.data_nodes.iter().any(|n| n.name == name) {
            Some(MemberKind::Data)
        } else {
            let mut sentinels = self.sentinels.iter();
            sentinels
                .any(|n| n.name == name)
                .then_some(MemberKind::Sentinel)
        }
    }

    /// What the list says of that node; `None`: it is not in it. Without a list all are full members.
    pub(super) fn standing(&self, name: &str) -> Option<Standing> {
        match (&self.members, self.kind(name)) {
            (Some(roster), Some(kind)) => roster.standing(kind, name),
            _ => Some(Standing::Full),
        }
    }

    /// Where `lab.toml` has that node, if it states it.
    pub(super) fn stated_at(&self, name: &str) -> Option<SocketAddrV4> {
        let stated = self.stated.iter().find(|(stated, _)| stated == name);
        stated.map(|(_, at)| *at)
    }

    /// The members that `lab.toml` has at another address.
    pub(super) fn elsewhere(&self) -> Vec<Problem> {
        let members = self
            .members
            .iter()
            .flat_map(|r| r.data.iter().chain(&r.sentinels));
        let elsewhere = members.filter_map(|member| {
            let (name, at) = (&member.name, self.stated_at(&member.name)?);
            (at != member.address).then(|| {
                let what = format!(
                    "{name} is a member of the lab at {}, and at {at} in the lab.toml of this command",
                    member.address
                );
                let cause = "a node at another address is another node".to_owned();
                Problem {
                    remedy: format!(
                        "put the address of {name} in lab.toml back on every host; a node at {at} gets a name of its own, is stated beside \
                         {name}, and then: halab member replace {name} NEW"
                    ),
                    ..Problem::of_node(Code::MemberUnstated, name, what).because(Some(cause))
                }
            })
        });
        elsewhere.collect()
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
        let members = self
            .members
            .iter()
            .flat_map(|r| r.data.iter().chain(&r.sentinels));
        for member in members.filter(|member| self.stated_at(&member.name).is_none()) {
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
    use super::super::members::Kind as KnownAs;
    use super::super::{Listed, Standing as Seen, Stranger};
    use super::*;

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    fn lab() -> Lab {
        Lab::parse(include_str!("../../lab.toml"), None).unwrap()
    }

    #[test]
    fn whoever_is_at_a_stated_address_is_no_stranger() {
        let mut status = healthy();
        let stranger = |address: &str| Stranger {
            listed: Listed {
                kind: KnownAs::Replica,
                address: Some(at(address)),
                state: Seen::Up,
            },
            known_to: vec!["sentinel-1".into()],
        };
        status.strangers = vec![stranger("127.0.0.11:6379"), stranger("127.0.0.99:6379")];
        leave_stated(&mut status);
        assert_eq!(status.strangers, [stranger("127.0.0.99:6379")]);
    }

    #[test]
    fn a_list_of_other_nodes_or_of_other_places_differs() {
        let lab = lab();
        let same = crate::client::first_roster(&lab);
        assert!(!differs(&lab, &same));
        assert!(differs(&lab, &same.without(MemberKind::Data, "redis-b")));
        let more = same.with(
            MemberKind::Data,
            "redis-c",
            at("127.0.0.13:6379"),
            Standing::Counted,
        );
        assert!(differs(&lab, &more));
        let there = at("127.0.0.15:6379");
        assert!(differs(
            &lab,
            &same.with(MemberKind::Data, "redis-b", there, Standing::Full)
        ));
    }

    #[test]
    fn a_list_of_before_a_move_and_one_without_the_primary_are_none_to_go_by() {
        let lab = lab();
        let same = crate::client::first_roster(&lab);
        let node = &lab.data_nodes[1];
        assert_eq!(at_odds(&same, node, true), None);
        let moved = same.with(
            MemberKind::Data,
            "redis-b",
            at("127.0.0.15:6379"),
            Standing::Full,
        );
        for is_primary in [true, false] {
            let why = at_odds(&moved, node, is_primary).unwrap();
            assert!(why.contains("redis-b at 127.0.0.15"), "{why}");
        }
        // A replica that is no member copies the list of those that are.
        let without = same.without(MemberKind::Data, "redis-b");
        assert_eq!(at_odds(&without, node, false), None);
        assert!(at_odds(&without, node, true).is_some());
    }
}
