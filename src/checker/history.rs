//! The first pass: what the ledger says.

use std::io::Read;
use std::ops::Range;

use serde::Serialize;

use crate::ledger::{self, End, Entry, Event, Header, LedgerReader, Nibbles, Outcome};

/// A fault, between its beginning and its healing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// When it began, in microseconds since the start of the run.
    pub start_us: u64,
    /// When it was healed; `None` if it never was, so it lasts to the end of the history.
    pub end_us: Option<u64>,
    /// Whether the lab has to fail over because of it: without a change of the primary after its
    /// beginning, the run shows nothing about it.
    pub expects_failover: bool,
}

/// What a run did, as its ledger has it.
#[derive(Debug, Clone)]
pub struct History {
    header: Header,
    outcomes: Nibbles,
    invoked: u64,
    faults: Vec<Fault>,
    /// When the primary changed, in microseconds since the start of the run. As many as there were
    /// failovers, so it stays small.
    primary_changes: Vec<u64>,
    given_up: Option<Range<u64>>,
    end: End,
}

impl History {
    /// The history of a run that has done nothing yet.
    pub fn new(header: Header) -> History {
        History {
            header,
            outcomes: Nibbles::default(),
            invoked: 0,
            faults: Vec::new(),
            primary_changes: Vec::new(),
            given_up: None,
            end: End::Open,
        }
    }

    /// The history in a ledger, to its end.
    ///
    /// # Errors
    /// If the ledger cannot be read or is damaged.
    pub fn read<R: Read>(reader: &mut LedgerReader<R>) -> Result<History, ledger::Error> {
        History::read_given_up(reader, None)
    }

    /// The same, of a lab that went back to a backup. `given_up`: from when the backup was begun to when the lab had lost its data, in
    /// microseconds since the start of the run. What was acknowledged then may be there or not, as what is unknown.
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
        history.end = reader.end().unwrap_or(End::Open);
        Ok(history)
    }

    /// Adds what comes next.
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
            Entry::Closed { .. } => self.end = End::Closed,
        }
    }

    fn event(&mut self, at_us: u64, event: &Event) {
        match event {
            Event::FaultStarted {
                fault,
                expects_failover,
            } => self.faults.push(Fault {
                name: fault.clone(),
                start_us: at_us,
                end_us: None,
                expects_failover: *expects_failover,
            }),
            Event::FaultEnded { fault } => {
                let open = |f: &&mut Fault| f.name == *fault && f.end_us.is_none();
                if let Some(fault) = self.faults.iter_mut().rev().find(open) {
                    fault.end_us = Some(at_us);
                }
            }
            Event::PrimaryChanged { .. } => self.primary_changes.push(at_us),
            Event::Resumed => self.end = End::Open,
            Event::SentAgain | Event::Note { .. } => {}
        }
    }

    /// Adds a fault that the ledger does not name.
    pub fn push_fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// What the ledger says about its run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the ledger ended.
    pub fn end(&self) -> End {
        self.end
    }

    /// How many records were invoked: their sequence numbers lie below this.
    pub fn invoked(&self) -> u64 {
        self.invoked
    }

    /// How a record was settled; `None` if it is unknown, or was never invoked.
    pub fn outcome(&self, seq: u64) -> Option<Outcome> {
        let index = usize::from(self.outcomes.get(seq)).checked_sub(1)?;
        Outcome::ALL.get(index).copied()
    }

    /// The faults, in the order in which they came to be known.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The faults that had to cause a failover, with none seen before the next such fault began.
    pub(super) fn faults_without_failover(&self) -> impl Iterator<Item = &Fault> {
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
