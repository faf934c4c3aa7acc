//! The summary of a run.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Exit;
use crate::record::RunId;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct WriteSummary {
    /// The run.
    pub run: RunId,
    /// The acknowledgement policy.
    pub policy: &'static str,
    /// Records that may have been sent.
    pub invoked: u64,
    /// Records acknowledged, in any form.
    pub acknowledged: u64,
    /// Of these: before the run was resumed.
    pub acknowledged_before: u64,
    /// Of these: confirmed by every other data node.
    pub replicated: u64,
    /// Of these: witnessed.
    pub witnessed: u64,
    /// Of these: only the primary's `+OK` (policy `none`).
    pub unconfirmed: u64,
    /// Records that failed for certain and were given up.
    pub failed: u64,
    /// Records of unknown outcome.
    pub unknown: u64,
    /// Records that were sent more than once.
    pub sent_again: u64,
    /// Number of changes of the primary.
    pub primary_changes: u64,
    /// Duration of the run in milliseconds.
    pub elapsed_ms: f64,
    /// Records acknowledged a second.
    pub records_per_second: f64,
    /// From the first sending to the acknowledgement; `None` if nothing was acknowledged.
    pub latency: Option<Latency>,
    /// Longest time between two acknowledgements in milliseconds.
    pub longest_gap_ms: f64,
    /// The path of the ledger.
    pub ledger: Option<PathBuf>,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Longest.
    pub max_ms: f64,
}

impl WriteSummary {
    /// The exit code: whether every record was acknowledged.
    pub fn exit(&self) -> Exit {
        if self.acknowledged > 0 && self.acknowledged == self.invoked {
            Exit::Holds
        } else {
            Exit::Inconclusive
        }
    }
}

impl fmt::Display for WriteSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} records acknowledged in {:.2} s ({:.0}/s), policy {}",
            self.acknowledged,
            self.invoked,
            self.elapsed_ms / 1000.0,
            self.records_per_second,
            self.policy
        )?;
        if self.acknowledged_before > 0 {
            writeln!(
                f,
                "  before the run was resumed {}",
                self.acknowledged_before
            )?;
        }
        writeln!(
            f,
            "  replicated {}  witnessed {}  unconfirmed {}",
            self.replicated, self.witnessed, self.unconfirmed
        )?;
        writeln!(
            f,
            "  sent again {}  unknown {}  failed {}  primary changes {}",
            self.sent_again, self.unknown, self.failed, self.primary_changes
        )?;
        if let Some(latency) = self.latency {
            writeln!(
                f,
                "  latency p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms",
                latency.p50_ms, latency.p99_ms, latency.max_ms
            )?;
        }
        write!(
            f,
            "  longest gap between two acknowledged writes {:.1} ms  run {}",
            self.longest_gap_ms, self.run
        )?;
        if let Some(ledger) = &self.ledger {
            write!(f, "\n  ledger {}", ledger.display())?;
        }
        Ok(())
    }
}
