//! How a member is added or removed: the next step, from the primary's list of members and the
//! observed state of the nodes.
//!
//! Pure. No state is kept between two steps, so an interrupted change continues from the list. The
//! reasons are in `docs/protocol.md`, *Members*; `tests/members.rs` explores these steps.

use std::net::SocketAddrV4;

use super::member_list::{MemberKind, MemberList, Standing};

/// The goal of a change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Goal {
    /// The node is a full member.
    Added {
        /// Its kind.
        kind: MemberKind,
        /// Its name.
        name: String,
        /// Where it is.
        address: SocketAddrV4,
    },
    /// The node is not a member.
    Removed {
        /// Its kind.
        kind: MemberKind,
        /// Its name.
        name: String,
    },
}

impl Goal {
    /// Why the goal cannot be reached from that list: the name belongs to a member at another
    /// address.
    pub fn conflict_with(&self, member_list: &MemberList) -> Option<String> {
        match self {
            Goal::Added {
                kind,
                name,
                address,
            } => address_conflict(member_list, *kind, name, *address),
            Goal::Removed { .. } => None,
        }
    }
}

/// The observed state of the lab, read after the list. `Err` states what is missing.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Every data node that could be promoted, except the one to remove, has this list.
    pub distributed: Result<(), String>,
    /// The node to add can do its work: a data node is in sync; a Sentinel answers and the others
    /// know it. If it is a full member, it does it: a data node is promotable or primary; a
    /// Sentinel leads failovers.
    pub ready: Result<(), String>,
    /// The node to remove cannot be promoted or lead a failover, now or later.
    pub inactive: Result<(), String>,
    /// Without the node to remove, the lab still survives one loss.
    pub sufficient_without: Result<(), String>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Write this list in place of the one that was read.
    Write(MemberList),
    /// Observe again: this is missing.
    Wait(String),
    /// The change is refused, for this reason.
    Refuse(String),
    /// The goal is reached, and every node that could be promoted has the list.
    Done,
}

/// The next step towards the goal.
pub fn next(member_list: &MemberList, goal: &Goal, conditions: &Conditions) -> NextStep {
    match goal {
        Goal::Added {
            kind,
            name,
            address,
        } => add_step(member_list, (*kind, name, *address), conditions),
        Goal::Removed { kind, name } => remove_step(member_list, (*kind, name), conditions),
    }
}

fn address_conflict(
    member_list: &MemberList,
    kind: MemberKind,
    name: &str,
    at: SocketAddrV4,
) -> Option<String> {
    let member = member_list.member(kind, name).filter(|m| m.address != at)?;
    Some(format!(
        "{name} is already a member, at {}: give a node at another address another name",
        member.address
    ))
}

fn add_step(
    member_list: &MemberList,
    (kind, name, at): (MemberKind, &str, SocketAddrV4),
    conditions: &Conditions,
) -> NextStep {
    if let Some(why) = address_conflict(member_list, kind, name, at) {
        return NextStep::Refuse(why);
    }
    let standing = member_list.standing(kind, name);
    match (standing, &conditions.distributed, &conditions.ready) {
        (Some(_), Err(why), _) | (_, _, Err(why)) => NextStep::Wait(why.clone()),
        (Some(Standing::Full), Ok(()), Ok(())) => NextStep::Done,
        (None, _, Ok(())) => NextStep::Write(member_list.with(kind, name, at, Standing::Counted)),
        (Some(Standing::Counted), Ok(()), Ok(())) => {
            NextStep::Write(member_list.with(kind, name, at, Standing::Full))
        }
    }
}

