//! From a history to a verdict. Pure, and streaming: half a byte of memory a record and reading.
//!
//! Two passes. The first goes over the ledger and gives a [`History`]: the outcome of each record,
//! the faults, the failovers. The second goes over its batches again, and feeds what a final read of
//! one node returned for each record to a [`Reading`], in any order; that gives a [`Report`]. The
//! worst verdict of all nodes is the verdict of the run ([`Verdict::worst`]).
//!
//! What becomes of a record (the words of Jepsen's set checkers):
//!
//! | in the ledger | read: its value | read: absent | not read |
//! |---|---|---|---|
//! | acknowledged | ok | **lost** | unread |
//! | unknown | recovered | unknown | unknown |
//! | failed for certain | **unexpected** | failed | failed |
//! | not there | **unexpected** | | |
//!
//! Any other value under the key of a record is **corrupted**, whatever the ledger says. What is bold
//! violates the claim. A record that one reading saw more than once is *duplicated*: `SCAN` may do
//! that by its documentation, so it is counted and violates nothing; where its observations
//! differ, the worst counts.
//!
//! ```
//! # use redis_ha_lab::checker::{History, Reading, Verdict};
//! # use redis_ha_lab::ledger::{Entry, Event, LedgerReader, LedgerWriter, Header, Outcome};
//! # use redis_ha_lab::record::{Batch, RunId, Timestamp};
//! # let dir = tempfile::tempdir()?;
//! # let path = &dir.path().join("run.ledger");
//! # let start = Timestamp::default();
//! # let header = Header { run: RunId::new(1), start, lab: "lab".into(), policy: "none".into() };
//! # let mut writer = LedgerWriter::create(path, header)?;
//! # let seqs = writer.invoked(3, start)?;
//! # writer.settled(seqs, Outcome::Sent, 10)?;
//! # writer.close(20)?;
//! let history = History::read(&mut LedgerReader::open(path)?)?;
//! let mut reading = Reading::new(&history, "redis-a");
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

pub use history::{Fault, History};
pub use reading::{FAULT_LEAD_US, MAX_RANGES, Reading};
pub use report::{Counts, FaultLoss, Found, Loss, Reason, Report, Verdict};
