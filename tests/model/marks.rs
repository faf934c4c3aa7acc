//! The marks of copies in the model. They are turned into the crate's own [`copy::DataCopy`]s,
//! which compare themselves.
//!
//! A mark is an entry of the log, like a write: it is streamed, copied and lost in the same way.
//! The mark of a copy is the newest in its log.

use redis_ha_lab::protocol::copy::{self, Completeness, Mark};

use super::state::*;

/// The largest number of entries that are distinguished at a time.
pub const ENTRIES: usize = Log::BITS as usize;
/// The largest number of terms that are distinguished at a time.
pub const TERMS: usize = 8;

/// A mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Its index in the table of terms.
    pub term: u8,
    pub count: u8,
    pub epoch: Option<u8>,
    /// The term is confirmed.
    pub confirmed: bool,
    pub state: Completeness,
}

/// An entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The number is not in use.
    Free,
    Write,
    Mark(Stamp),
    /// The message of a round of questions: streamed like a write, but stored in no key or file.
    Message,
}

/// An earlier term, as recorded in the copy that continued from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndedTerm {
    term: u8,
    count: u8,
    /// The node of the next term; that term itself may be irrelevant by now.
    next_by: u8,
}

/// A term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term {
    lab: u8,
    pub by: u8,
    /// Earlier terms, latest first, without those of which no copy is left.
    before: [Option<EndedTerm>; TERMS],
}

/// All entries and terms that some copy still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct History {
    pub entries: [Entry; ENTRIES],
    pub terms: [Option<Term>; TERMS],
}

fn bits(log: Log) -> impl Iterator<Item = usize> {
    (0..ENTRIES).filter(move |e| log & (1 << e) != 0)
}

/// The name of a data node.
pub fn name(d: usize) -> &'static str {
    ["a", "b", "c"][d]
}

impl History {
    /// One term of the first node, with one mark.
    pub fn new() -> History {
        let mut history = History {
            entries: [Entry::Free; ENTRIES],
            terms: [None; TERMS],
        };
        history.entries[0] = Entry::Mark(Stamp {
            term: 0,
            count: 1,
            epoch: Some(1),
            confirmed: true,
            state: Completeness::Open,
        });
        history.terms[0] = Some(Term {
            lab: 0,
            by: 0,
            before: [None; TERMS],
        });
        history
    }

    pub fn marks(&self) -> Log {
        self.bits_of(|entry| matches!(entry, Entry::Mark(_)))
    }

    pub fn writes(&self) -> Log {
        self.bits_of(|entry| *entry == Entry::Write)
    }

    pub fn messages(&self) -> Log {
        self.bits_of(|entry| *entry == Entry::Message)
    }

    fn bits_of(&self, is: impl Fn(&Entry) -> bool) -> Log {
        let of = |(e, entry)| Log::from(is(entry)) << e;
        self.entries.iter().enumerate().map(of).sum()
    }

    /// The mark of a copy.
    pub fn stamp(&self, log: Log) -> Option<Stamp> {
        let newest = (log & self.marks()).checked_ilog2()?;
        match self.entries[newest as usize] {
            Entry::Mark(stamp) => Some(stamp),
            _ => None,
        }
    }

    /// The node that wrote the mark of a copy.
    pub fn by(&self, log: Log) -> Option<usize> {
        let term = self.stamp(log)?.term;
        self.terms[usize::from(term)].map(|term| usize::from(term.by))
    }

    /// Whether something was written after the newest mark.
    pub fn unmarked(&self, log: Log) -> bool {
        (log & self.writes()).checked_ilog2() > (log & self.marks()).checked_ilog2()
    }

    /// The next number.
    pub fn add(&mut self, entry: Entry) -> usize {
        let used = self.bits_of(|entry| *entry != Entry::Free);
        let next = used.checked_ilog2().map_or(0, |newest| newest as usize + 1);
        assert!(next < ENTRIES, "more entries than the model has room for");
        self.entries[next] = entry;
        next
    }

