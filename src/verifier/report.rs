//! The result of a verification.

use std::fmt;

use serde::Serialize;

use crate::checker::{CheckReport, Verdict};

/// The result for each node.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Whether the claim holds: on the primary, and on every promotable replica.
    pub verdict: Verdict,
    /// The result on the primary.
    pub primary: CheckReport,
    /// The results on the replicas.
    pub replicas: Vec<ReplicaReport>,
    /// Records read per second from the primary.
    pub records_per_second: f64,
    /// The first interruptions after which the reading started again, without immediate
    /// repetitions.
    pub changes: Vec<String>,
}

/// The result on a replica, or why it was not read.
#[derive(Debug, Clone, Serialize)]
pub struct ReplicaReport {
    /// Its name.
    pub node: String,
    /// It may be promoted, so it counts towards the verdict.
    pub promotable: bool,
    /// The result; `None` if it was not read.
    pub report: Option<CheckReport>,
    /// Why it was not read.
    pub not_read: Option<String>,
}

impl ReplicaReport {
    /// Its contribution to the verdict. A promotable replica that could not be read leaves it open.
    pub(super) fn verdict(&self) -> Verdict {
        match (&self.report, self.promotable) {
            (_, false) => Verdict::Holds,
            (Some(report), true) => report.verdict,
            (None, true) => Verdict::Inconclusive,
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "primary: {}", self.primary)?;
        for replica in &self.replicas {
            let counted = if replica.promotable {
                ""
            } else {
                " (not promotable: does not count)"
            };
            match (&replica.report, &replica.not_read) {
                (Some(report), _) => write!(f, "\n\nreplica{counted}: {report}")?,
                (None, Some(why)) => write!(
                    f,
                    "\n\nreplica{counted}: {} was not read: {why}",
                    replica.node
                )?,
                (None, None) => {}
            }
        }
        if !self.changes.is_empty() {
            f.write_str("\n\nread again, because the lab changed:")?;
        }
        for interruption in &self.changes {
            write!(f, "\n  {interruption}")?;
        }
        Ok(())
    }
}
