//! A client that reads, as `halab proxy` does it: with a target of its own, which may be an old
//! primary.
//!
//! An answer is passed on when a round of questions has shown that the target was still the primary
//! after it had answered, and that all that it had executed by then is confirmed. What such an
//! answer has shown counts as acknowledged.
//!
//! The round begins with the answer. A later one proves no less: what it asks for lies behind what
//! the first one asks for.

use std::net::SocketAddrV4;

use redis_ha_lab::protocol::ack::{Confirmed, not_followed_beyond, uncovered};

use super::confirmation::{
    address, closes, confirmed, discover, forget_evidence, is_superseded, is_witnessed, offset,
    online, others, serves,
};
use super::marks::{Entry, History};
use super::rules::{Bounds, ReadRule, Rules};
use super::state::*;

/// A step of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It finds another node to read from, and leaves the old one.
    Discover,
    /// A round begins before the answer; only where that counts.
    Begin,
    /// Its target answers a read, and a round begins.
    Read,
    /// The last `ROLE` of the round is answered.
    Role,
    /// The Sentinels are asked, and then the target, for its role.
    Ask,
    /// Its target does not answer, or reports not to be primary: the read is given up.
    GiveUp,
}

/// All steps.
pub fn all() -> [Step; 6] {
    [
        Step::Discover,
        Step::Begin,
        Step::Read,
        Step::Role,
        Step::Ask,
        Step::GiveUp,
    ]
}

impl Reader {
    /// A reader of the healthy lab.
    pub fn new() -> Reader {
        Reader {
            target: Some((0, Standing::Elected(1))),
            round: None,
            pending: None,
            done: 0,
            stale: false,
            heard: [[0; NODES]; NODES],
        }
    }

    /// The entries whose numbers it needs.
    pub fn pinned(&self) -> Log {
        let seen = self.pending.map_or(0, |read| read.seen | read.due);
        seen | self.round.map_or(0, |message| 1 << message)
    }

    /// The writes that it may see, promised or not.
    pub fn readable(&self, history: &History) -> Log {
        if self.target.is_some() {
            history.writes()
        } else {
            0
        }
    }

    /// Changes every set of entries.
    pub fn each_set(&mut self, mut change: impl FnMut(Log) -> Log) {
        if let Some(read) = &mut self.pending {
            read.seen = change(read.seen);
            read.due = change(read.due);
        }
        if let Some(message) = &mut self.round {
            *message = change(1 << *message).trailing_zeros() as u8;
        }
        for heard in self.heard.iter_mut().flatten() {
            *heard = change(*heard);
        }
    }
}

/// The lab after a step of the reader, if it is possible.
pub fn step(bounds: &Bounds, rules: &Rules, state: &State, step: Step) -> Option<State> {
    let mut next = *state;
    let reader = state.reader?;
    let mine = next.reader.as_mut()?;
    if reader.target.is_none() && step != Step::Discover
        || reader.pending.is_none() && reader.done >= bounds.reads
    {
        return None;
    }
    match step {
        Step::Discover => {
            let found = discover(bounds.nodes, state)?;
            mine.target = Some(found);
            if is_superseded(reader.target, found) {
                drop_pending(&mut next);
            }
        }
        Step::Begin => {
            let (d, _) = reader.target?;
            if rules.reads != ReadRule::EarlierRound || reader.round.is_some() || !serves(state, d)
            {
                return None;
            }
            begin_round(&mut next, d);
        }
        Step::Read => {
            let (d, _) = reader.target?;
            let begun = rules.reads == ReadRule::EarlierRound;
            if reader.pending.is_some() || reader.round.is_some() != begun || !serves(state, d) {
                return None;
            }
            mine.pending = Some(PendingRead {
                seen: state.data[d].log & state.history.writes(),
                due: state.writer.acknowledged,
            });
            match rules.reads {
                ReadRule::Local => pass_on(&mut next)?,
                ReadRule::EarlierRound => {}
                ReadRule::Linearizable | ReadRule::AnyConfirmation => begin_round(&mut next, d),
            }
        }
        Step::Role => {
            let (d, _) = reader.target?;
            if !serves(state, d) || !missing(bounds, rules, state, d)?.is_empty() {
                return None;
            }
            pass_on(&mut next)?;
        }
        Step::Ask => {
            let target = reader.target?;
            let missing = missing(bounds, rules, state, target.0)?;
            if !serves(state, target.0)
                || missing.is_empty()
                || !is_witnessed((bounds, rules), state, READER, target, &missing)
            {
                return None;
            }
            pass_on(&mut next)?;
        }
        Step::GiveUp => {
            let (d, _) = reader.target?;
            if reader.pending.is_none() && reader.round.is_none() || serves(state, d) {
                return None;
            }
            drop_pending(&mut next);
        }
    }
    (next != *state).then_some(next)
}

