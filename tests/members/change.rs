//! `halab member replace b c`: the program's own steps, each from what is seen at that moment, so that it can be cut short and run
//! again at any moment.

use redis_ha_lab::protocol::membership::{Goal, Next, Seen, next};
use redis_ha_lab::protocol::roster::{Kind, Roster, Standing};

use super::lab::{COMES, Entry, GOES, Model, NAMES, NODES, Node, State, at};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Operator {
    /// The roster over which this one is to be written. The write comes later: a failover may be between.
    worked_out: Option<(Roster, Roster)>,
    /// Who could be promoted when the command began; what the rule `asked_anew` does without.
    holders: Option<[bool; NODES]>,
    /// The one has come and the other has gone.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Begin,
    Look,
    Write,
    /// The node that is not a member any more is stopped.
    Stop,
}

impl Step {
    pub const ALL: [Step; 4] = [Step::Begin, Step::Look, Step::Write, Step::Stop];
}

/// Takes a step of the command, where it can be taken.
pub fn take(state: &mut State, model: &Model, step: Step) -> Option<()> {
    let members = state.leading()?.members()?.clone();
    match step {
        Step::Begin => {
            if state.operator.holders.is_some() {
                return None;
            }
            let could = |d: usize| d == COMES || state.nodes[d].up || state.nodes[d].promotable;
            state.operator.holders = Some(std::array::from_fn(could));
            Some(())
        }
        Step::Look => {
            state.operator.holders?;
            let Next::Write(next) = looked(state, model, &members)? else {
                return None;
            };
            let worked_out = Some((members, next));
            if state.operator.worked_out == worked_out {
                return None;
            }
            state.operator.worked_out = worked_out;
            Some(())
        }
        Step::Write => {
            let (was, next) = state.operator.worked_out.take()?;
            if was != members {
                return None;
            }
            let p = state.primary?;
            state.nodes[p].log.push(Entry::Members(next));
            if model.rules.sessions_end {
                state.session = None;
            }
            Some(())
        }
        Step::Stop => {
            let gone = matches!(looked(state, model, &members)?, Next::Done);
            let out = members.standing(Kind::Data, NAMES[GOES]).is_none();
            if !gone || !out || state.operator.done {
                return None;
            }
            state.operator.done = true;
            state.end(GOES);
            Some(())
        }
    }
}

/// What follows from what is seen now.
fn looked(state: &State, model: &Model, members: &Roster) -> Option<Next> {
    let comes = Goal::In {
        kind: Kind::Data,
        name: NAMES[COMES].into(),
        address: at(COMES),
    };
    let goes = Goal::Out {
        kind: Kind::Data,
        name: NAMES[GOES].into(),
    };
    let rules = &model.rules;
    let seen = |goal: &Goal| {
        let but = (*goal == goes).then_some(GOES);
        let ok = |is: bool| is.then_some(()).ok_or_else(String::new);
        Seen {
            held: ok(held(state, model, members, but)),
            ready: ok(ready(state, members)),
            harmless: ok(!rules.harmless || harmless(&state.nodes[GOES], members)),
            sound_without: ok(sound_without(state, members)),
        }
    };
    let mut now = next(members, &comes, &seen(&comes));
    let mut goal = (COMES, comes);
    if now == Next::Done {
        now = next(members, &goes, &seen(&goes));
        goal = (GOES, goes);
    }
    let skips = !rules.counted_first;
    Some(match (now, &goal.1) {
        // What a command would do that knows no standing between.
        (
            Next::Write(_),
            Goal::In {
                kind,
                name,
                address,
            },
        ) if skips => Next::Write(members.with(*kind, name, *address, Standing::Full)),
        (Next::Write(_), Goal::Out { kind, name }) if skips => {
            Next::Write(members.without(*kind, name))
        }
        (now, _) => now,
    })
}

/// Whether the new node is in sync, and promotable when it may be.
fn ready(state: &State, members: &Roster) -> bool {
    let node = &state.nodes[COMES];
    state.primary == Some(COMES)
        || match members.standing(Kind::Data, NAMES[COMES]) {
            Some(Standing::Full) => node.linked && node.promotable,
            _ => state.level(COMES),
        }
}

/// Whether every node that could be promoted has this list.
fn held(state: &State, model: &Model, members: &Roster, but: Option<usize>) -> bool {
    if !model.rules.held {
        return true;
    }
    (0..NODES).filter(|d| Some(*d) != but).all(|d| {
        let node = &state.nodes[d];
        let asked = match (model.rules.asked_anew, state.operator.holders) {
            (false, Some(holders)) => holders[d],
            _ => node.up || node.promotable,
        };
        let member = members.member(Kind::Data, NAMES[d]).is_some();
        !(asked && member) || node.members() == Some(members)
    })
}

/// Nobody could promote it, and its own copy says that nobody will be able to.
fn harmless(node: &Node, members: &Roster) -> bool {
    !node.promotable && (!node.up || node.members() == Some(members))
}

/// The primary, which stays, and another copy are sound: the next loss is a first one.
fn sound_without(state: &State, members: &Roster) -> bool {
    let sound = |d: &usize| {
        let node = &state.nodes[*d];
        let full = members.standing(Kind::Data, NAMES[*d]) == Some(Standing::Full);
        let follows = node.linked && node.promotable;
        *d != GOES && full && (state.primary == Some(*d) || follows)
    };
    state.primary != Some(GOES) && (0..NODES).filter(sound).count() >= 2
}
