//! The second pass: what a final read of one node returned, held against the history.

use std::collections::BTreeSet;

use super::{Counts, FaultLoss, Found, History, Loss, Reason, Report, Verdict};
use crate::ledger::{Nibbles, Outcome};
use crate::record::{Batch, SeqRange, Timestamp};

/// Ranges that a report lists of each kind; the counts are always complete.
pub const MAX_RANGES: usize = 32;

/// A loss also lies in a fault if its record was created at most this long, in microseconds, before
/// the fault began: what asynchronous replication loses was written just before.
pub const FAULT_LEAD_US: u64 = 1_000_000;

/// Stray records that are told apart, so that one seen twice counts once. Some megabytes; beyond
/// that many the verdict is not in doubt.
const MAX_STRAYS: usize = 100_000;

/// The final read of one node.
#[derive(Debug)]
pub struct Reading<'h> {
    history: &'h History,
    node: String,
    /// For each record its [`Seen`], and [`TWICE`].
    seen: Nibbles,
    expected: Batch,
    loss: Option<Loss>,
    strays: BTreeSet<u64>,
    more_strays: u64,
    failures: Vec<String>,
}

/// What was read under the key of a record. The greater counts, where a read says several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    Value,
    OtherValue,
    Absent,
}

const SEEN: u8 = 0b011;
const TWICE: u8 = 0b100;

impl Seen {
    fn of(nibble: u8) -> Seen {
        match nibble & SEEN {
            0 => Seen::Nothing,
            1 => Seen::Value,
            2 => Seen::OtherValue,
            _ => Seen::Absent,
        }
    }
}

impl<'h> Reading<'h> {
    /// Begins a read of `node`.
    pub fn new(history: &'h History, node: &str) -> Reading<'h> {
        Reading {
            history,
            node: node.to_owned(),
            seen: Nibbles::with_len(history.invoked()),
            expected: Batch::new(history.header().run, history.header().start),
            loss: None,
            strays: BTreeSet::new(),
            more_strays: 0,
            failures: Vec::new(),
        }
    }

    /// Takes what was read under the key of record `seq`, created at `created` as its batch in the
    /// ledger says; `None` if there is no such key.
    ///
    /// Cheapest if the records of a batch follow each other. A record that the history does not
    /// have counts as [`Reading::observe_stray`] if there is a value.
    pub fn observe(&mut self, seq: u64, created: Timestamp, value: Option<&[u8]>) {
        if seq >= self.history.invoked() {
            if value.is_some() {
                self.observe_stray(seq);
            }
            return;
        }
        let new = match value {
            None => Seen::Absent,
            Some(value) if self.expected.at(created).value_matches(seq, value) => Seen::Value,
            Some(_) => Seen::OtherValue,
        };
        let nibble = self.seen.get(seq);
        let old = Seen::of(nibble);
        let twice = if old == Seen::Nothing { 0 } else { TWICE };
        self.seen
            .set(seq, old.max(new) as u8 | twice | nibble & TWICE);
        let acknowledged = self
            .history
            .outcome(seq)
            .is_some_and(Outcome::is_acknowledged);
        if new == Seen::Absent && old != Seen::Absent && acknowledged {
            self.lose(created);
        }
    }

    /// Takes a record that was found on the node and is not among the batches of the ledger. Safe to
    /// call for every key of the run that a scan finds: those that the history has are passed over.
    pub fn observe_stray(&mut self, seq: u64) {
        if seq < self.history.invoked() || self.strays.contains(&seq) {
            return;
        }
        if self.strays.len() < MAX_STRAYS {
            self.strays.insert(seq);
        } else {
            self.more_strays += 1;
        }
    }

    /// Says that the read, or a part of it, failed; `why` becomes part of the report.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.failures.push(why.into());
    }