    /// The first mark of a term of `d`, whose copy is `log`.
    pub fn begin(&mut self, log: Log, d: usize, epoch: Option<u8>, confirmed: bool) -> usize {
        let by = d as u8;
        let last = self.stamp(log);
        let parent = last.and_then(|last| self.terms[usize::from(last.term)]);
        let mut before = [None; TERMS];
        if let (Some(last), Some(parent)) = (last, parent) {
            // A term that was never confirmed is left out.
            let earlier = if last.confirmed {
                before[0] = Some(EndedTerm {
                    term: last.term,
                    count: last.count,
                    next_by: by,
                });
                &parent.before[..]
            } else {
                before[0] = parent.before[0].map(|past| EndedTerm {
                    next_by: by,
                    ..past
                });
                &parent.before[1..]
            };
            let room = earlier.len().min(TERMS - 1);
            before[1..=room].copy_from_slice(&earlier[..room]);
        }
        let labs = self.terms.iter().flatten().map(|term| term.lab + 1).max();
        let free = self.terms.iter().position(Option::is_none);
        let term = free.expect("more terms than the model has room for");
        self.terms[term] = Some(Term {
            lab: parent.map_or(labs.unwrap_or(0), |parent| parent.lab),
            by,
            before,
        });
        self.add(Entry::Mark(Stamp {
            term: term as u8,
            count: 1,
            epoch,
            confirmed,
            state: Completeness::Open,
        }))
    }

    /// The next mark of the term of the newest mark in `log`; `confirmed`: the term is confirmed
    /// from now on.
    pub fn next(
        &mut self,
        log: Log,
        epoch: Option<u8>,
        confirmed: bool,
        state: Completeness,
    ) -> Option<usize> {
        let last = self.stamp(log)?;
        Some(self.add(Entry::Mark(Stamp {
            count: last.count + 1,
            epoch,
            confirmed: last.confirmed || confirmed,
            state,
            ..last
        })))
    }

    fn term(&self, term: u8) -> (copy::Term, Term) {
        let at = self.terms[usize::from(term)].expect("a term in use");
        let term = copy::Term {
            number: 2 * at.before.iter().flatten().count() as u64,
            id: term.to_string(),
            by: name(usize::from(at.by)).to_owned(),
        };
        (term, at)
    }

    /// The copy in the crate's own type.
    pub fn copy(&self, log: Log) -> copy::DataCopy {
        let Some(stamp) = self.stamp(log) else {
            return if log == 0 {
                copy::DataCopy::Empty
            } else {
                copy::DataCopy::Unmarked
            };
        };
        let (term, at) = self.term(stamp.term);
        let mut before = Vec::new();
        let mut next_by = at.by;
        for past in at.before.iter().flatten() {
            let (term, at) = self.term(past.term);
            if past.next_by != next_by {
                // Stands for the irrelevant ones.
                let gone = copy::Term {
                    number: term.number + 1,
                    id: "gone".to_owned(),
                    by: name(usize::from(past.next_by)).to_owned(),
                };
                before.push(copy::EndedTerm {
                    term: gone,
                    count: 0,
                    forced: false,
                });
            }
            next_by = at.by;
            before.push(copy::EndedTerm {
                term,
                count: u64::from(past.count),
                forced: false,
            });
        }
        copy::DataCopy::Marked(Box::new(Mark {
            lab: at.lab.to_string(),
            term,
            count: u64::from(stamp.count),
            epoch: stamp.epoch.map(u64::from),
            confirmed: stamp.confirmed,
            history: String::new(),
            state: stamp.state,
            before,
            over: Vec::new(),
            restored: Vec::new(),
        }))
    }
}

