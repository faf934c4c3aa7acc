//! How a node comes and goes: the next step, from the roster of the primary and from what was seen of the nodes.
//!
//! Pure. Nothing is remembered between two steps, so a change that was cut short at any moment goes on from the roster. The
//! reasons are in `docs/protocol.md`, *Members*; `tests/members.rs` explores these very steps.

use std::net::SocketAddrV4;

use super::roster::{Kind, Roster, Standing};

/// What is to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Goal {
    /// The node is a full member.
    In {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Where it is.
        address: SocketAddrV4,
    },
    /// The node is not a member.
    Out {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

impl Goal {
    /// Why it can't be reached from that roster: the name of the node that comes is a member's, which is elsewhere.
    pub fn at_odds_with(&self, roster: &Roster) -> Option<String> {
        match self {
            Goal::In {
                kind,
                name,
                address,
            } => elsewhere(roster, *kind, name, *address),
            Goal::Out { .. } => None,
        }
    }
}

/// What was seen of the lab, after the roster was read. `Err` says what is missing, in words.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Every data node that could be promoted, but for the one that is to go, has this very roster.
    pub held: Result<(), String>,
    /// The node that comes can do its work: a data node is in sync, a Sentinel answers and is known to the others. A full member does
    /// it: a data node is promotable or primary, a Sentinel leads failovers.
    pub ready: Result<(), String>,
    /// The node that goes can't be promoted, or lead a failover, and will not be able to.
    pub harmless: Result<(), String>,
    /// Without the node that goes, the next loss is a first one.
    pub sound_without: Result<(), String>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This roster takes the place of the one that was read.
    Write(Roster),
    /// Look again: this is missing.
    Wait(String),
    /// It is not done.
    Refuse(String),
    /// It is so, and every node that could be promoted knows.
    Done,
}

/// The step that follows.
pub fn next(roster: &Roster, goal: &Goal, seen: &Seen) -> Next {
    match goal {
        Goal::In {
            kind,
            name,
            address,
        } => come(roster, (*kind, name, *address), seen),
        Goal::Out { kind, name } => go(roster, (*kind, name), seen),
    }
}

fn elsewhere(roster: &Roster, kind: Kind, name: &str, at: SocketAddrV4) -> Option<String> {
    let member = roster.member(kind, name).filter(|m| m.address != at)?;
    Some(format!(
        "{name} is a member at {}: a node at another address is another node, and gets a name of its own",
        member.address
    ))
}

fn come(roster: &Roster, (kind, name, at): (Kind, &str, SocketAddrV4), seen: &Seen) -> Next {
    if let Some(why) = elsewhere(roster, kind, name, at) {
        return Next::Refuse(why);
    }
    let standing = roster.standing(kind, name);
    match (standing, &seen.held, &seen.ready) {
        (Some(_), Err(why), _) | (_, _, Err(why)) => Next::Wait(why.clone()),
        (Some(Standing::Full), Ok(()), Ok(())) => Next::Done,
        (None, _, Ok(())) => Next::Write(roster.with(kind, name, at, Standing::Counted)),
        (Some(Standing::Counted), Ok(()), Ok(())) => {
            Next::Write(roster.with(kind, name, at, Standing::Full))
        }
    }
}

