//! What must hold in a run, against what was seen. Pure.

use crate::checker::{Loss, Verdict};
use crate::verifier::Verification;
use crate::writer::Summary;

use super::acks::Acks;
use super::fault::{Failover, Fault, Writes};
use super::report::{DrillVerdict, Invariant, Outage, Records};
use super::timeline::Seens;

/// A record that was confirmed before a link was cut may be acknowledged that much later: its confirmation was
/// under way.
const UNDER_WAY_US: u64 = 300_000;

/// What is known of a run when it is over.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The fault.
    pub fault: Fault,
    /// What becomes of writes while it lasts, under the policy of the run.
    pub writes: Writes,
    /// The policy trusts `+OK`.
    pub trusting: bool,
    /// What was seen.
    pub seens: &'a Seens,
    /// The acknowledgements.
    pub acks: &'a Acks,
    /// Start of the writer on the clock of the run.
    pub offset: u64,
    /// When the fault was healed.
    pub healed_at: u64,
    /// What the faults did to writes.
    pub outages: &'a [Outage],
    /// Silence after which a Sentinel calls a node down.
    pub down_after_ms: f64,
    /// The primary before, and after it all; the latter only if the lab has recovered.
    pub before: &'a str,
    /// The primary after it all, or why the lab has not recovered.
    pub after: Result<&'a str, &'a str>,
    /// The node that had to be primary at the end, where the fault says which.
    pub must_stay: Option<&'a str>,
    /// What was said of the fault, where the fault says that something has to be.
    pub told: Option<&'a Told>,
    /// What was waited for in vain while the fault lasted.
    pub missed: Option<&'a str>,
    /// A record was acknowledged after the lab had recovered, by every node (or by `+OK`, if that is trusted).
    pub acknowledged_at_last: bool,
    /// The writer's sums, if it ended in order.
    pub writer: Option<&'a Summary>,
    /// The records, if they were read back.
    pub records: Option<&'a Records>,
    /// What the checker says of them.
    pub checked: Option<&'a Verification>,
}

/// An error that has to be told, with what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Who has to tell it.
    pub by: String,
    /// The remedy that it has to name.
    pub remedy: &'static str,
    /// What was told, if it names it.
    pub said: Option<String>,
}

fn invariant(name: &str, held: impl Into<Option<bool>>, detail: impl Into<String>) -> Invariant {
    Invariant {
        name: name.to_owned(),
        held: held.into(),
        detail: detail.into(),
    }
}

