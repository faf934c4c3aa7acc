//! The list of members ([`crate::protocol::member_list`]), compared with `lab.toml`.

use std::net::SocketAddrV4;

use crate::config::{Lab, Node};
use crate::protocol::member_list::{Member, MemberKind, MemberList, Standing};
use crate::protocol::vote::{Elected, SentinelView, elect};
use crate::sentinel::Answers;

use super::{Problem, ProblemCode, Status};

/// The list that counts, of the `lists` by the addresses of their data nodes: that of the primary,
/// or the newest one if no primary answers.
pub(super) fn of_lab(
    primary: Option<SocketAddrV4>,
    lists: &[(SocketAddrV4, &MemberList)],
) -> Option<MemberList> {
    let of_primary = lists.iter().find(|(at, _)| Some(*at) == primary);
    let newest = || {
        lists
            .iter()
            .max_by_key(|(_, member_list)| member_list.version)
    };
    of_primary
        .or_else(newest)
        .map(|(_, member_list)| (*member_list).clone())
}

/// Whether the list has other nodes or addresses than `lab.toml`.
pub(super) fn differs(lab: &Lab, member_list: &MemberList) -> bool {
    let members = || member_list.data.iter().chain(&member_list.sentinels);
    let stated = |m: &Member| lab.node(&m.name).is_some_and(|n| n.socket() == m.address);
    members().count() != lab.nodes().count() || !members().all(stated)
}

/// Why the list on the server of `node` cannot be used: it was written before a move, or does not
/// have the primary.
pub(super) fn mismatch(member_list: &MemberList, node: &Node, is_primary: bool) -> Option<String> {
    match member_list.member(MemberKind::Data, &node.name) {
        Some(member) if member.address != node.socket() => {
            Some(format!("it has {} at {}", node.name, member.address))
        }
        None if is_primary => Some(format!("it does not have {}", node.name)),
        _ => None,
    }
}

/// The primary that a majority of the Sentinels names. If the members are known, only their votes
/// count.
pub(super) fn elected(answers: &Answers, members: Option<&MemberList>) -> Option<Elected> {
    let Some(member_list) = members else {
        return answers.elect().ok();
    };
    let all = answers.all.iter();
    let votes = all.filter(|a| {
        member_list
            .member(MemberKind::Sentinel, &a.sentinel)
            .is_some()
    });
    let views: Vec<SentinelView> = votes.filter_map(|a| a.view.clone().ok()).collect();
    let members = member_list.sentinels.len();
    elect(&views, members, members / 2 + 1).ok()
}

/// Removes strangers at an address of `lab.toml`. If the name is a member at another address, that
/// is a problem of its own ([`Status::elsewhere`]).
pub(super) fn remove_stated_strangers(status: &mut Status) {
    let stated = |at: &SocketAddrV4| status.stated.iter().any(|(_, address)| address == at);
    status
        .strangers
        .retain(|stranger| !stranger.entry.address.as_ref().is_some_and(stated));
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

    /// The standing of a node in the list of members, or `None` if it is not in the list. Without a
    /// list, every node is a full member.
    pub(super) fn standing(&self, name: &str) -> Option<Standing> {
        match (&self.members, self.kind(name)) {
            (Some(member_list), Some(kind)) => member_list.standing(kind, name),
            _ => Some(Standing::Full),
        }
    }

    /// The address of a node in `lab.toml`.
    pub(super) fn stated_at(&self, name: &str) -> Option<SocketAddrV4> {
        let stated = self.stated.iter().find(|(stated, _)| stated == name);
        stated.map(|(_, at)| *at)
    }

    /// Problems: members that `lab.toml` has at another address.
    pub(super) fn elsewhere(&self) -> Vec<Problem> {
        let members = self
            .members
            .iter()
            .flat_map(|r| r.data.iter().chain(&r.sentinels));
        let elsewhere = members.filter_map(|member| {
            let (name, at) = (&member.name, self.stated_at(&member.name)?);
            (at != member.address).then(|| {
                let what = format!(
                    "{name} is a member of the lab at {}, but is at {at} in the lab.toml of this command",
                    member.address
                );
                let cause = "a node at another address is another node".to_owned();
                Problem {
                    remedy: format!(
                        "restore the address of {name} in lab.toml on every host; to move it to {at}, add the node there to lab.toml \
                         with a name of its own, then run: halab member replace {name} NEW"
                    ),
                    ..Problem::of_node(ProblemCode::MemberUnstated, name, what).because(Some(cause))
                }
            })
        });
        elsewhere.collect()
    }

    /// Problems: members that are missing in the `lab.toml` of this command or of a node.
    pub(super) fn unstated(&self) -> Vec<Problem> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        let mut add = |member: &str, process: String| match found.iter_mut().find(|f| f.0 == member)
        {
            Some((_, lacking)) => lacking.push(process),
            None => found.push((member.to_owned(), vec![process])),
        };
        for (name, report) in &self.supervisors {
            for member in report.up().iter().flat_map(|r| &r.members_unstated) {
                add(member, name.clone());
            }
        }
        let members = self
            .members
            .iter()
            .flat_map(|r| r.data.iter().chain(&r.sentinels));
        for member in members.filter(|member| self.stated_at(&member.name).is_none()) {
            add(&member.name, "this command".to_owned());
        }
        let problem = |(member, lacking): (String, Vec<String>)| {
            let lacking = lacking.join(" and of ");
            let what =
                format!("{member} is a member of the lab, but not in the lab.toml of {lacking}");
            let cause = "writers wait for its confirmation unless it is down".to_owned();
            Problem::of_node(ProblemCode::MemberUnstated, &member, what).because(Some(cause))
        };
        found.into_iter().map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::healthy;
    use super::super::{Stranger, StrangerEntry, StrangerKind, StrangerState};
    use super::*;

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    fn lab() -> Lab {
        Lab::parse(include_str!("../../lab.toml"), None).unwrap()
    }

    #[test]
    fn a_server_at_a_stated_address_is_no_stranger() {
        let mut status = healthy();
        let stranger = |address: &str| Stranger {
            entry: StrangerEntry {
                kind: StrangerKind::Replica,
                address: Some(at(address)),
                state: StrangerState::Up,
            },
            known_to: vec!["sentinel-1".into()],
        };
        status.strangers = vec![stranger("127.0.0.11:6379"), stranger("127.0.0.99:6379")];
        remove_stated_strangers(&mut status);
        assert_eq!(status.strangers, [stranger("127.0.0.99:6379")]);
    }

    #[test]
    fn a_list_with_other_nodes_or_addresses_differs() {
        let lab = lab();
        let same = crate::client::first_member_list(&lab);
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
    fn a_list_from_before_a_move_or_without_the_primary_cannot_be_used() {
        let lab = lab();
        let same = crate::client::first_member_list(&lab);
        let node = &lab.data_nodes[1];
        assert_eq!(mismatch(&same, node, true), None);
        let moved = same.with(
            MemberKind::Data,
            "redis-b",
            at("127.0.0.15:6379"),
            Standing::Full,
        );
        for is_primary in [true, false] {
            let why = mismatch(&moved, node, is_primary).unwrap();
            assert!(why.contains("redis-b at 127.0.0.15"), "{why}");
        }
        // A replica that is not a member has a copy of the list.
        let without = same.without(MemberKind::Data, "redis-b");
        assert_eq!(mismatch(&without, node, false), None);
        assert!(mismatch(&without, node, true).is_some());
    }
}