fn remove_step(
    member_list: &MemberList,
    (kind, name): (MemberKind, &str),
    conditions: &Conditions,
) -> NextStep {
    let Some(member) = member_list.member(kind, name) else {
        return match &conditions.distributed {
            Ok(()) => NextStep::Done,
            Err(why) => NextStep::Wait(why.clone()),
        };
    };
    if let Err(why) = &conditions.sufficient_without {
        let back = match member.standing {
            Standing::Counted => format!("; to keep it, run halab member add {name}"),
            Standing::Full => String::new(),
        };
        return NextStep::Refuse(format!("{why}{back}"));
    }
    match member.standing {
        Standing::Full => {
            NextStep::Write(member_list.with(kind, name, member.address, Standing::Counted))
        }
        Standing::Counted => match (&conditions.distributed, &conditions.inactive) {
            (Err(why), _) | (_, Err(why)) => NextStep::Wait(why.clone()),
            (Ok(()), Ok(())) => NextStep::Write(member_list.without(kind, name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: u8) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, host].into(), 6379)
    }

    fn member_list() -> MemberList {
        let data = [("a".to_owned(), at(11)), ("b".to_owned(), at(12))];
        MemberList::first(data, [("s".to_owned(), at(21))])
    }

    fn good() -> Conditions {
        Conditions {
            distributed: Ok(()),
            ready: Ok(()),
            inactive: Ok(()),
            sufficient_without: Ok(()),
        }
    }

    /// The standings of a node during the change, when nothing is missing.
    fn standings(mut member_list: MemberList, goal: &Goal, name: &str) -> Vec<Option<Standing>> {
        let mut standings = vec![member_list.standing(MemberKind::Data, name)];
        while let NextStep::Write(next_one) = next(&member_list, goal, &good()) {
            assert_eq!(next_one.version, member_list.version + 1);
            member_list = next_one;
            standings.push(member_list.standing(MemberKind::Data, name));
        }
        assert_eq!(next(&member_list, goal, &good()), NextStep::Done);
        standings
    }

    fn adds(host: u8) -> Goal {
        Goal::Added {
            kind: MemberKind::Data,
            name: "c".into(),
            address: at(host),
        }
    }

    fn removes(name: &str) -> Goal {
        Goal::Removed {
            kind: MemberKind::Data,
            name: name.into(),
        }
    }

    #[test]
    fn a_node_is_counted_between_out_and_full() {
        let (counted, full) = (Some(Standing::Counted), Some(Standing::Full));
        assert_eq!(
            standings(member_list(), &adds(13), "c"),
            [None, counted, full]
        );
        assert_eq!(
            standings(member_list(), &removes("b"), "b"),
            [full, counted, None]
        );
        // A node that is being removed can be kept.
        let leaving = member_list().with(MemberKind::Data, "c", at(13), Standing::Counted);
        assert_eq!(standings(leaving, &adds(13), "c"), [counted, full]);
    }

    #[test]
    fn each_step_waits_for_what_it_needs() {
        let counted = member_list().with(MemberKind::Data, "c", at(13), Standing::Counted);
        let no = || Err("no".to_owned());
        let waits = NextStep::Wait("no".into());
        let undistributed = Conditions {
            distributed: no(),
            ..good()
        };
        let unready = Conditions {
            ready: no(),
            ..good()
        };
        let active = Conditions {
            inactive: no(),
            ..good()
        };
        assert_eq!(next(&member_list(), &adds(13), &unready), waits);
        for conditions in [&undistributed, &unready] {
            assert_eq!(next(&counted, &adds(13), conditions), waits);
        }
        for conditions in [&undistributed, &active] {
            assert_eq!(next(&counted, &removes("c"), conditions), waits);
        }
        assert_eq!(next(&member_list(), &removes("c"), &undistributed), waits);
    }

    #[test]
    fn what_one_loss_could_make_fatal_is_refused_and_can_be_undone() {
        let fatal = Conditions {
            sufficient_without: Err("no other copy".into()),
            ..good()
        };
        let refused = NextStep::Refuse("no other copy".into());
        assert_eq!(next(&member_list(), &removes("b"), &fatal), refused);
        let counted = member_list().with(MemberKind::Data, "b", at(12), Standing::Counted);
        let NextStep::Refuse(why) = next(&counted, &removes("b"), &fatal) else {
            panic!("it is taken out");
        };
        assert_eq!(why, "no other copy; to keep it, run halab member add b");
        assert!(matches!(
            next(&counted, &adds(13), &good()),
            NextStep::Write(_)
        ));
        let elsewhere = member_list().with(MemberKind::Data, "c", at(14), Standing::Full);
        assert!(adds(13).conflict_with(&elsewhere).is_some());
        assert_eq!(adds(14).conflict_with(&elsewhere), None);
        assert!(matches!(
            next(&elsewhere, &adds(13), &good()),
            NextStep::Refuse(_)
        ));
    }
}
