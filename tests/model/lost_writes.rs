//! What becomes of a write that a lost primary has executed, and that was not confirmed: the
//! crate's own rule judges it by the replication history of the next primary, as `halab proxy`
//! does.
//!
//! A server begins a history when it is promoted, and notes the one before with its own offset
//! (`shiftReplicationId`). It takes over the history of its primary, with all of its data
//! (`readSyncBulkPayload`), or without a gap, and then it notes its own as the one before
//! (`slaveTryPartialResynchronization`). A restarted server has an offset of its own.

use std::net::SocketAddrV4;

use redis_ha_lab::protocol::history::{
    Execution, Extent, ReplicationHistory, Survival, has_none_of,
};

use super::confirmation::offset;
use super::rules::{FateRule, Rules};
use super::state::*;

/// The history of a server that was started and has copied nothing. No client has written in it.
const UNUSED: u8 = 0;
/// The history of the first primary.
const FIRST: u8 = 1;

/// The histories that a server states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// Its own (`master_replid`).
    id: u8,
    /// The one that it continues, and what it has of that one (`master_replid2`,
    /// `second_repl_offset`).
    before: Option<(u8, Log)>,
}

/// Where a write lies; see [`Execution`]. Offsets are those of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    node: usize,
    history: u8,
    after: Option<Log>,
    upto: Option<Log>,
}

/// A write whose session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Open {
    write: u8,
    is_answered: bool,
}

/// Writes that are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proxied {
    lineages: [Lineage; NODES],
    /// Where the writer's write lies.
    place: Option<Place>,
    open: Option<Open>,
    /// Executions by earlier primaries, which the primaries after them did not have.
    earlier: [Option<Place>; EARLIER],
    /// The write was lost, and is sent again.
    pub again: bool,
    /// All numbers of the writer's write, one for each time that it was sent.
    pub attempts: Log,
    /// A write was said to have survived on a primary that does not have it.
    pub misjudged: bool,
}

/// A write is sent again once for each epoch at most.
const EARLIER: usize = 2;

const RESTARTED: Lineage = Lineage {
    id: UNUSED,
    before: None,
};

impl Proxied {
    /// A healthy lab.
    pub fn new(nodes: usize) -> Proxied {
        let mut lineages = [RESTARTED; NODES];
        for lineage in lineages.iter_mut().take(nodes) {
            lineage.id = FIRST;
        }
        Proxied {
            lineages,
            place: None,
            open: None,
            earlier: [None; EARLIER],
            again: false,
            attempts: 0,
            misjudged: false,
        }
    }

    /// All executions that are known.
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.earlier.iter().chain([&self.place]).flatten()
    }

    /// Whether a write is to be judged or sent again.
    pub fn has_work(&self) -> bool {
        self.open.is_some() || self.again
    }

    /// Whether a write is to be judged.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The entries whose numbers it needs.
    pub fn pinned(&self) -> Log {
        self.open.map_or(0, |open| 1 << open.write)
    }

    /// Changes every set of entries.
    pub fn each_set(&mut self, mut change: impl FnMut(Log) -> Log) {
        for lineage in &mut self.lineages {
            if let Some((_, end)) = &mut lineage.before {
                *end = change(*end);
            }
        }
        for place in self.earlier.iter_mut().chain([&mut self.place]).flatten() {
            place.after = place.after.map(&mut change);
            place.upto = place.upto.map(&mut change);
        }
        if let Some(open) = &mut self.open {
            open.write = change(1 << open.write).trailing_zeros() as u8;
        }
        self.attempts = change(self.attempts);
    }

    /// Whether some copy has two executions of a write that was acknowledged. Before that, an old
    /// primary may execute it again: if it stays primary, nothing is confirmed until then.
    pub fn is_executed_twice(&self, state: &State) -> bool {
        if state.writer.acknowledged & self.attempts == 0 {
            return false;
        }
        let twice = |node: &Data| (node.log & self.attempts).count_ones() > 1;
        state.data.iter().any(twice)
    }
}