    fn lose(&mut self, created: Timestamp) {
        let faults = self.history.faults();
        let loss = self.loss.get_or_insert_with(|| Loss {
            first_created: created,
            last_created: created,
            faults: faults
                .iter()
                .map(|fault| FaultLoss {
                    fault: fault.clone(),
                    records: 0,
                })
                .collect(),
            outside: 0,
        });
        loss.first_created = loss.first_created.min(created);
        loss.last_created = loss.last_created.max(created);
        let at_us = created.micros_since(self.history.header().start);
        let mut outside = true;
        for FaultLoss { fault, records } in &mut loss.faults {
            let begins = fault.start_us.saturating_sub(FAULT_LEAD_US);
            if begins <= at_us && fault.end_us.is_none_or(|end_us| at_us <= end_us) {
                *records += 1;
                outside = false;
            }
        }
        loss.outside += u64::from(outside);
    }

    /// The report.
    pub fn finish(mut self) -> Report {
        let mut counts = Counts {
            invoked: self.history.invoked(),
            ..Counts::default()
        };
        let (mut lost, mut corrupted) = (Found::default(), Found::default());
        let (mut unexpected, mut duplicated) = (Found::default(), Found::default());
        let mut unread = Found::default();
        for seq in 0..self.history.invoked() {
            let nibble = self.seen.get(seq);
            if nibble & TWICE != 0 {
                duplicated.push(seq);
            }
            let outcome = self.history.outcome(seq);
            match outcome {
                Some(Outcome::Replicated) => counts.replicated += 1,
                Some(Outcome::Witnessed) => counts.witnessed += 1,
                Some(Outcome::Sent) => counts.unconfirmed += 1,
                Some(Outcome::Failed) => counts.failed += 1,
                None => counts.unsettled += 1,
            }
            let acknowledged = outcome.map(Outcome::is_acknowledged);
            match (acknowledged, Seen::of(nibble)) {
                (_, Seen::OtherValue) => corrupted.push(seq),
                (Some(true), Seen::Value) => counts.ok += 1,
                (Some(true), Seen::Absent) => lost.push(seq),
                (Some(true), Seen::Nothing) => unread.push(seq),
                (Some(false), Seen::Value) => unexpected.push(seq),
                (None, Seen::Value) => counts.recovered += 1,
                (None, Seen::Absent | Seen::Nothing) => counts.unknown += 1,
                (Some(false), Seen::Absent | Seen::Nothing) => {}
            }
        }
        counts.acknowledged = counts.replicated + counts.witnessed + counts.unconfirmed;
        self.strays.iter().for_each(|seq| unexpected.push(*seq));
        unexpected.count += self.more_strays;
        if let Some(loss) = &mut self.loss {
            loss.faults.retain(|fault| fault.records > 0);
        }

        let mut reasons = Vec::new();
        let mut reason = |applies: bool, reason: Reason| reasons.extend(applies.then_some(reason));
        reason(
            lost.count > 0,
            Reason::Lost {
                records: lost.count,
            },
        );
        reason(
            corrupted.count > 0,
            Reason::Corrupted {
                records: corrupted.count,
            },
        );
        reason(
            unexpected.count > 0,
            Reason::Unexpected {
                records: unexpected.count,
            },
        );
        reason(counts.acknowledged == 0, Reason::NothingAcknowledged);
        reason(
            unread.count > 0,
            Reason::Unread {
                records: unread.count,
            },
        );
        for why in self.failures {
            reason(true, Reason::ReadFailed { why });
        }
        for fault in self.history.faults_without_failover() {
            reason(
                true,
                Reason::NoFailover {
                    fault: fault.name.clone(),
                },
            );
        }
        Report {
            run: self.history.header().run,
            policy: self.history.header().policy.clone(),
            node: self.node,
            verdict: Verdict::worst(reasons.iter().map(Reason::verdict)),
            reasons,
            ledger: self.history.end(),
            counts,
            lost,
            loss: self.loss,
            corrupted,
            unexpected,
            duplicated,
            unread,
        }
    }
}

impl Found {
    /// Takes the next one; they come in order.
    fn push(&mut self, seq: u64) {
        self.count += 1;
        match self.last {
            Some(last) if last.checked_add(1) == Some(seq) => {
                if self.ranges_left_out == 0
                    && let Some(range) = self.ranges.last_mut()
                {
                    range.end = seq.saturating_add(1);
                }
            }
            _ if self.ranges.len() < MAX_RANGES => {
                self.ranges.push(SeqRange::new(seq, seq.saturating_add(1)));
            }
            _ => self.ranges_left_out += 1,
        }
        self.last = Some(seq);
    }
}