impl Facts<'_> {
    /// Everything that must hold, and whether it did.
    pub fn invariants(&self) -> Vec<Invariant> {
        let mut all = vec![nothing_lost(self.records, self.checked)];
        all.extend(self.failover());
        all.extend(self.quiet());
        all.extend(self.going_on());
        all.extend(self.short_pause());
        if let Some(writer) = self.writer {
            let detail = format!("{} failed, {} unknown", writer.failed, writer.unknown);
            let held = writer.failed == 0 && writer.unknown == 0;
            all.push(invariant("no write fails for good", held, detail));
        }
        if let Some(told) = self.told {
            let detail = match &told.said {
                Some(said) => format!("{}: {said}", told.by),
                None => format!("{} says nothing of \"{}\"", told.by, told.remedy),
            };
            all.push(invariant(
                "the error names the remedy",
                told.said.is_some(),
                detail,
            ));
        }
        if let Some(missed) = self.missed {
            all.push(invariant("the lab reacts in time", false, missed));
        }
        all.push(match self.after {
            Ok(primary) => invariant("recovers", true, format!("{primary} is primary")),
            Err(why) => invariant("recovers", false, why),
        });
        if let (Some(stays), Ok(after)) = (self.must_stay, self.after) {
            let detail = format!("{stays} was promoted, {after} is primary");
            all.push(invariant(
                "the promoted node stays primary",
                stays == after,
                detail,
            ));
        }
        let detail = if self.acknowledged_at_last {
            "yes"
        } else {
            "none"
        };
        all.push(invariant(
            "writes are acknowledged after recovery",
            self.acknowledged_at_last,
            detail,
        ));
        all
    }

    /// Times that another node said that it is primary, from the first fault on.
    fn promotions(&self, until: u64) -> u32 {
        let Some((from, _)) = self.seens.faults().first().copied() else {
            return 0;
        };
        let mut primary = self.before.to_owned();
        let mut changes = 0;
        for (at, node) in self.seens.promotions().filter(|(at, _)| *at < until) {
            if node != primary {
                // One before the fault, on a machine that was held up, says who is primary when it comes.
                changes += u32::from(at >= from);
                primary = node.to_owned();
            }
        }
        changes
    }

    fn failover(&self) -> Option<Invariant> {
        let two = self.fault == Fault::KillTwoSentinelsThenPrimary;
        let until = if two { self.healed_at } else { u64::MAX };
        let times = self.promotions(until);
        let detail = format!("{times} times another node became primary");
        match self.fault.spec().failover {
            Failover::Must(wanted) => Some(invariant(
                "another node takes over",
                times >= wanted,
                detail,
            )),
            Failover::MustNot => Some(invariant("no failover", times == 0, detail)),
            Failover::May if two => Some(invariant(
                "no failover without a majority of the Sentinels",
                times == 0,
                detail,
            )),
            Failover::May => None,
        }
    }

    /// The last fault, on the writer's clock, and the healing.
    fn span(&self) -> Option<(u64, u64)> {
        let (at, _) = self.seens.faults().last().copied()?;
        let local = |t: u64| t.saturating_sub(self.offset);
        Some((local(at), local(self.healed_at)))
    }

    fn quiet(&self) -> Option<Invariant> {
        if self.writes != Writes::Wait || self.trusting {
            return None;
        }
        // Only where nobody could have confirmed from the first moment on.
        let from_the_first = matches!(
            self.fault,
            Fault::IsolatePrimaryWithWriter | Fault::KillTwoSentinelsThenPrimary
        );
        let (struck, healed) = self.span().filter(|_| from_the_first)?;
        let records = self.acks.between(struck + UNDER_WAY_US, healed);
        Some(invariant(
            "nothing is acknowledged until it is healed",
            records == 0,
            format!("{records} records"),
        ))
    }

    fn going_on(&self) -> Option<Invariant> {
        if self.writes != Writes::GoOn {
            return None;
        }
        let (struck, healed) = self.span()?;
        let records = self.acks.between(struck, healed);
        Some(invariant(
            "writes go on before it is healed",
            records > 0,
            format!("{records} records"),
        ))
    }

    fn short_pause(&self) -> Option<Invariant> {
        if self.writes != Writes::ShortPause {
            return None;
        }
        let longest = self
            .outages
            .iter()
            .filter_map(|o| o.rto_ms)
            .fold(0.0, f64::max);
        Some(invariant(
            "the pause of writes is shorter than down-after",
            longest < self.down_after_ms,
            format!("{longest:.1} ms"),
        ))
    }
}

/// That every acknowledged record was found.
pub fn nothing_lost(records: Option<&Records>, checked: Option<&Verification>) -> Invariant {
    let name = "no acknowledged write is lost";
    match (records, checked) {
        (Some(records), Some(checked)) => {
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
            // What kept it from being told: a node that was not there to be read.
            let reports = checked.replicas.iter().filter_map(|r| r.report.as_ref());
            for reason in reports.chain([&checked.primary]).flat_map(|r| &r.reasons) {
                if reason.verdict() == Verdict::Inconclusive {
                    detail += &format!("; {reason}");
                }
            }
            for replica in checked.replicas.iter().filter(|r| r.promotable) {
                if let Some(why) = &replica.not_read {
                    detail += &format!("; {} was not read: {why}", replica.node);
                }
            }
            let held = match checked.verdict {
                Verdict::Holds => Some(true),
                Verdict::Violated => Some(false),
                Verdict::Inconclusive => None,
            };
            invariant(name, held, detail)
        }
        _ => invariant(name, None, "the records were not read back"),
    }
}

/// The verdict over all that must hold, and why it is not `holds`.
pub fn verdict(invariants: &[Invariant]) -> (DrillVerdict, Vec<String>) {
    let mut reasons = Vec::new();
    let mut worst = DrillVerdict::Holds;
    for invariant in invariants {
        let (verdict, word) = match invariant.held {
            Some(true) => continue,
            Some(false) => (DrillVerdict::Violated, "does not hold"),
            None => (DrillVerdict::Inconclusive, "could not be told"),
        };
        worst = worst.max(verdict);
        reasons.push(format!("{}: {word} ({})", invariant.name, invariant.detail));
    }
    (worst, reasons)
}

