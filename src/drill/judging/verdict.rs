//! The verdict over the invariants of a run. Pure.

use crate::drill::report::{DrillVerdict, Invariant};

/// The verdict over all invariants, and why it is not `holds`.
pub fn verdict(invariants: &[Invariant]) -> (DrillVerdict, Vec<String>) {
    let mut reasons = Vec::new();
    let mut worst = DrillVerdict::Holds;
    for invariant in invariants {
        let (verdict, word) = match invariant.held {
            Some(true) => continue,
            Some(false) => (DrillVerdict::Violated, "does not hold"),
            None => (DrillVerdict::Inconclusive, "could not be determined"),
        };
        worst = worst.max(verdict);
        reasons.push(format!("{}: {word} ({})", invariant.name, invariant.detail));
    }
    (worst, reasons)
}
