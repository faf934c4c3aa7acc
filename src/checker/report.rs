//! What the checker says: for programs (serde) and for people (`Display`).

use std::fmt;

use serde::Serialize;

use super::Fault;
use crate::exit::Exit;
use crate::ledger::End;
use crate::record::{RunId, SeqRange, Timestamp};

/// Whether the claim holds for a history. Ordered: the greater is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every acknowledged record was found.
    Holds,
    /// Neither can be said.
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
            Verdict::Violated => Exit::Violated,
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
    /// Keys of the run hold values that it never wrote there.
    Corrupted {
        /// How many.
        records: u64,
    },
    /// Records are there that failed for certain, or that the ledger does not know.
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
        /// What the reader said.
        why: String,
    },
    /// A fault that has to cause a failover caused none.
    NoFailover {
        /// The fault.
        fault: String,
    },
}

impl Reason {
    /// The verdict that it gives.
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

/// How many records there are of what kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// All that the ledger knows: acknowledged, failed and unsettled together.
    pub invoked: u64,
    /// Replicated, witnessed and unconfirmed together.
    pub acknowledged: u64,
    /// Acknowledged with every promotable node having them.
    pub replicated: u64,
    /// Acknowledged with Sentinels witnessing that no other node is promotable.
    pub witnessed: u64,
    /// Acknowledged by `+OK` alone.
    pub unconfirmed: u64,
    /// Failed for certain.
    pub failed: u64,
    /// Invoked, with an outcome that the writer never learnt.
    pub unsettled: u64,
    /// Acknowledged and found.
    pub ok: u64,
    /// Unsettled and found.
    pub recovered: u64,
    /// Unsettled and not found (or not read).
    pub unknown: u64,
}

/// Records of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Found {
    /// How many.
    pub count: u64,
    /// Which: the first ranges.
    pub ranges: Vec<SeqRange>,
    /// How many more ranges there are.
    pub ranges_left_out: u64,
    /// The last one taken.
    #[serde(skip)]
    pub(super) last: Option<u64>,
}

/// When the lost records were created, and what happened then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// When the oldest was created.
    pub first_created: Timestamp,
    /// When the youngest was created.
    pub last_created: Timestamp,
    /// The faults they lie in; a record counts for each that it lies in.
    pub faults: Vec<FaultLoss>,
    /// How many lie in no fault.
    pub outside: u64,
}

/// The losses in one fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultLoss {
    /// The fault.
    pub fault: Fault,
    /// How many.
    pub records: u64,
}

/// What the checker says about one run as one node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The run.
    pub run: RunId,
    /// Its acknowledgement policy.
    pub policy: String,
    /// The node that was read.
    pub node: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `holds`, the violations first.
    pub reasons: Vec<Reason>,
    /// How the ledger ended.
    pub ledger: End,
    /// How many records there are of what kind.
    pub counts: Counts,
    /// Acknowledged and absent.
    pub lost: Found,
    /// When they were created; `None` if none is lost.
    pub loss: Option<Loss>,
    /// With a value that was never written there.
    pub corrupted: Found,
    /// There, although they failed for certain or the ledger does not know them.
    pub unexpected: Found,
    /// Seen more than once by the read.
    pub duplicated: Found,
    /// Acknowledged and not read.
    pub unread: Found,
}

impl fmt::Display for Found {
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

impl fmt::Display for Report {
    /// Several lines, the verdict first, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
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
        let Counts {
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
        let Counts {
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
            End::Closed => Ok(()),
            End::Open => {
                f.write_str("\n  ledger        not closed: the writer was killed, or writes")
            }
            End::Torn { offset, bytes } => {
                write!(
                    f,
                    "\n  ledger        torn at byte {offset}: {bytes} bytes left out"
                )
            }
        }
    }
}