/// Every set of entries in the state.
fn each_set(nodes: usize, state: &mut State, mut change: impl FnMut(Log) -> Log) {
    for node in state.data.iter_mut().take(nodes) {
        node.log = change(node.log);
        node.synced = change(node.synced) & node.log;
        if let Role::Replica {
            link: Link::Loading(copy),
            ..
        } = &mut node.role
        {
            *copy = change(*copy);
        }
        node.raising = node.raising.map(&mut change);
    }
    state.found = state.found.map(&mut change);
    state.writer.acknowledged = change(state.writer.acknowledged);
    if let Some(pending) = &mut state.writer.pending {
        pending.write = change(1 << pending.write).trailing_zeros() as u8;
    }
    if let Some(reader) = &mut state.reader {
        reader.each_set(&mut change);
    }
    if let Some(proxied) = &mut state.proxied {
        proxied.each_set(&mut change);
    }
}

/// All copies, and those that a raise waits for.
fn copies(nodes: usize, state: &State) -> Vec<Log> {
    let mut copies = Vec::new();
    for node in state.data.iter().take(nodes) {
        copies.push(node.log);
        if let Role::Replica {
            link: Link::Loading(copy),
            ..
        } = node.role
        {
            copies.push(copy);
        }
        copies.extend(node.raising);
    }
    copies
}

/// Clears what has no effect and renumbers the rest, so that states with the same behaviour are
/// equal. `last`: no further faults are possible, so no older state of a copy comes back.
pub fn tidy(nodes: usize, last: bool, state: &mut State) {
    let pending = state.writer.pending.map_or(0, |p| 1 << p.write);
    let mut promised = state.writer.acknowledged | pending;
    // A write whose outcome stays unknown promises nothing, unless it was read, or may be.
    let mut kept = state.history.marks();
    if let Some(reader) = &state.reader {
        promised |= reader.pinned();
        kept |= reader.readable(&state.history);
    }
    if let Some(proxied) = &state.proxied {
        promised |= proxied.pinned();
        kept |= proxied.attempts;
    }
    kept |= promised;
    each_set(nodes, state, |set| set & kept);
    // A raise waits for no existing mark.
    let marks = state.history.marks();
    for node in state.data.iter_mut().take(nodes) {
        let there = node.log & marks;
        node.raising = node.raising.map(|had| had & !there);
    }
    let copies = copies(nodes, state);
    let mut live = copies.iter().fold(promised, |all, copy| all | copy);
    // A mark that every copy has together with the next one, with nothing in between.
    let all: Vec<usize> = bits(live).collect();
    for pair in all.windows(2) {
        let (this, next) = (1 << pair[0], 1 << pair[1]);
        let both = copies
            .iter()
            .all(|copy| (copy & this != 0) == (copy & next != 0));
        if marks & this != 0 && marks & next != 0 && both {
            live &= !this;
        }
    }
    if last {
        for node in &mut state.data {
            node.synced = 0;
        }
        let newest = |copy: &Log| (copy & marks).checked_ilog2();
        let shown: Log = copies
            .iter()
            .filter_map(newest)
            .fold(0, |all, mark| all | 1 << mark);
        live &= !marks | shown;
    }
    let old = state.history.entries;
    state.history.entries = [Entry::Free; ENTRIES];
    let numbers: Vec<usize> = bits(live).collect();
    for (new, was) in numbers.iter().enumerate() {
        state.history.entries[new] = old[*was];
    }
    each_set(nodes, state, |set| {
        let renumbered = numbers.iter().enumerate();
        renumbered
            .map(|(new, was)| Log::from(set & (1 << was) != 0) << new)
            .sum()
    });
    tidy_epochs(state);
    tidy_terms(&mut state.history);
}

/// Only differences of epochs matter: the lowest of a Sentinel becomes 1, and all older ones 0.
fn tidy_epochs(state: &mut State) {
    let lowest = state.sentinels.iter().map(|s| s.epoch).min().unwrap_or(1);
    let shift = |epoch: u8| (epoch + 1).saturating_sub(lowest);
    if lowest == 1 {
        return;
    }
    state.past = (state.past + lowest).saturating_sub(1);
    for sentinel in &mut state.sentinels {
        sentinel.epoch = shift(sentinel.epoch);
        if let Some(failover) = &mut sentinel.failover {
            failover.epoch = shift(failover.epoch);
        }
    }
    for node in &mut state.data {
        node.memory.named_at = node.memory.named_at.map(shift);
    }
    let reading = state.reader.as_mut().map(|reader| &mut reader.target);
    for target in reading.into_iter().chain([&mut state.writer.target]) {
        if let Some((_, Standing::Elected(epoch) | Standing::Promoted { epoch, .. })) = target {
            *epoch = shift(*epoch);
        }
    }
    for entry in &mut state.history.entries {
        if let Entry::Mark(stamp) = entry {
            stamp.epoch = stamp.epoch.map(shift);
        }
    }
}

