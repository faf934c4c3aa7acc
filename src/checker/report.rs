//! The result of a check, for programs (serde) and for users (`Display`).

use std::fmt;

use serde::Serialize;

use super::FaultInterval;
use crate::exit::Exit;
use crate::ledger::LedgerEnd;
use crate::record::{RunId, SeqRange, Timestamp};

/// Whether the claim holds for a history. Ordered: greater is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every acknowledged record was found.
    Holds,
    /// The history neither confirms nor contradicts the claim.
    Inconclusive,
    /// The history contradicts the claim.
    Violated,
}

impl Verdict {
    /// The worst of several verdicts; of none, `Holds`.
    pub fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        verdicts.into_iter().max().unwrap_or(Verdict::Holds)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Holds => "holds",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Violated => "violated",
        })
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Holds => Exit::Holds,
            Verdict::Inconclusive => Exit::Inconclusive,
            Verdict::Violated => Exit::Negative,
        }
    }
}

/// Why the verdict is not `holds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// Acknowledged records are absent.
    Lost {
        /// How many.
        records: u64,
    },
    /// Keys of the run have values that it never wrote there.
    Corrupted {
        /// How many.
        records: u64,
    },
    /// Records were found that failed for certain, or that are not in the ledger.
    Unexpected {
        /// How many.
        records: u64,
    },
    /// No record was acknowledged.
    NothingAcknowledged,
    /// Acknowledged records were not read.
    Unread {
        /// How many.
        records: u64,
    },
    /// The final read failed, as a whole or in part.
    ReadFailed {
        /// The error of the reader.
        why: String,
    },
    /// A fault that has to cause a failover caused none.
    NoFailover {
        /// The fault.
        fault: String,
    },
}

impl Reason {
    /// The verdict that it leads to.
    pub fn verdict(&self) -> Verdict {
        match self {
            Reason::Lost { .. } | Reason::Corrupted { .. } | Reason::Unexpected { .. } => {
                Verdict::Violated
            }
            Reason::NothingAcknowledged
            | Reason::Unread { .. }
            | Reason::ReadFailed { .. }
            | Reason::NoFailover { .. } => Verdict::Inconclusive,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Lost { records } => write!(f, "acknowledged records lost: {records}"),
            Reason::Corrupted { records } => write!(f, "records with another value: {records}"),
            Reason::Unexpected { records } => {
                write!(f, "records found that cannot be there: {records}")
            }
            Reason::NothingAcknowledged => f.write_str("no record was acknowledged"),
            Reason::Unread { records } => {
                write!(f, "acknowledged records without a final read: {records}")
            }
            Reason::ReadFailed { why } => write!(f, "the final read failed: {why}"),
            Reason::NoFailover { fault } => {
                write!(
                    f,
                    "no failover seen, although the fault {fault} has to cause one"
                )
            }
        }
    }
}

/// The number of records in each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RecordCounts {
    /// All records in the ledger: acknowledged, failed and unsettled.
    pub invoked: u64,
    /// Replicated, witnessed and unconfirmed.
    pub acknowledged: u64,
    /// Acknowledged: every promotable node has them.
    pub replicated: u64,
    /// Acknowledged: the Sentinels are witnesses that no other node is promotable.
    pub witnessed: u64,
    /// Acknowledged by `+OK` alone.
    pub unconfirmed: u64,
    /// Failed for certain.
    pub failed: u64,
    /// Invoked, with an unknown outcome.
    pub unsettled: u64,
    /// Acknowledged and found.
    pub ok: u64,
    /// Unsettled and found.
    pub recovered: u64,
    /// Unsettled and not found (or not read).
    pub unknown: u64,
}

/// The records of one class.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RecordList {
    /// How many.
    pub count: u64,
    /// The first ranges of sequence numbers.
    pub ranges: Vec<SeqRange>,
    /// The number of further ranges.
    pub ranges_left_out: u64,
    /// The last record added.
    #[serde(skip)]
    pub(super) last: Option<u64>,
}

