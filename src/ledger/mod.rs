//! The writer's ledger: what was invoked, what was settled and how, and what happened meanwhile.
//!
//! One append-only file a run. Its promise, on which the checker's verdict rests:
//!
//! - **No record exists that the ledger does not know.** [`LedgerWriter::invoked`] hands the entry to
//!   the kernel before it returns, and only then may the batch be sent. This holds through a
//!   `kill -9` of the writer; for a crash of the whole machine call [`LedgerWriter::sync`] too.
//! - **No record is called acknowledged that was not.** Acknowledgements may be buffered, so a crash
//!   can lose some: those records become unknown, the safe direction.
//! - **A torn tail is expected, damage is not.** A last entry that is cut off or half written is left
//!   out and reported. Anything wrong before it is an error that names the offset; nothing is ever
//!   skipped.
//!
//! Sequence numbers are handed out by the ledger, without gaps: that is what makes entries small (a
//! batch is a time and, if it changed, a count) and the checker's bitmaps dense.
//!
//! The parts: [`codec`] is the format, pure, byte by byte as in `docs/ledger.md`; `append` buffers
//! and coalesces; `reader` streams with constant memory; `file` opens, locks and resumes, and is the
//! only part that touches the file system. Nothing here reads a clock: times come from the caller.

use serde::{Deserialize, Serialize};

use crate::record::{RunId, SeqRange, Timestamp};

mod append;
pub mod codec;
mod error;
mod file;
mod header;
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
pub use reader::{End, LedgerReader};

/// What the ledger says about its run, once, at its start.
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
    /// A batch may be on its way from here on.
    Invoked(Invoked),
    /// Records whose outcome is known.
    Settled(Settled),
    /// Something that happened to the lab or to the writer.
    Event {
        /// Microseconds since the start of the run.
        at_us: u64,
        /// What it was.
        event: Event,
    },
    /// The writer ended in good order. A resumed run has entries after it.
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
    /// The creation time of all of them, part of their values.
    pub created: Timestamp,
}

/// Records that were settled alike, within a short time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// How.
    pub outcome: Outcome,
    /// The first of them was settled then, in microseconds since the start of the run.
    pub first_at_us: u64,
    /// The last of them was settled then; not before `first_at_us`.
    pub last_at_us: u64,
    /// Which; none of the ranges is empty.
    pub seqs: Vec<SeqRange>,
}

/// The known end of a record. Invoked and without one, a record is unknown.
///
/// Ordered: where a record was settled twice (sent again after an unknown end), the greater holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Failed for certain: no node executed it.
    Failed,
    /// Acknowledged by `+OK` alone (policy `none`).
    Sent,
    /// Acknowledged: a majority of Sentinels witnessed that no other node can be promoted.
    Witnessed,
    /// Acknowledged: every node that could be promoted has it.
    Replicated,
}

impl Outcome {
    /// All outcomes, the weakest first.
    pub const ALL: [Outcome; 4] = [
        Outcome::Failed,
        Outcome::Sent,
        Outcome::Witnessed,
        Outcome::Replicated,
    ];

    /// Whether the record counts as acknowledged.
    pub fn is_acknowledged(self) -> bool {
        self != Outcome::Failed
    }
}

/// What happened, for the checker to place losses and for people to read. Kept as JSON: rare, and
/// open to more kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
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
    /// The writer took another node for the primary from here on.
    PrimaryChanged {
        /// The new primary.
        node: String,
    },
    /// From here on batches had to be sent again: their first sending failed, or its end is unknown.
    SentAgain,
    /// The writer goes on after it was stopped or killed.
    Resumed,
    /// Anything else worth keeping.
    Note {
        /// What.
        text: String,
    },
}
