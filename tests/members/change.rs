//! `halab member replace b c`: the program's own steps, each derived from the observed state, so
//! the command can be interrupted and run again at any moment.

use redis_ha_lab::protocol::member_change::{Conditions, Goal, NextStep, next};
use redis_ha_lab::protocol::member_list::{MemberKind, MemberList, Standing};

use super::lab::{ADDED, Entry, Model, NAMES, NODES, Node, REMOVED, State, at};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Operator {
    /// The list that was read, and the one to write over it. A failover may happen before the
    /// write.
    planned: Option<(MemberList, MemberList)>,
    /// The nodes that could be promoted when the command began, for the model without
    /// `candidates_rechecked`.
    holders: Option<[bool; NODES]>,
    /// One node was added and the other removed.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Begin,
    Look,
    Write,
    /// The removed node is stopped.
    Stop,
}

impl Step {
    pub const ALL: [Step; 4] = [Step::Begin, Step::Look, Step::Write, Step::Stop];
}

/// Takes a step of the command, if it is possible.
pub fn take(state: &mut State, model: &Model, step: Step) -> Option<()> {
    let members = state.primary_node()?.members()?.clone();
    match step {
        Step::Begin => {
            if state.operator.holders.is_some() {
                return None;
            }
            let could = |d: usize| d == ADDED || state.nodes[d].up || state.nodes[d].promotable;
            state.operator.holders = Some(std::array::from_fn(could));
            Some(())
        }
        Step::Look => {
            state.operator.holders?;
            let NextStep::Write(next) = observe_and_decide(state, model, &members)? else {
                return None;
            };
            let planned = Some((members, next));
            if state.operator.planned == planned {
                return None;
            }
            state.operator.planned = planned;
            Some(())
        }
        Step::Write => {
            let (read, next) = state.operator.planned.take()?;
            if read != members {
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
            let done = matches!(observe_and_decide(state, model, &members)?, NextStep::Done);
            let removed = members.standing(MemberKind::Data, NAMES[REMOVED]).is_none();
            if !done || !removed || state.operator.done {
                return None;
            }
            state.operator.done = true;
            state.end(REMOVED);
            Some(())
        }
    }
}

/// The next step according to the observed state.
fn observe_and_decide(state: &State, model: &Model, members: &MemberList) -> Option<NextStep> {
    let add = Goal::Added {
        kind: MemberKind::Data,
        name: NAMES[ADDED].into(),
        address: at(ADDED),
    };
    let remove = Goal::Removed {
        kind: MemberKind::Data,
        name: NAMES[REMOVED].into(),
    };
    let rules = &model.rules;
    let conditions = |goal: &Goal| {
        let except = (*goal == remove).then_some(REMOVED);
        let ok = |is: bool| is.then_some(()).ok_or_else(String::new);
        Conditions {
            distributed: ok(distributed(state, model, members, except)),
            ready: ok(ready(state, members)),
            inactive: ok(!rules.inactive || inactive(&state.nodes[REMOVED], members)),
            sufficient_without: ok(sufficient_without(state, members)),
        }
    };
    let mut now = next(members, &add, &conditions(&add));
    let mut goal = (ADDED, add);
    if now == NextStep::Done {
        now = next(members, &remove, &conditions(&remove));
        goal = (REMOVED, remove);
    }
    let skips = !rules.counted_first;
    Some(match (now, &goal.1) {
        // A command without the intermediate standing.
        (
            NextStep::Write(_),
            Goal::Added {
                kind,
                name,
                address,
            },
        ) if skips => NextStep::Write(members.with(*kind, name, *address, Standing::Full)),
        (NextStep::Write(_), Goal::Removed { kind, name }) if skips => {
            NextStep::Write(members.without(*kind, name))
        }
        (now, _) => now,
    })
}

/// Whether the new node is in sync, and promotable if it is full.
fn ready(state: &State, members: &MemberList) -> bool {
    let node = &state.nodes[ADDED];
    state.primary == Some(ADDED)
        || match members.standing(MemberKind::Data, NAMES[ADDED]) {
            Some(Standing::Full) => node.linked && node.promotable,
            _ => state.level(ADDED),
        }
}

/// Whether every node that could be promoted has this list.
fn distributed(state: &State, model: &Model, members: &MemberList, except: Option<usize>) -> bool {
    if !model.rules.distributed {
        return true;
    }
    (0..NODES).filter(|d| Some(*d) != except).all(|d| {
        let node = &state.nodes[d];
        let asked = match (model.rules.candidates_rechecked, state.operator.holders) {
            (false, Some(holders)) => holders[d],
            _ => node.up || node.promotable,
        };
        let member = members.member(MemberKind::Data, NAMES[d]).is_some();
        !(asked && member) || node.members() == Some(members)
    })
}

/// It cannot be promoted, and its own copy of the list keeps it so.
fn inactive(node: &Node, members: &MemberList) -> bool {
    !node.promotable && (!node.up || node.members() == Some(members))
}

/// The remaining primary and another copy are sound, so the lab survives one more loss.
fn sufficient_without(state: &State, members: &MemberList) -> bool {
    let sound = |d: &usize| {
        let node = &state.nodes[*d];
        let full = members.standing(MemberKind::Data, NAMES[*d]) == Some(Standing::Full);
        let follows = node.linked && node.promotable;
        *d != REMOVED && full && (state.primary == Some(*d) || follows)
    };
    state.primary != Some(REMOVED) && (0..NODES).filter(sound).count() >= 2
}