/// When the lost records were created, and during which faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// When the oldest was created.
    pub first_created: Timestamp,
    /// When the youngest was created.
    pub last_created: Timestamp,
    /// The faults during which they were created; a record counts for each such fault.
    pub faults: Vec<FaultLoss>,
    /// How many were created during no fault.
    pub outside: u64,
}

/// The losses in one fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultLoss {
    /// The fault.
    pub fault: FaultInterval,
    /// How many.
    pub records: u64,
}

/// The result of checking one run on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The run.
    pub run: RunId,
    /// Its acknowledgement policy.
    pub policy: String,
    /// The node that was read.
    pub node: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `holds`, violations first.
    pub reasons: Vec<Reason>,
    /// How the ledger ends.
    pub ledger: LedgerEnd,
    /// The number of records in each class.
    pub counts: RecordCounts,
    /// Acknowledged and absent.
    pub lost: RecordList,
    /// When the lost records were created; `None` if none is lost.
    pub loss: Option<Loss>,
    /// Found with a value that was never written there.
    pub corrupted: RecordList,
    /// Found, although they failed for certain or are not in the ledger.
    pub unexpected: RecordList,
    /// Read more than once.
    pub duplicated: RecordList,
    /// Acknowledged and not read.
    pub unread: RecordList,
}

impl fmt::Display for RecordList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        for (i, range) in self.ranges.iter().enumerate() {
            write!(f, "{}{range}", if i == 0 { " (" } else { ", " })?;
        }
        match (self.ranges.is_empty(), self.ranges_left_out) {
            (true, _) => Ok(()),
            (false, 0) => f.write_str(")"),
            (false, more) => write!(f, ", and {more} more ranges)"),
        }
    }
}

impl fmt::Display for CheckReport {
    /// Several lines, the verdict first, without a final line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport {
            verdict,
            node,
            run,
            policy,
            counts,
            ..
        } = self;
        write!(f, "{verdict}: {node}, run {run}, policy {policy}")?;
        for reason in &self.reasons {
            write!(f, "\n  because       {reason}")?;
        }
        let RecordCounts {
            invoked,
            acknowledged,
            replicated,
            witnessed,
            unconfirmed,
            ..
        } = counts;
        write!(f, "\n  invoked       {invoked}")?;
        write!(f, "\n  acknowledged  {acknowledged}")?;
        write!(
            f,
            ": {replicated} replicated, {witnessed} witnessed, {unconfirmed} unconfirmed"
        )?;
        let RecordCounts {
            failed,
            unsettled,
            ok,
            recovered,
            unknown,
            ..
        } = counts;
        write!(
            f,
            "\n  otherwise     {failed} failed, {unsettled} unsettled"
        )?;
        write!(
            f,
            "\n  read          {ok} ok, {recovered} recovered, {unknown} unknown"
        )?;
        let found = [
            ("lost", &self.lost),
            ("corrupted", &self.corrupted),
            ("unexpected", &self.unexpected),
            ("duplicated", &self.duplicated),
            ("unread", &self.unread),
        ];
        for (name, found) in found.into_iter().filter(|(_, found)| found.count > 0) {
            write!(f, "\n  {name:<12}  {found}")?;
        }
        if let Some(loss) = &self.loss {
            write!(
                f,
                "\n  loss created  {} to {}",
                loss.first_created, loss.last_created
            )?;
            for FaultLoss { fault, records } in &loss.faults {
                write!(f, "\n  loss in       {}: {records}", fault.name)?;
            }
            if loss.outside > 0 {
                write!(f, "\n  loss outside  of any fault: {}", loss.outside)?;
            }
        }
        match self.ledger {
            LedgerEnd::Closed => Ok(()),
            LedgerEnd::Open => {
                f.write_str("\n  ledger        not closed: the writer was killed, or writes")
            }
            LedgerEnd::Torn { offset, bytes } => {
                write!(
                    f,
                    "\n  ledger        torn at byte {offset}: {bytes} bytes left out"
                )
            }
        }
    }
}
