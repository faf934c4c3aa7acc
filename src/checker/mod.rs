//! Checks a run: from its history to a verdict. Pure and streaming: half a byte of memory for each
//! record and reading.
//!
//! Two passes. The first reads the ledger into a [`History`]: the outcome of each record, the
//! faults, the failovers. The second reads its batches again and passes what a final read of one
//! node returned for each record to a [`NodeReading`], in any order; the result is a
//! [`CheckReport`]. The worst verdict of all nodes is the verdict of the run ([`Verdict::worst`]).
//!
//! How a record is classified (the terms of Jepsen's set checkers):
//!
//! | outcome in the ledger | read: its value | read: absent | not read |
//! |---|---|---|---|
//! | acknowledged | ok | **lost** | unread |
//! | unknown | recovered | unknown | unknown |
//! | failed for certain | **unexpected** | failed | failed |
//! | not in the ledger | **unexpected** | | |
//!
//! Any other value under the key of a record is **corrupted**, whatever its outcome. The bold
//! classes violate the claim. A record that one reading observed more than once is *duplicated*:
//! `SCAN` is documented to do that, so it is counted and violates nothing. If such observations
//! differ, the worst counts.
//!
//! ```
//! # use redis_ha_lab::checker::{History, NodeReading, Verdict};
//! # use redis_ha_lab::ledger::{Entry, LedgerEvent, LedgerReader, LedgerWriter, Header, RecordOutcome};
//! # use redis_ha_lab::record::{Batch, RunId, Timestamp};
//! # let dir = tempfile::tempdir()?;
//! # let path = &dir.path().join("run.ledger");
//! # let start = Timestamp::default();
//! # let header = Header { run: RunId::new(1), start, lab: "lab".into(), policy: "none".into() };
//! # let mut writer = LedgerWriter::create(path, header)?;
//! # let seqs = writer.invoked(3, start)?;
//! # writer.settled(seqs, RecordOutcome::Unconfirmed, 10)?;
//! # writer.close(20)?;
//! let history = History::read(&mut LedgerReader::open(path)?)?;
//! let mut reading = NodeReading::new(&history, "redis-a");
//! for entry in LedgerReader::open(path)? {
//!     let Entry::Invoked(batch) = entry? else { continue };
//!     for seq in batch.seqs.iter() {
//!         let value: Option<&[u8]> = None; // what GET returned
//!         reading.observe(seq, batch.created, value);
//!     }
//! }
//! let report = reading.finish();
//! assert_eq!(report.verdict, Verdict::Violated);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod history;
mod reading;
mod report;
#[cfg(test)]
mod tests;

pub use history::{FaultInterval, History};
pub use reading::{FAULT_LEAD_US, MAX_RANGES, NodeReading};
pub use report::{CheckReport, FaultLoss, Loss, Reason, RecordCounts, RecordList, Verdict};
