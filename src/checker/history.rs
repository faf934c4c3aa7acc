//! The first pass: the ledger.

use std::io::Read;
use std::ops::Range;

use serde::Serialize;

use crate::ledger::{
    self, Entry, Header, LedgerEnd, LedgerEvent, LedgerReader, Nibbles, RecordOutcome,
};

/// A fault, from its beginning until it was healed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultInterval {
    /// Its name.
    pub name: String,
    /// When it began, in microseconds since the start of the run.
    pub start_us: u64,
    /// When it was healed; `None` if it never was, so that it lasts to the end of the history.
    pub end_us: Option<u64>,
    /// Whether it has to cause a failover. Without a change of the primary after its beginning,
    /// the run proves nothing about it.
    pub expects_failover: bool,
}

/// A run, as recorded in its ledger.
#[derive(Debug, Clone)]
pub struct History {
    header: Header,
    outcomes: Nibbles,
    invoked: u64,
    faults: Vec<FaultInterval>,
    /// When the primary changed, in microseconds since the start of the run. One for each
    /// failover, so there are few.
    primary_changes: Vec<u64>,
    given_up: Option<Range<u64>>,
    end: LedgerEnd,
}

impl History {
    /// The empty history of a run.
    pub fn new(header: Header) -> History {
        History {
            header,
            outcomes: Nibbles::default(),
            invoked: 0,
            faults: Vec::new(),
            primary_changes: Vec::new(),
            given_up: None,
            end: LedgerEnd::Open,
        }
    }

    /// The complete history in a ledger.
    ///
    /// # Errors
    /// If the ledger cannot be read or is damaged.
    pub fn read<R: Read>(reader: &mut LedgerReader<R>) -> Result<History, ledger::Error> {
        History::read_given_up(reader, None)
    }

    /// The same, for a lab that was restored from a backup. `given_up` is the time from the
    /// beginning of the backup until the lab had lost its data, in microseconds since the start
    /// of the run. A record acknowledged in that time counts as unknown.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn read_given_up<R: Read>(
        reader: &mut LedgerReader<R>,
        given_up: Option<Range<u64>>,
    ) -> Result<History, ledger::Error> {
        let mut history = History::new(reader.header().clone());
        history.given_up = given_up;
        for entry in reader.by_ref() {
            history.push(&entry?);
        }
        history.end = reader.end().unwrap_or(LedgerEnd::Open);
        Ok(history)
    }

    /// Adds the next entry.
    pub fn push(&mut self, entry: &Entry) {
        match entry {
            Entry::Invoked(batch) => self.invoked = self.invoked.max(batch.seqs.end),
            Entry::Settled(settled)
                if settled.outcome.is_acknowledged()
                    && (self.given_up.as_ref()).is_some_and(|span| {
                        settled.last_at_us >= span.start && settled.first_at_us < span.end
                    }) => {}
            Entry::Settled(settled) => {
                let new = settled.outcome as u8 + 1;
                for seq in settled.seqs.iter().flat_map(|seqs| seqs.iter()) {
                    if new > self.outcomes.get(seq) {
                        self.outcomes.set(seq, new);
                    }
                }
            }
            Entry::Event { at_us, event } => self.event(*at_us, event),
            Entry::Closed { .. } => self.end = LedgerEnd::Closed,
        }
    }

    fn event(&mut self, at_us: u64, event: &LedgerEvent) {
        match event {
            LedgerEvent::FaultStarted {
                fault,
                expects_failover,
            } => self.faults.push(FaultInterval {
                name: fault.clone(),
                start_us: at_us,
                end_us: None,
                expects_failover: *expects_failover,
            }),
            LedgerEvent::FaultEnded { fault } => {
                let open = |f: &&mut FaultInterval| f.name == *fault && f.end_us.is_none();
                if let Some(fault) = self.faults.iter_mut().rev().find(open) {
                    fault.end_us = Some(at_us);
                }
            }
            LedgerEvent::PrimaryChanged { .. } => self.primary_changes.push(at_us),
            LedgerEvent::Resumed => self.end = LedgerEnd::Open,
            LedgerEvent::SentAgain | LedgerEvent::Note { .. } => {}
        }
    }

    /// Adds a fault that is not in the ledger.
    pub fn push_fault(&mut self, fault: FaultInterval) {
        self.faults.push(fault);
    }

    /// The header of the ledger.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the ledger ends.
    pub fn end(&self) -> LedgerEnd {
        self.end
    }

    /// The number of invoked records: their sequence numbers lie below this.
    pub fn invoked(&self) -> u64 {
        self.invoked
    }

    /// The outcome of a record; `None` if it is unknown or was never invoked.
    pub fn outcome(&self, seq: u64) -> Option<RecordOutcome> {
        let index = usize::from(self.outcomes.get(seq)).checked_sub(1)?;
        RecordOutcome::ALL.get(index).copied()
    }

    /// The faults, in the order in which they were added.
    pub fn faults(&self) -> &[FaultInterval] {
        &self.faults
    }

    /// The faults that had to cause a failover, but none was seen before the next such fault began.
    pub(super) fn faults_without_failover(&self) -> impl Iterator<Item = &FaultInterval> {
        self.faults.iter().filter(|fault| {
            let later = self.faults.iter().filter(|f| f.expects_failover);
            let until = later
                .map(|f| f.start_us)
                .filter(|us| *us > fault.start_us)
                .min();
            let seen = self
                .primary_changes
                .iter()
                .any(|us| *us >= fault.start_us && until.is_none_or(|until| *us < until));
            fault.expects_failover && !seen
        })
    }
}