/// `write` was sent to `d`, and executed there.
pub fn sent(before: &State, next: &mut State, d: usize, write: usize) {
    let Some(proxied) = &mut next.proxied else {
        return;
    };
    if !proxied.again {
        proxied.attempts = 0;
    }
    proxied.again = false;
    proxied.attempts |= 1 << write;
    proxied.place = Some(Place {
        node: d,
        history: proxied.lineages[d].id,
        // By a round just before.
        after: Some(before.data[d].log),
        upto: None,
    });
}

/// A round that began after the answer states the offset of `d`.
pub fn round_answered(next: &mut State, d: usize) {
    let log = next.data[d].log;
    if let Some(place) = next.proxied.as_mut().and_then(|p| p.place.as_mut()) {
        place.upto.get_or_insert(log);
    }
}

/// The outcome of the pending write is open.
pub fn session_ended(next: &mut State) {
    let pending = next.writer.pending;
    let Some(proxied) = &mut next.proxied else {
        return;
    };
    next.writer.target = None;
    if let Some(pending) = pending {
        proxied.open = Some(Open {
            write: pending.write,
            is_answered: pending.stamped,
        });
    }
}

/// A session with `d` begins: the write whose outcome is open is judged.
pub fn judge(rules: &Rules, next: &mut State, d: usize) {
    let Some(mut proxied) = next.proxied else {
        return;
    };
    if let (Some(open), Some(place)) = (proxied.open.take(), proxied.place.take()) {
        judge_last(rules, next, &mut proxied, d, open, place);
    }
    let earlier = proxied.earlier.into_iter().flatten();
    let has_one = |place: Place| {
        let history = stated(rules, &proxied.lineages[d], place.history);
        !has_none_of([&execution(&place)], server(d), &history)
    };
    if proxied.again && rules.fate != FateRule::LastExecution && earlier.into_iter().any(has_one) {
        // The client is disconnected.
        proxied.again = false;
        proxied.attempts = 0;
    }
    next.proxied = Some(proxied);
}

/// Judges the write by its last execution, at `place`.
fn judge_last(
    rules: &Rules,
    next: &mut State,
    proxied: &mut Proxied,
    d: usize,
    open: Open,
    place: Place,
) {
    let history = stated(rules, &proxied.lineages[d], place.history);
    let upto = place.upto.or_else(|| last_offset(next, proxied, &place));
    let place = Place {
        upto: upto.filter(|_| open.is_answered),
        ..place
    };
    match execution(&place).survival(server(d), &history) {
        Survival::Survived => {
            proxied.misjudged |= next.data[d].log & (1 << open.write) == 0;
            proxied.place = Some(Place {
                node: d,
                history: proxied.lineages[d].id,
                after: None,
                upto: None,
            });
            next.writer.pending = Some(Pending {
                write: open.write,
                stamped: true,
            });
        }
        Survival::Lost => {
            proxied.again = true;
            let free = proxied.earlier.iter_mut().find(|place| place.is_none());
            *free.expect("room for all executions") = Some(place);
        }
        // The client is disconnected.
        Survival::Unknown => proxied.attempts = 0,
    }
}

fn execution(place: &Place) -> Execution {
    Execution {
        server: server(place.node),
        history: name(place.history),
        extent: Extent {
            after: place.after.map(offset),
            upto: place.upto.map(offset),
        },
        // Only `--unanswered retry` asks, which is not modelled.
        is_answered: false,
    }
}

fn server(d: usize) -> SocketAddrV4 {
    SocketAddrV4::new([127, 0, 0, d as u8].into(), 6379)
}

fn name(history: u8) -> String {
    format!("history {history}")
}

/// What the new primary states, as the rule under test reads it.
fn stated(rules: &Rules, lineage: &Lineage, executed_in: u8) -> ReplicationHistory {
    let before = lineage.before.map(|(id, end)| {
        let first_missing = match rules.fate {
            FateRule::EndTooHigh => offset(end) + 2,
            FateRule::EndTooLow => offset(end),
            FateRule::Survival | FateRule::AnyHistory | FateRule::LastExecution => offset(end) + 1,
        };
        let id = match rules.fate {
            FateRule::AnyHistory => executed_in,
            _ => id,
        };
        (name(id), first_missing)
    });
    ReplicationHistory {
        id: name(lineage.id),
        before,
    }
}

