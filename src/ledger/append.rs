//! What the writer holds between its caller and the file: one buffer, and settled records that wait
//! to share an entry.
//!
//! Invariant: the file ends at a whole entry before each write, and after a failed write too, since
//! what it left is cut off. Where even that fails, nothing more is written: an entry behind a torn
//! one would be damage in the middle.

use std::io::{self, Write};

use super::codec::{self, Codec};
use super::{Entry, Invoked, Outcome, Settled};
use crate::record::{SeqRange, Timestamp};

/// Settled records share an entry for this long. Short beside the shortest gap worth reporting; the
/// entry keeps the first and the last time, so longer gaps come out exact.
const WINDOW_US: u64 = 10_000;

/// And up to this many ranges, which keeps entries short and a sorted insert cheap.
const MAX_RANGES: usize = 64;

/// What waits for the next batch is written without one from this size on, in bytes.
const MAX_BUFFER: usize = 32 * 1024;

/// A file of which the end can be cut off.
pub(super) trait Medium: Write {
    /// Cuts it to `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Medium for std::fs::File {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Why nothing was appended.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The system; the file is whole, and trying again is allowed.
    Write(io::Error),
    /// The file could not be restored, now or earlier.
    Broken,
    /// The entry.
    Entry(codec::Error),
    /// Records that were never invoked.
    NotInvoked(SeqRange),
}

#[derive(Debug)]
pub(super) struct Appender<M: Medium> {
    medium: M,
    codec: Codec,
    /// Whole entries that are not in the file yet; the file ends where they begin.
    buffer: Vec<u8>,
    /// Settled records that are not in the buffer yet.
    waiting: Option<Settled>,
    broken: bool,
}

impl<M: Medium> Appender<M> {
    /// `codec` must stand at the end of `medium`, and writes must go there.
    pub(super) fn new(medium: M, codec: Codec) -> Appender<M> {
        Appender {
            medium,
            codec,
            buffer: Vec::new(),
            waiting: None,
            broken: false,
        }
    }

    pub(super) fn medium(&self) -> &M {
        &self.medium
    }

    #[cfg(test)]
    pub(super) fn medium_mut(&mut self) -> &mut M {
        &mut self.medium
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.codec.next_seq()
    }

    pub(super) fn at_us(&self) -> u64 {
        let waiting = self
            .waiting
            .as_ref()
            .map_or(0, |settled| settled.last_at_us);
        self.codec.at_us().max(waiting)
    }

    pub(super) fn invoked(&mut self, count: u64, created: Timestamp) -> Result<SeqRange, Refusal> {
        let start = self.codec.next_seq();
        let end = start
            .checked_add(count)
            .ok_or(Refusal::Entry(codec::Error::Empty))?;
        let seqs = SeqRange::new(start, end);
        self.append_now(&Entry::Invoked(Invoked { seqs, created }))?;
        Ok(seqs)
    }

    pub(super) fn settled(
        &mut self,
        seqs: SeqRange,
        outcome: Outcome,
        at_us: u64,
    ) -> Result<(), Refusal> {
        if self.broken {
            return Err(Refusal::Broken);
        }
        if seqs.end > self.codec.next_seq() {
            return Err(Refusal::NotInvoked(seqs));
        }
        if seqs.is_empty() {
            return Ok(());
        }
        let full = self.waiting.as_ref().is_some_and(|waiting| {
            waiting.outcome != outcome
                || waiting.seqs.len() >= MAX_RANGES
                || at_us.saturating_sub(waiting.first_at_us) >= WINDOW_US
        });
        if full {
            self.bundle()?;
            if self.buffer.len() >= MAX_BUFFER {
                self.write()?;
            }
        }
        let waiting = self.waiting.get_or_insert_with(|| Settled {
            outcome,
            first_at_us: at_us,
            last_at_us: at_us,
            seqs: Vec::with_capacity(MAX_RANGES),
        });
        // Connections settle side by side, so times may come slightly out of order.
        waiting.first_at_us = waiting.first_at_us.min(at_us);
        waiting.last_at_us = waiting.last_at_us.max(at_us);
        insert(&mut waiting.seqs, seqs);
        Ok(())
    }

    /// Appends the entry, after everything that waits, and hands all of it to the system.
    ///
    /// On an error the entry is neither in the file nor in the buffer.
    pub(super) fn append_now(&mut self, entry: &Entry) -> Result<(), Refusal> {
        if self.broken {
            return Err(Refusal::Broken);
        }
        // A batch does not drag records along that may still find company in their entry.
        if !matches!(entry, Entry::Invoked(_)) {
            self.bundle()?;
        }
        let before = (self.codec, self.buffer.len());
        self.codec
            .encode(entry, &mut self.buffer)
            .map_err(Refusal::Entry)?;
        let written = self.write();
        if written.is_err() {
            self.codec = before.0;
            self.buffer.truncate(before.1);
        }
        written
    }

    /// Hands everything to the system.
    pub(super) fn flush(&mut self) -> Result<(), Refusal> {
        if self.broken {
            return Err(Refusal::Broken);
        }
        self.bundle()?;
        self.write()
    }

    /// Moves what waits into the buffer.
    fn bundle(&mut self) -> Result<(), Refusal> {
        if let Some(settled) = self.waiting.take() {
            self.codec
                .encode(&Entry::Settled(settled), &mut self.buffer)
                .map_err(Refusal::Entry)?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Refusal> {
        let Err(error) = self.medium.write_all(&self.buffer) else {
            self.buffer.clear();
            return Ok(());
        };
        let whole = self.codec.offset() - self.buffer.len() as u64;
        if self.medium.cut(whole).is_err() {
            self.broken = true;
            return Err(Refusal::Broken);
        }
        Err(Refusal::Write(error))
    }
}

impl<M: Medium> Drop for Appender<M> {
    fn drop(&mut self) {
        // Best effort for what still waits: losing it only makes acknowledged records unknown.
        let _ = self.flush();
    }
}

/// Keeps `ranges` sorted and joined: batches settle out of order, and joined they cost least.
fn insert(ranges: &mut Vec<SeqRange>, new: SeqRange) {
    let at = ranges.partition_point(|range| range.end < new.start);
    let touching = ranges[at..]
        .iter()
        .take_while(|range| range.start <= new.end)
        .count();
    let joined = ranges[at..at + touching].iter().fold(new, |all, range| {
        SeqRange::new(all.start.min(range.start), all.end.max(range.end))
    });
    ranges.splice(at..at + touching, [joined]);
}