fn tidy_terms(history: &mut History) {
    // In the order of their first marks.
    let mut live: Vec<u8> = Vec::new();
    let mut labs: Vec<u8> = Vec::new();
    for entry in &history.entries {
        if let Entry::Mark(stamp) = entry
            && !live.contains(&stamp.term)
        {
            live.push(stamp.term);
            let lab = history.term(stamp.term).1.lab;
            if !labs.contains(&lab) {
                labs.push(lab);
            }
        }
    }
    // A copy whose term is not confirmed is compared by its last confirmed term.
    let counts_as = |stamp: &Stamp| {
        let uncounted = !stamp.confirmed;
        let before = history.terms[usize::from(stamp.term)]?.before[0]?;
        uncounted.then_some(before)
    };
    let stamps = || {
        history.entries.iter().filter_map(|entry| match entry {
            Entry::Mark(stamp) => Some(stamp),
            _ => None,
        })
    };
    let stand_for: Vec<EndedTerm> = stamps().filter_map(counts_as).collect();
    for past in &stand_for {
        if !live.contains(&past.term) {
            live.push(past.term);
            let lab = history.term(past.term).1.lab;
            if !labs.contains(&lab) {
                labs.push(lab);
            }
        }
    }
    let place = |of: &[u8], x: u8| of.iter().position(|y| *y == x).map(|at| at as u8);
    // Only the order of the counts matters.
    let counts: Vec<Vec<u8>> = live
        .iter()
        .map(|term| {
            let marked = stamps().map(|stamp| (stamp.term, stamp.count));
            let places = marked.chain(stand_for.iter().map(|past| (past.term, past.count)));
            let of_it = places.filter(|place| place.0 == *term);
            let mut counts: Vec<u8> = of_it.map(|place| place.1).collect();
            counts.sort_unstable();
            counts.dedup();
            counts
        })
        .collect();
    let rank = |term: u8, count: u8| {
        let smaller = |x: &&u8| **x <= count;
        counts[usize::from(term)].iter().filter(smaller).count() as u8
    };
    let old = history.terms;
    history.terms = [None; TERMS];
    for (new, was) in live.iter().enumerate() {
        let Some(term) = old[usize::from(*was)] else {
            continue;
        };
        let mut before = [None; TERMS];
        let known = term.before.iter().flatten().filter_map(|past| {
            let term = place(&live, past.term)?;
            Some(EndedTerm {
                term,
                count: rank(term, past.count),
                next_by: past.next_by,
            })
        });
        for (to, past) in before.iter_mut().zip(known) {
            *to = Some(past);
        }
        history.terms[new] = Some(Term {
            lab: place(&labs, term.lab).unwrap_or(0),
            by: term.by,
            before,
        });
    }
    for entry in &mut history.entries {
        if let Entry::Mark(stamp) = entry {
            stamp.term = place(&live, stamp.term).unwrap_or(0);
            stamp.count = rank(stamp.term, stamp.count);
        }
    }
}

/// The copy truncated below its `marks`th newest mark, or below its newest write; `None` if it has
/// fewer.
pub fn cut_off(history: &History, log: Log, marks: u32) -> Option<Log> {
    if marks == 0 {
        let write = (log & history.writes()).checked_ilog2()?;
        return Some(log & ((1 << write) - 1));
    }
    let mut left = log & history.marks();
    for _ in 1..marks {
        left &= !(1 << left.checked_ilog2()?);
    }
    let below = left.checked_ilog2()?;
    Some(log & ((1 << below) - 1))
}
