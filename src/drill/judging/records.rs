//! The records of a run: their counts, and whether all acknowledged ones were found. Pure.

use crate::checker::{Loss, Verdict};
use crate::drill::report::{Invariant, Records};
use crate::verifier::Verification;

/// Every acknowledged record was found.
pub(super) fn nothing_lost(
    records: Option<&Records>,
    verification: Option<&Verification>,
) -> Invariant {
    let name = "no acknowledged write is lost";
    match (records, verification) {
        (Some(records), Some(verification)) => {
            let mut detail = format!("{} of {}", records.lost, records.acknowledged);
            for (count, what) in [
                (records.corrupted, "corrupted"),
                (records.unexpected, "unexpected"),
                (records.unread, "not read back"),
            ] {
                if count > 0 {
                    detail += &format!(", {count} {what}");
                }
            }
            // Why it is not determined: a node that could not be read.
            let reports = verification
                .replicas
                .iter()
                .filter_map(|r| r.report.as_ref());
            for reason in reports
                .chain([&verification.primary])
                .flat_map(|r| &r.reasons)
            {
                if reason.verdict() == Verdict::Inconclusive {
                    detail += &format!("; {reason}");
                }
            }
            for replica in verification.replicas.iter().filter(|r| r.promotable) {
                if let Some(why) = &replica.not_read {
                    detail += &format!("; {} was not read: {why}", replica.node);
                }
            }
            let held = match verification.verdict {
                Verdict::Holds => Some(true),
                Verdict::Violated => Some(false),
                Verdict::Inconclusive => None,
            };
            Invariant::new(name, held, detail)
        }
        _ => Invariant::new(name, None, "the records were not read back"),
    }
}

/// The counts of a verification; of losses, the maximum over the nodes that count.
pub fn records(verification: &Verification, sent_again: u64) -> Records {
    let counted = verification
        .replicas
        .iter()
        .filter(|replica| replica.promotable)
        .filter_map(|replica| replica.report.as_ref())
        .chain([&verification.primary]);
    let counts = &verification.primary.counts;
    let mut records = Records {
        invoked: counts.invoked,
        acknowledged: counts.acknowledged,
        replicated: counts.replicated,
        witnessed: counts.witnessed,
        unconfirmed: counts.unconfirmed,
        recovered: counts.recovered,
        unknown: counts.unknown,
        failed: counts.failed,
        sent_again,
        ..Records::default()
    };
    let mut losses: Vec<&Loss> = Vec::new();
    for report in counted {
        records.lost = records.lost.max(report.lost.count);
        records.corrupted = records.corrupted.max(report.corrupted.count);
        records.unexpected = records.unexpected.max(report.unexpected.count);
        records.duplicated = records.duplicated.max(report.duplicated.count);
        records.unread = records.unread.max(report.unread.count);
        losses.extend(&report.loss);
    }
    let first = losses.iter().map(|loss| loss.first_created).min();
    let last = losses.iter().map(|loss| loss.last_created).max();
    records.lost_from = first.map(|t| t.to_string());
    records.lost_to = last.map(|t| t.to_string());
    records
}
