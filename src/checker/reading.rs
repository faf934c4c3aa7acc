//! The second pass: the final read of one node, compared with the history.

use std::collections::BTreeSet;

use super::{CheckReport, FaultLoss, History, Loss, Reason, RecordCounts, RecordList, Verdict};
use crate::ledger::{Nibbles, RecordOutcome};
use crate::record::{Batch, SeqRange, Timestamp};

/// The number of ranges that a report lists for each class; the counts are always complete.
pub const MAX_RANGES: usize = 32;

/// A lost record also belongs to a fault if it was created at most this long, in microseconds,
/// before the fault began: asynchronous replication loses what was written just before.
pub const FAULT_LEAD_US: u64 = 1_000_000;

/// The number of stray records that are remembered, so that one observed twice counts once. This
/// takes a few megabytes; with more, the verdict is certain.
const MAX_STRAYS: usize = 100_000;

/// The final read of one node.
#[derive(Debug)]
pub struct NodeReading<'h> {
    history: &'h History,
    node: String,
    /// For each record its [`ReadState`], and [`TWICE`].
    observed: Nibbles,
    expected: Batch,
    loss: Option<Loss>,
    strays: BTreeSet<u64>,
    more_strays: u64,
    failures: Vec<String>,
}

/// What was read under the key of a record. Of several observations the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ReadState {
    Nothing,
    Value,
    OtherValue,
    Absent,
}

const OBSERVED: u8 = 0b011;
const TWICE: u8 = 0b100;

impl ReadState {
    fn of(nibble: u8) -> ReadState {
        match nibble & OBSERVED {
            0 => ReadState::Nothing,
            1 => ReadState::Value,
            2 => ReadState::OtherValue,
            _ => ReadState::Absent,
        }
    }
}

impl<'h> NodeReading<'h> {
    /// Begins a read of `node`.
    pub fn new(history: &'h History, node: &str) -> NodeReading<'h> {
        NodeReading {
            history,
            node: node.to_owned(),
            observed: Nibbles::with_len(history.invoked()),
            expected: Batch::new(history.header().run, history.header().start),
            loss: None,
            strays: BTreeSet::new(),
            more_strays: 0,
            failures: Vec::new(),
        }
    }

    /// Records what was read under the key of record `seq`, created at `created` according to its
    /// batch in the ledger; `None` if there is no such key.
    ///
    /// Cheapest when the records of a batch follow each other. A value for a record that is not in
    /// the history counts as [`NodeReading::observe_stray`].
    pub fn observe(&mut self, seq: u64, created: Timestamp, value: Option<&[u8]>) {
        if seq >= self.history.invoked() {
            if value.is_some() {
                self.observe_stray(seq);
            }
            return;
        }
        let new = match value {
            None => ReadState::Absent,
            Some(value) if self.expected.at(created).value_matches(seq, value) => ReadState::Value,
            Some(_) => ReadState::OtherValue,
        };
        let nibble = self.observed.get(seq);
        let old = ReadState::of(nibble);
        let twice = if old == ReadState::Nothing { 0 } else { TWICE };
        self.observed
            .set(seq, old.max(new) as u8 | twice | nibble & TWICE);
        let acknowledged = self
            .history
            .outcome(seq)
            .is_some_and(RecordOutcome::is_acknowledged);
        if new == ReadState::Absent && old != ReadState::Absent && acknowledged {
            self.lose(created);
        }
    }

    /// Records a record that was found on the node and may not be in the ledger. May be called for
    /// every key of the run that a scan finds: records of the history are ignored.
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

    /// Records that the read, or a part of it, failed; `why` is in the report.
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
    pub fn finish(mut self) -> CheckReport {
        let mut counts = RecordCounts {
            invoked: self.history.invoked(),
            ..RecordCounts::default()
        };
        let (mut lost, mut corrupted) = (RecordList::default(), RecordList::default());
        let (mut unexpected, mut duplicated) = (RecordList::default(), RecordList::default());
        let mut unread = RecordList::default();
        for seq in 0..self.history.invoked() {
            let nibble = self.observed.get(seq);
            if nibble & TWICE != 0 {
                duplicated.push(seq);
            }
            let outcome = self.history.outcome(seq);
            match outcome {
                Some(RecordOutcome::Replicated) => counts.replicated += 1,
                Some(RecordOutcome::Witnessed) => counts.witnessed += 1,
                Some(RecordOutcome::Unconfirmed) => counts.unconfirmed += 1,
                Some(RecordOutcome::Failed) => counts.failed += 1,
                None => counts.unsettled += 1,
            }
            let acknowledged = outcome.map(RecordOutcome::is_acknowledged);
            match (acknowledged, ReadState::of(nibble)) {
                (_, ReadState::OtherValue) => corrupted.push(seq),
                (Some(true), ReadState::Value) => counts.ok += 1,
                (Some(true), ReadState::Absent) => lost.push(seq),
                (Some(true), ReadState::Nothing) => unread.push(seq),
                (Some(false), ReadState::Value) => unexpected.push(seq),
                (None, ReadState::Value) => counts.recovered += 1,
                (None, ReadState::Absent | ReadState::Nothing) => counts.unknown += 1,
                (Some(false), ReadState::Absent | ReadState::Nothing) => {}
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
        CheckReport {
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

impl RecordList {
    /// Adds the next record; they come in order.
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