/// Where the lost primary says that its history ended, once it has continued that of the new one.
fn last_offset(state: &State, proxied: &Proxied, place: &Place) -> Option<Log> {
    let node = &state.data[place.node];
    let lineage = proxied.lineages[place.node];
    let (id, end) = lineage.before?;
    let states_it =
        state.answers_writer(place.node) && node.role != Role::Primary && !is_loading(node.role);
    (states_it && id == place.history).then_some(end)
}

/// The histories after a step.
pub fn continue_histories(nodes: usize, before: &State, after: &mut State) {
    let Some(mut proxied) = after.proxied else {
        return;
    };
    let old = proxied.lineages;
    let ids = old.iter().map(|lineage| lineage.id).max().unwrap_or(FIRST);
    let of_write = proxied.places().map(|place| place.history).max();
    let mut new_id = ids.max(of_write.unwrap_or(0)) + 1;
    for d in 0..nodes {
        let (was, is) = (&before.data[d], &after.data[d]);
        let mine = &mut proxied.lineages[d];
        if matches!(is.process, Process::ServerGone { .. } | Process::NodeGone) {
            *mine = RESTARTED;
            continue;
        }
        let promoted = is.role == Role::Primary && was.role != Role::Primary;
        match is.role {
            Role::Primary if promoted => {
                let end = if mine.id == UNUSED { 0 } else { was.log };
                mine.before = Some((mine.id, end));
                mine.id = new_id;
                new_id += 1;
            }
            Role::Replica { of, link } if is.role != was.role => {
                let theirs = old[of].id;
                match link {
                    Link::Loading(_) => {
                        *mine = Lineage {
                            id: theirs,
                            before: None,
                        };
                    }
                    Link::Up if !is_loading(was.role) && mine.id != theirs => {
                        *mine = Lineage {
                            id: theirs,
                            before: Some((mine.id, was.log)),
                        };
                    }
                    Link::Up | Link::Down => {}
                }
            }
            _ => {}
        }
    }
    after.proxied = Some(proxied);
}

/// Whether a full copy is being loaded.
fn is_loading(role: Role) -> bool {
    matches!(
        role,
        Role::Replica {
            link: Link::Loading(_),
            ..
        }
    )
}

/// Numbers the histories in their order, and clears what has no effect.
pub fn tidy(nodes: usize, rules: &Rules, state: &mut State) {
    let Some(proxied) = &mut state.proxied else {
        return;
    };
    if state.writer.pending.is_none() && proxied.open.is_none() {
        proxied.place = None;
        if !proxied.again {
            proxied.earlier = [None; EARLIER];
        }
    }
    let of_write: Vec<_> = proxied.places().map(|place| place.history).collect();
    let mut known = vec![UNUSED];
    let ids = proxied.lineages.iter().take(nodes).map(|l| l.id);
    for id in ids.chain(of_write) {
        if !known.contains(&id) {
            known.push(id);
        }
    }
    let number = |id: u8| known.iter().position(|x| *x == id).map(|at| at as u8);
    for lineage in &mut proxied.lineages {
        lineage.id = number(lineage.id).unwrap_or(UNUSED);
        lineage.before = match lineage.before {
            // No write can be of a history that no server has, unless it was judged already.
            Some((id, _))
                if number(id).is_none_or(|id| id == UNUSED)
                    && rules.fate != FateRule::AnyHistory =>
            {
                None
            }
            Some((id, end)) => Some((number(id).unwrap_or(UNUSED), end)),
            None => None,
        };
    }
    for place in proxied
        .earlier
        .iter_mut()
        .chain([&mut proxied.place])
        .flatten()
    {
        place.history = number(place.history).unwrap_or(UNUSED);
    }
}

/// Nothing is judged any more.
pub fn rest(state: &mut State) {
    if let Some(proxied) = &mut state.proxied {
        let is_repeated = proxied.attempts.count_ones() > 1;
        *proxied = Proxied {
            attempts: if is_repeated { proxied.attempts } else { 0 },
            misjudged: proxied.misjudged,
            ..Proxied::new(0)
        };
    }
}
