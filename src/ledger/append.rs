//! The writer's buffer, and settled records that wait to share an entry.
//!
//! Invariant: the file ends at a complete entry before each write. It does so after a failed write
//! too, because the partial entry is removed. If even that fails, nothing more is written: an entry
//! behind a torn one would be damage in the middle of the file.

use std::io::{self, Write};

use super::codec::{Codec, CodecError};
use super::{Entry, Invoked, RecordOutcome, SettledRecords};
use crate::record::{SeqRange, Timestamp};

/// Settled records share an entry for at most this long: less than the shortest gap worth
/// reporting. The entry has the first and the last time, so longer gaps stay exact.
const WINDOW_US: u64 = 10_000;

/// The largest number of ranges of an entry: keeps entries short and the sorted insert cheap.
const MAX_RANGES: usize = 64;

/// From this size on, in bytes, the buffer is written without waiting for the next batch.
const MAX_BUFFER: usize = 32 * 1024;

/// A file that can be truncated.
pub(super) trait Medium: Write {
    /// Truncates it to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

impl Medium for std::fs::File {
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Why an entry was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// System error. The file is complete, and the caller may try again.
    Write(io::Error),
    /// The file could not be restored after a failed write, now or earlier.
    Broken,
    /// The entry is invalid.
    Entry(CodecError),
    /// The records were never invoked.
    NotInvoked(SeqRange),
}

#[derive(Debug)]
pub(super) struct Appender<M: Medium> {
    medium: M,
    codec: Codec,
    /// Complete entries that are not in the file yet. The file ends where they begin.
    buffer: Vec<u8>,
    /// Settled records that are not in the buffer yet.
    waiting: Option<SettledRecords>,
    broken: bool,
}

impl<M: Medium> Appender<M> {
    /// `codec` must be at the end of `medium`, and writes must append.
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

    pub(super) fn invoked(
        &mut self,
        count: u64,
        created: Timestamp,
    ) -> Result<SeqRange, AppendError> {
        let start = self.codec.next_seq();
        let end = start
            .checked_add(count)
            .ok_or(AppendError::Entry(CodecError::Empty))?;
        let seqs = SeqRange::new(start, end);
        self.append_now(&Entry::Invoked(Invoked { seqs, created }))?;
        Ok(seqs)
    }

    pub(super) fn settled(
        &mut self,
        seqs: SeqRange,
        outcome: RecordOutcome,
        at_us: u64,
    ) -> Result<(), AppendError> {
        if self.broken {
            return Err(AppendError::Broken);
        }
        if seqs.end > self.codec.next_seq() {
            return Err(AppendError::NotInvoked(seqs));
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
        let waiting = self.waiting.get_or_insert_with(|| SettledRecords {
            outcome,
            first_at_us: at_us,
            last_at_us: at_us,
            seqs: Vec::with_capacity(MAX_RANGES),
        });
        // Connections settle concurrently, so times may be slightly out of order.
        waiting.first_at_us = waiting.first_at_us.min(at_us);
        waiting.last_at_us = waiting.last_at_us.max(at_us);
        insert(&mut waiting.seqs, seqs);
        Ok(())
    }

    /// Appends the entry after all pending ones, and hands everything to the system.
    ///
    /// On an error the entry is neither in the file nor in the buffer.
    pub(super) fn append_now(&mut self, entry: &Entry) -> Result<(), AppendError> {
        if self.broken {
            return Err(AppendError::Broken);
        }
        // A batch does not force pending records out: more may still join their entry.
        if !matches!(entry, Entry::Invoked(_)) {
            self.bundle()?;
        }
        let before = (self.codec, self.buffer.len());
        self.codec
            .encode(entry, &mut self.buffer)
            .map_err(AppendError::Entry)?;
        let written = self.write();
        if written.is_err() {
            self.codec = before.0;
            self.buffer.truncate(before.1);
        }
        written
    }

    /// Hands everything to the system.
    pub(super) fn flush(&mut self) -> Result<(), AppendError> {
        if self.broken {
            return Err(AppendError::Broken);
        }
        self.bundle()?;
        self.write()
    }

    /// Moves the pending records into the buffer.
    fn bundle(&mut self) -> Result<(), AppendError> {
        if let Some(settled) = self.waiting.take() {
            self.codec
                .encode(&Entry::Settled(settled), &mut self.buffer)
                .map_err(AppendError::Entry)?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), AppendError> {
        let Err(error) = self.medium.write_all(&self.buffer) else {
            self.buffer.clear();
            return Ok(());
        };
        let whole = self.codec.offset() - self.buffer.len() as u64;
        if self.medium.truncate(whole).is_err() {
            self.broken = true;
            return Err(AppendError::Broken);
        }
        Err(AppendError::Write(error))
    }
}

impl<M: Medium> Drop for Appender<M> {
    fn drop(&mut self) {
        // Best effort: losing pending records only makes acknowledged records unknown.
        let _ = self.flush();
    }
}

/// Keeps `ranges` sorted and merged: batches settle out of order, and merged ranges are smallest.
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
