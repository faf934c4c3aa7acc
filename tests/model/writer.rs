//! The writer: one write at a time, with the crate's own rules.

use redis_ha_lab::protocol::ack::uncovered;
use redis_ha_lab::protocol::copy::Completeness;

use super::confirmation::{
    closes, confirmed, discover, forget_evidence, is_superseded, is_witnessed, others, serves,
};
use super::faults::Kind;
use super::lost_writes;
use super::marks::Entry;
use super::rules::{Bounds, Rules, WitnessRule};
use super::state::*;

/// A step of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It finds another node to write to, and leaves the old one.
    Discover,
    /// Its target executes a write.
    Send,
    /// The commands of that write (`MSET`, `ROLE`, possibly `WAIT`, `ROLE`) are answered. Where
    /// writes are judged, only the write itself is answered.
    Answered,
    /// Another `ROLE`.
    Role,
    /// The Sentinels are asked, and the write is witnessed.
    Ask,
    /// Its target does not answer, or reports not to be primary: the outcome is unknown.
    GiveUp,
}

/// All steps.
pub fn all() -> Vec<Step> {
    vec![
        Step::Discover,
        Step::Send,
        Step::Answered,
        Step::Role,
        Step::Ask,
        Step::GiveUp,
    ]
}

/// Whether it has, or will have, a write to send or to confirm.
fn has_work(bounds: &Bounds, state: &State) -> bool {
    state.writer.pending.is_some()
        || state.writer.next < bounds.writes
        || state.proxied.is_some_and(|proxied| proxied.has_work())
}

/// The lab after a step of the writer, if it is possible.
pub fn step(bounds: &Bounds, rules: &Rules, state: &State, step: Step) -> Option<State> {
    let mut next = *state;
    match step {
        Step::Discover => {
            if !has_work(bounds, state) {
                return None;
            }
            let found = discover(bounds.nodes, state)?;
            if is_superseded(state.writer.target, found) {
                end_session(&mut next);
            }
            next.writer.target = Some(found);
            lost_writes::judge(rules, &mut next, found.0);
        }
        Step::Send => {
            let (d, _) = state.writer.target?;
            let again = state.proxied.is_some_and(|proxied| proxied.again);
            if state.writer.pending.is_some()
                || !again && state.writer.next >= bounds.writes
                || !serves(state, d)
                || state.handing == Some(d)
                // What happens before a handover is explored without a second fault.
                || bounds.at_once && state.faults == 0 && bounds.kinds[0] == Kind::Handover
            {
                return None;
            }
            let write = next.history.add(Entry::Write);
            next.data[d].log |= 1 << write;
            sync(state, &mut next, d);
            next.writer.pending = Some(Pending {
                write: write as u8,
                stamped: false,
            });
            next.writer.next += u8::from(!again);
            lost_writes::sent(state, &mut next, d, write);
        }
        Step::Answered => {
            let (d, _) = state.writer.target?;
            let pending = state.writer.pending?;
            if pending.stamped || !serves(state, d) {
                return None;
            }
            next.writer.pending = Some(Pending {
                stamped: true,
                ..pending
            });
            if state.proxied.is_none() {
                look(bounds, rules, &mut next, d, pending.write);
            }
        }
        Step::Role => {
            let (d, _) = state.writer.target?;
            let pending = state.writer.pending?;
            if !pending.stamped || !serves(state, d) {
                return None;
            }
            lost_writes::round_answered(&mut next, d);
            look(bounds, rules, &mut next, d, pending.write);
        }
        Step::Ask => {
            let target = state.writer.target?;
            let pending = state.writer.pending?;
            let missing = missing(bounds.nodes, state, target.0, pending.write);
            if !pending.stamped || !is_witnessed((bounds, rules), state, WRITER, target, &missing) {
                return None;
            }
            acknowledge(&mut next, pending.write);
        }
        Step::GiveUp => {
            let (d, _) = state.writer.target?;
            if state.writer.pending.is_none() || serves(state, d) {
                return None;
            }
            end_session(&mut next);
        }
    }
    (next != *state).then_some(next)
}

/// The only copy writes to disk before it answers.
pub fn sync(before: &State, next: &mut State, d: usize) {
    let log = before.data[d].log;
    let stamp = before.history.stamp(log);
    let sole = stamp.is_some_and(|stamp| stamp.state == Completeness::Sole);
    if sole && before.history.by(log) == Some(d) && before.data[d].memory.in_term {
        next.data[d].synced = next.data[d].log;
    }
}

/// The data nodes that have not confirmed `write` to `d`.
fn missing(nodes: usize, state: &State, d: usize, write: u8) -> Vec<std::net::SocketAddrV4> {
    let confirmed = confirmed(nodes, state, d);
    uncovered(&others(nodes, d), u64::from(write) + 1, &confirmed)
}

/// The answer to `ROLE` is read.
fn look(bounds: &Bounds, rules: &Rules, next: &mut State, d: usize, write: u8) {
    let confirmed = missing(bounds.nodes, next, d, write).is_empty();
    if confirmed || rules.witness == WitnessRule::PlainOk {
        acknowledge(next, write);
    }
}

fn acknowledge(next: &mut State, write: u8) {
    next.writer.acknowledged |= 1 << write;
    drop_pending(next);
}

/// Nothing is pending, so nothing is later than it.
fn drop_pending(next: &mut State) {
    next.writer.pending = None;
    forget_evidence(next, WRITER);
}

/// Its connections are closed, and the outcome of a pending write is open.
fn end_session(next: &mut State) {
    lost_writes::session_ended(next);
    drop_pending(next);
}

/// A writer with nothing left to write does nothing.
pub fn rest(bounds: &Bounds, state: &mut State) {
    if !has_work(bounds, state) {
        state.writer.target = None;
        lost_writes::rest(state);
    }
}

/// No answer from before the end of its connections counts.
pub fn disconnect(before: &State, after: &mut State) {
    let Some((d, _)) = after.writer.target else {
        return;
    };
    if closes(&before.data[d], &after.data[d]) {
        end_session(after);
    }
}