fn go(roster: &Roster, (kind, name): (Kind, &str), seen: &Seen) -> Next {
    let Some(member) = roster.member(kind, name) else {
        return match &seen.held {
            Ok(()) => Next::Done,
            Err(why) => Next::Wait(why.clone()),
        };
    };
    if let Err(why) = &seen.sound_without {
        let back = match member.standing {
            Standing::Counted => format!("; or keep it, with halab member add {name}"),
            Standing::Full => String::new(),
        };
        return Next::Refuse(format!("{why}{back}"));
    }
    match member.standing {
        Standing::Full => Next::Write(roster.with(kind, name, member.address, Standing::Counted)),
        Standing::Counted => match (&seen.held, &seen.harmless) {
            (Err(why), _) | (_, Err(why)) => Next::Wait(why.clone()),
            (Ok(()), Ok(())) => Next::Write(roster.without(kind, name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: u8) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, host].into(), 6379)
    }

    fn roster() -> Roster {
        let data = [("a".to_owned(), at(11)), ("b".to_owned(), at(12))];
        Roster::first(data, [("s".to_owned(), at(21))])
    }

    fn good() -> Seen {
        Seen {
            held: Ok(()),
            ready: Ok(()),
            harmless: Ok(()),
            sound_without: Ok(()),
        }
    }

    /// The standings that a node has on its way, when nothing is missing.
    fn way(mut roster: Roster, goal: &Goal, name: &str) -> Vec<Option<Standing>> {
        let mut way = vec![roster.standing(Kind::Data, name)];
        while let Next::Write(next_one) = next(&roster, goal, &good()) {
            assert_eq!(next_one.version, roster.version + 1);
            roster = next_one;
            way.push(roster.standing(Kind::Data, name));
        }
        assert_eq!(next(&roster, goal, &good()), Next::Done);
        way
    }

    fn comes(host: u8) -> Goal {
        Goal::In {
            kind: Kind::Data,
            name: "c".into(),
            address: at(host),
        }
    }

    fn goes(name: &str) -> Goal {
        Goal::Out {
            kind: Kind::Data,
            name: name.into(),
        }
    }

    #[test]
    fn a_node_is_counted_between_out_and_full() {
        let (counted, full) = (Some(Standing::Counted), Some(Standing::Full));
        assert_eq!(way(roster(), &comes(13), "c"), [None, counted, full]);
        assert_eq!(way(roster(), &goes("b"), "b"), [full, counted, None]);
        // One that is on its way out can be kept.
        let leaving = roster().with(Kind::Data, "c", at(13), Standing::Counted);
        assert_eq!(way(leaving, &comes(13), "c"), [counted, full]);
    }

    #[test]
    fn each_step_waits_for_what_it_needs() {
        let counted = roster().with(Kind::Data, "c", at(13), Standing::Counted);
        let no = || Err("no".to_owned());
        let waits = Next::Wait("no".into());
        let unheld = Seen {
            held: no(),
            ..good()
        };
        let unready = Seen {
            ready: no(),
            ..good()
        };
        let harmful = Seen {
            harmless: no(),
            ..good()
        };
        assert_eq!(next(&roster(), &comes(13), &unready), waits);
        for seen in [&unheld, &unready] {
            assert_eq!(next(&counted, &comes(13), seen), waits);
        }
        for seen in [&unheld, &harmful] {
            assert_eq!(next(&counted, &goes("c"), seen), waits);
        }
        assert_eq!(next(&roster(), &goes("c"), &unheld), waits);
    }

    #[test]
    fn what_one_loss_could_make_fatal_is_refused_and_can_be_undone() {
        let fatal = Seen {
            sound_without: Err("no other copy".into()),
            ..good()
        };
        let refused = Next::Refuse("no other copy".into());
        assert_eq!(next(&roster(), &goes("b"), &fatal), refused);
        let counted = roster().with(Kind::Data, "b", at(12), Standing::Counted);
        let Next::Refuse(why) = next(&counted, &goes("b"), &fatal) else {
            panic!("it is taken out");
        };
        assert_eq!(why, "no other copy; or keep it, with halab member add b");
        assert!(matches!(
            next(&counted, &comes(13), &good()),
            Next::Write(_)
        ));
        let elsewhere = roster().with(Kind::Data, "c", at(14), Standing::Full);
        assert!(comes(13).at_odds_with(&elsewhere).is_some());
        assert_eq!(comes(14).at_odds_with(&elsewhere), None);
        assert!(matches!(
            next(&elsewhere, &comes(13), &good()),
            Next::Refuse(_)
        ));
    }
}