/// `ROLE` and `PUBLISH`. The offset in the answer to `ROLE` is the one before the message.
fn begin_round(next: &mut State, d: usize) {
    let message = next.history.add(Entry::Message);
    next.data[d].log |= 1 << message;
    if let Some(reader) = &mut next.reader {
        reader.round = Some(message as u8);
    }
}

/// The data nodes of which the last `ROLE` of the round does not show that they follow `d`.
fn missing(bounds: &Bounds, rules: &Rules, state: &State, d: usize) -> Option<Vec<SocketAddrV4>> {
    let reader = state.reader?;
    let (message, _) = (reader.round?, reader.pending?);
    let first_role = offset(state.data[d].log & ((1 << message) - 1));
    let (others, listed) = (others(bounds.nodes, d), listed(bounds.nodes, state, d));
    Some(match rules.reads {
        ReadRule::AnyConfirmation => uncovered(&others, first_role, &listed),
        _ => not_followed_beyond(&others, first_role, &listed),
    })
}

/// The replicas as `d` lists them: also those that have left, if it has not noticed that.
fn listed(nodes: usize, state: &State, d: usize) -> Vec<Confirmed> {
    let mut listed = confirmed(nodes, state, d);
    let heard = state.reader.map_or([0; NODES], |reader| reader.heard[d]);
    let left = (0..nodes).filter(|x| heard[*x] != 0);
    listed.extend(left.map(|x| Confirmed {
        address: address(x),
        offset: offset(heard[x]),
    }));
    listed
}

fn pass_on(next: &mut State) -> Option<()> {
    let reader = next.reader.as_mut()?;
    let read = reader.pending?;
    reader.done += 1;
    reader.stale |= read.due & !read.seen != 0;
    next.writer.acknowledged |= read.seen;
    drop_pending(next);
    Some(())
}

fn drop_pending(next: &mut State) {
    if let Some(reader) = &mut next.reader {
        reader.pending = None;
        reader.round = None;
    }
    forget_evidence(next, READER);
}

/// Everything is stopped, the reader too.
pub fn stop(next: &mut State) {
    drop_pending(next);
    if let Some(reader) = &mut next.reader {
        reader.target = None;
        reader.done = u8::MAX;
    }
}

/// A reader with nothing left to read does nothing.
pub fn rest(bounds: &Bounds, state: &mut State) {
    if let Some(reader) = &mut state.reader
        && reader.pending.is_none()
        && reader.done >= bounds.reads
    {
        *reader = Reader {
            target: None,
            done: bounds.reads,
            stale: reader.stale,
            ..Reader::new()
        };
    }
}

/// No answer from before the end of its connections counts.
pub fn disconnect(before: &State, after: &mut State) {
    if let Some((d, _)) = after.reader.and_then(|reader| reader.target)
        && closes(&before.data[d], &after.data[d])
    {
        drop_pending(after);
    }
}

/// What a replica had confirmed when it left. That a primary is told of it is not certain: it may
/// have been stopped, or cut off.
pub fn remember(nodes: usize, before: &State, after: &mut State) {
    let Some(mut reader) = after.reader.filter(|reader| reader.target.is_some()) else {
        return;
    };
    for d in 0..nodes {
        let node = &after.data[d];
        let lists =
            node.role == Role::Primary && matches!(node.process, Process::Up | Process::Paused);
        for x in (0..nodes).filter(|x| *x != d) {
            let heard = &mut reader.heard[d][x];
            if !lists || online(after, x, d) {
                *heard = 0;
            } else if online(before, x, d) {
                *heard = before.data[x].log;
            }
        }
    }
    after.reader = Some(reader);
}