/// The counts of a verification: the worst of all nodes that count.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::{History, NodeReading};
    use crate::drill::timeline::{RoleSeen, Seen, What};
    use crate::ledger::{Entry, Header, Invoked, RecordOutcome, SettledRecords};
    use crate::record::{RunId, SeqRange, Timestamp};

    /// A history of ten acknowledged records, of which the read finds all but the last `missing`.
    fn doctored(missing: u64) -> Verification {
        let start = Timestamp::default();
        let header = Header {
            run: RunId::new(7),
            start,
            lab: "lab".into(),
            policy: "available".into(),
        };
        let mut history = History::new(header);
        let seqs = SeqRange::new(0, 10);
        history.push(&Entry::Invoked(Invoked {
            seqs,
            created: start,
        }));
        history.push(&Entry::Settled(SettledRecords {
            outcome: RecordOutcome::Replicated,
            first_at_us: 1,
            last_at_us: 1,
            seqs: vec![seqs],
        }));
        let batch = crate::record::Batch::new(RunId::new(7), start);
        let mut reading = NodeReading::new(&history, "redis-b");
        for seq in 0..10 {
            let value = batch.value(seq);
            reading.observe(seq, start, (seq + missing < 10).then_some(&value[..]));
        }
        let primary = reading.finish();
        Verification {
            verdict: primary.verdict,
            primary,
            replicas: Vec::new(),
            records_per_second: 1.0,
            changes: Vec::new(),
        }
    }

    fn role(at: u64, node: &str) -> Seen {
        Seen {
            at,
            what: What::Role {
                node: node.into(),
                role: RoleSeen::Primary,
            },
        }
    }

    fn judged(fault: Fault, seens: &Seens, verification: &Verification) -> Vec<String> {
        let acks = Acks::default();
        let records = records(verification, 0);
        let facts = Facts {
            fault,
            writes: Writes::Wait,
            trusting: true,
            seens,
            acks: &acks,
            offset: 0,
            healed_at: 50,
            outages: &[],
            down_after_ms: 1500.0,
            before: "redis-a",
            after: Ok("redis-b"),
            must_stay: None,
            told: None,
            missed: None,
            acknowledged_at_last: true,
            writer: None,
            records: Some(&records),
            checked: Some(verification),
        };
        verdict(&facts.invariants()).1
    }

    fn struck(more: Vec<Seen>) -> Seens {
        let fault = Seen {
            at: 10,
            what: What::Fault("a fault".into()),
        };
        Seens([vec![role(0, "redis-a"), fault], more].concat())
    }

    #[test]
    fn a_doctored_history_is_caught() {
        let failed_over = struck(vec![role(20, "redis-b")]);
        let all = judged(Fault::KillPrimary, &failed_over, &doctored(0));
        assert!(all.is_empty(), "{all:?}");
        assert_eq!(
            judged(Fault::KillPrimary, &failed_over, &doctored(2)),
            ["no acknowledged write is lost: does not hold (2 of 10)"]
        );
    }

    #[test]
    fn a_failover_that_must_come_and_one_that_must_not_are_told_apart() {
        let (with, without) = (struck(vec![role(20, "redis-b")]), struck(vec![]));
        let fine = doctored(0);
        assert!(judged(Fault::KillPrimary, &with, &fine).is_empty());
        assert_eq!(judged(Fault::KillPrimary, &without, &fine).len(), 1);
        assert!(judged(Fault::KillReplica, &without, &fine).is_empty());
        assert_eq!(judged(Fault::KillReplica, &with, &fine).len(), 1);
        // The same node again is no failover.
        let again = struck(vec![role(20, "redis-a")]);
        assert!(judged(Fault::KillReplica, &again, &fine).is_empty());
        // Whoever is primary when the fault comes.
        let mut moved = struck(vec![role(20, "redis-a")]);
        moved.0.insert(1, role(5, "redis-b"));
        assert!(judged(Fault::KillPrimary, &moved, &fine).is_empty());
        assert_eq!(judged(Fault::KillReplica, &moved, &fine).len(), 1);
        // Two Sentinels gone: none before they are back, at 50.
        let late = struck(vec![role(60, "redis-b")]);
        let two = Fault::KillTwoSentinelsThenPrimary;
        assert!(judged(two, &late, &fine).is_empty());
        assert_eq!(judged(two, &with, &fine).len(), 1);
    }
}
