//! The writer's ledger: which records were invoked, their outcome, and the events of the run.
//!
//! One append-only file for each run. The checker's verdict rests on these guarantees:
//!
//! - **No record exists that is not in the ledger.** [`LedgerWriter::invoked`] hands the entry to
//!   the kernel before it returns, and only then may the batch be sent. This holds if the writer is
//!   killed. For a crash of the whole machine, call [`LedgerWriter::sync`] as well.
//! - **No record is recorded as acknowledged that was not.** Acknowledgements may be buffered, so a
//!   crash can lose some. Those records become unknown, which is the safe direction.
//! - **A torn tail is expected, damage is not.** A last entry that is cut off or half written is
//!   ignored and reported. Anything wrong before it is an error that states the offset. Nothing is
//!   ever skipped.
//!
//! The ledger assigns sequence numbers without gaps. This keeps entries small (a batch is a time
//! and, if it changed, a count) and the checker's bitmaps dense.
//!
//! - [`codec`]: the format, pure, byte by byte as in `docs/ledger.md`
//! - `append`: buffers and coalesces entries
//! - `reader`: streams entries with constant memory
//! - `file`: opens, locks and resumes; the only part that touches the file system
//!
//! Nothing here reads a clock: times come from the caller.

use serde::{Deserialize, Serialize};

use crate::record::{RunId, SeqRange, Timestamp};

mod append;
pub mod codec;
mod error;
mod file;
mod nibbles;
#[cfg(test)]
mod properties;
mod reader;
#[cfg(test)]
mod tests;
mod wire;

pub use error::Error;
pub use file::{LedgerWriter, Resumed};
pub(crate) use nibbles::Nibbles;
pub use reader::{LedgerEnd, LedgerReader};

/// The header of the ledger: the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The run.
    pub run: RunId,
    /// When it began; every `at_us` of the entries counts from here.
    pub start: Timestamp,
    /// The name of the lab; at most [`codec::MAX_NAME`] bytes.
    pub lab: String,
    /// The acknowledgement policy: `replicated`, `available` or `none`; at most
    /// [`codec::MAX_NAME`] bytes.
    pub policy: String,
}

/// One entry of the ledger, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A batch that may be sent from here on.
    Invoked(Invoked),
    /// Records whose outcome is known.
    Settled(SettledRecords),
    /// An event of the lab or of the writer.
    Event {
        /// Microseconds since the start of the run.
        at_us: u64,
        /// The event.
        event: LedgerEvent,
    },
    /// The writer closed the ledger. A resumed run has entries after it.
    Closed {
        /// Microseconds since the start of the run.
        at_us: u64,
    },
}

/// A batch: consecutive records with one creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Invoked {
    /// Its sequence numbers.
    pub seqs: SeqRange,
    /// Their common creation time, which is part of their values.
    pub created: Timestamp,
}

/// Records with the same outcome, settled within a short time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRecords {
    /// The outcome.
    pub outcome: RecordOutcome,
    /// When the first of them was settled, in microseconds since the start of the run.
    pub first_at_us: u64,
    /// When the last of them was settled; not before `first_at_us`.
    pub last_at_us: u64,
    /// Their sequence numbers; no range is empty.
    pub seqs: Vec<SeqRange>,
}

/// The known outcome of a record. An invoked record without an outcome is unknown.
///
/// Ordered: if a record was settled twice (sent again after an unknown outcome), the greater
/// counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// Failed for certain: no node executed it.
    Failed,
    /// Acknowledged by `+OK` alone (policy `none`).
    #[serde(rename = "sent")]
    Unconfirmed,
    /// Acknowledged: a majority of the Sentinels are witnesses that no other node can be promoted.
    Witnessed,
    /// Acknowledged: every node that could be promoted has it.
    Replicated,
}

impl RecordOutcome {
    /// All outcomes, the weakest first.
    pub const ALL: &'static [RecordOutcome] = <RecordOutcome as strum::VariantArray>::VARIANTS;

    /// Whether the record counts as acknowledged.
    pub fn is_acknowledged(self) -> bool {
        self != RecordOutcome::Failed
    }
}

/// An event, by which the checker dates losses, and for users. Stored as JSON: events are rare, and
/// new kinds may be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LedgerEvent {
    /// A fault begins.
    FaultStarted {
        /// Its name, unique among the faults that overlap in time.
        fault: String,
        /// Whether the lab has to fail over because of it.
        #[serde(default)]
        expects_failover: bool,
    },
    /// A fault was healed.
    FaultEnded {
        /// The name it began with.
        fault: String,
    },
    /// The writer uses another primary from here on.
    PrimaryChanged {
        /// The new primary.
        node: String,
    },
    /// Batches are sent again from here on: they failed before, or their outcome is unknown.
    SentAgain,
    /// The writer continues after it was stopped or killed.
    Resumed,
    /// Another remark.
    Note {
        /// The text.
        text: String,
    },
}
