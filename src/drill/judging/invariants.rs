//! What must hold in a run, compared with what was observed. Pure.

use crate::drill::report::{ClientCalls, Invariant, Outage, Records};
use crate::verifier::Verification;
use crate::writer::WriteSummary;

use super::expectation::{Expectation, Failover, Writes};
use super::linearizable::linearizable;
use super::records::nothing_lost;
use super::timeline::Timeline;

/// A record that was confirmed before a link was cut may be acknowledged this much later: its
/// confirmation was in progress.
const UNDER_WAY_US: u64 = 300_000;

/// What is known of one fault when it is over.
#[derive(Debug)]
pub struct FaultEvidence<'a> {
    /// What must hold, under the policy of the run.
    pub expectation: Expectation,
    /// The policy trusts `+OK`.
    pub trusting: bool,
    /// Events and acknowledgements from the fault until the next one or the end of the run.
    pub timeline: Timeline<'a>,
    /// The outages in that time.
    pub outages: &'a [Outage],
    /// Time at which the fault was healed.
    pub healed_at: u64,
    /// Silence after which a Sentinel considers a node down.
    pub down_after_ms: f64,
    /// The primary after the recovery, or why the lab has not recovered.
    pub after: Result<&'a str, &'a str>,
    /// The node that has to be primary after the recovery, if the fault determines it.
    pub expected_primary: Option<&'a str>,
    /// The error that the fault has to cause, if the fault determines it.
    pub reported_error: Option<&'a ReportedError>,
    /// What did not happen in time while the fault lasted.
    pub missed: Option<&'a str>,
}

/// An error that has to name its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedError {
    /// The node or program that has to report it.
    pub reporter: String,
    /// The remedy that it has to name.
    pub remedy: &'static str,
    /// Its message, if that names the remedy.
    pub message: Option<String>,
}

/// What is known of a run when it is over.
#[derive(Debug, Clone, Copy)]
pub struct RunEvidence<'a> {
    /// The writer's summary, if it ended without an error.
    pub writer: Option<&'a WriteSummary>,
    /// The counts of records, if they were read back.
    pub records: Option<&'a Records>,
    /// The result of the verification.
    pub verification: Option<&'a Verification>,
    /// The calls of client applications, if there were any.
    pub clients: Option<&'a ClientCalls>,
    /// A record was acknowledged after the recovery, by every node (or by `+OK`, if that is
    /// trusted).
    pub acknowledged_at_last: bool,
    /// The primary at the end, or why the lab has not recovered.
    pub primary: Result<&'a str, &'a str>,
}

impl RunEvidence<'_> {
    /// The invariants of a run with one fault.
    pub fn invariants(&self, fault: &FaultEvidence<'_>) -> Vec<Invariant> {
        let mut all = self.of_data();
        all.extend(fault.reaction());
        if let Some(writer) = self.writer {
            let detail = format!("{} failed, {} unknown", writer.failed, writer.unknown);
            let held = writer.failed == 0 && writer.unknown == 0;
            all.push(Invariant::new("no write fails for good", held, detail));
        }
        all.extend(fault.aftermath());
        let held = self.acknowledged_at_last;
        all.push(acknowledged_at_last(
            held,
            if held { "yes" } else { "none" },
        ));
        all
    }

    /// The invariants of records and answers, whatever the faults were.
    fn of_data(&self) -> Vec<Invariant> {
        let mut all = vec![nothing_lost(self.records, self.verification)];
        all.extend(self.clients.map(linearizable));
        all
    }

    /// The invariants of a run with many faults: of each fault, those that did not hold.
    pub fn invariants_of_chapter(&self, faults: &[(&str, FaultEvidence<'_>)]) -> Vec<Invariant> {
        let mut all = self.of_data();
        for (i, (name, fault)) in faults.iter().enumerate() {
            let invariants = fault.reaction().into_iter().chain(fault.aftermath());
            let broken = invariants.filter(|invariant| invariant.held == Some(false));
            all.extend(broken.map(|invariant| Invariant {
                name: format!("fault {} ({name}): {}", i + 1, invariant.name),
                ..invariant
            }));
        }
        let held = self.acknowledged_at_last && self.primary.is_ok();
        let detail = self.primary.unwrap_or_else(|why| why);
        all.push(acknowledged_at_last(held, detail));
        all
    }
}

impl FaultEvidence<'_> {
    /// The invariants while the fault lasts.
    fn reaction(&self) -> Vec<Invariant> {
        [
            self.failover(),
            self.nothing_acknowledged(),
            self.writes_continue(),
            self.short_pause(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The invariants after the fault.
    fn aftermath(&self) -> Vec<Invariant> {
        let mut all = Vec::new();
        if let Some(error) = self.reported_error {
            let detail = match &error.message {
                Some(message) => format!("{}: {message}", error.reporter),
                None => format!("{} does not name \"{}\"", error.reporter, error.remedy),
            };
            let held = error.message.is_some();
            all.push(Invariant::new("the error names the remedy", held, detail));
        }
        if let Some(missed) = self.missed {
            all.push(Invariant::new("the lab reacts in time", false, missed));
        }
        all.push(match self.after {
            Ok(primary) => Invariant::new("recovers", true, format!("{primary} is primary")),
            Err(why) => Invariant::new("recovers", false, why),
        });
        if let (Some(expected), Ok(after)) = (self.expected_primary, self.after) {
            let detail = format!("{expected} was promoted, {after} is primary");
            let held = expected == after;
            all.push(Invariant::new(
                "the promoted node stays primary",
                held,
                detail,
            ));
        }
        all
    }

    /// Number of times that another node became primary, from the first fault on.
    fn promotions(&self, until: u64) -> u32 {
        let Some((from, _)) = self.timeline.events.faults().first().copied() else {
            return 0;
        };
        // A promotion before the fault, on a slow machine, only says which node is primary.
        let times = self.timeline.promotions().map(|(at, _)| at);
        let counted = times.filter(|at| (from..until).contains(at)).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    fn failover(&self) -> Option<Invariant> {
        let until_healed = self.expectation.failover == Failover::ForbiddenUntilHealed;
        let until = if until_healed {
            self.healed_at
        } else {
            u64::MAX
        };
        let times = self.promotions(until);
        let (name, held) = match self.expectation.failover {
            Failover::AtLeast(wanted) => ("another node takes over", times >= wanted),
            Failover::Forbidden => ("no failover", times == 0),
            Failover::ForbiddenUntilHealed => {
                let name = "no failover without a majority of the Sentinels";
                (name, times == 0)
            }
            Failover::Allowed => return None,
        };
        let detail = format!("{times} times another node became primary");
        Some(Invariant::new(name, held, detail))
    }

    /// The last fault and its healing, on the writer's clock.
    fn span(&self) -> Option<(u64, u64)> {
        let at = self.timeline.events.last_fault()?;
        let local = |t: u64| t.saturating_sub(self.timeline.writer_start);
        Some((local(at), local(self.healed_at)))
    }

    fn nothing_acknowledged(&self) -> Option<Invariant> {
        if self.expectation.writes != Writes::MustStop || self.trusting {
            return None;
        }
        let (injected, healed) = self.span()?;
        let records = self.timeline.acks.between(injected + UNDER_WAY_US, healed);
        let name = "nothing is acknowledged until it is healed";
        Some(Invariant::new(
            name,
            records == 0,
            format!("{records} records"),
        ))
    }

    fn writes_continue(&self) -> Option<Invariant> {
        if self.expectation.writes != Writes::Continue {
            return None;
        }
        let (injected, healed) = self.span()?;
        let records = self.timeline.acks.between(injected, healed);
        let name = "writes go on before it is healed";
        Some(Invariant::new(
            name,
            records > 0,
            format!("{records} records"),
        ))
    }

    fn short_pause(&self) -> Option<Invariant> {
        if self.expectation.writes != Writes::ShortPause {
            return None;
        }
        let pauses = self.outages.iter().filter_map(|o| o.rto_ms);
        let longest = pauses.fold(0.0, f64::max);
        let name = "the pause of writes is shorter than down-after";
        let held = longest < self.down_after_ms;
        Some(Invariant::new(name, held, format!("{longest:.1} ms")))
    }
}

fn acknowledged_at_last(held: bool, detail: &str) -> Invariant {
    Invariant::new("writes are acknowledged after recovery", held, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::{History, NodeReading};
    use crate::drill::judging::{
        Acks, EventLog, LabEvent, LabEventKind, ObservedRole, records, verdict,
    };
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

    const TAKES_OVER: Failover = Failover::AtLeast(1);
    const STAYS: Failover = Failover::Forbidden;
    const WITHOUT_MAJORITY: Failover = Failover::ForbiddenUntilHealed;

    fn primary(at: u64, node: &str) -> LabEvent {
        LabEvent {
            at,
            kind: LabEventKind::Role {
                node: node.into(),
                role: ObservedRole::Primary,
            },
        }
    }

    fn judged(failover: Failover, events: &EventLog, verification: &Verification) -> Vec<String> {
        judged_with(None, failover, events, verification)
    }

    fn judged_with(
        clients: Option<&ClientCalls>,
        failover: Failover,
        events: &EventLog,
        verification: &Verification,
    ) -> Vec<String> {
        let acks = Acks::default();
        let records = records(verification, 0);
        let fault = FaultEvidence {
            expectation: Expectation {
                failover,
                writes: Writes::MayStop,
            },
            trusting: true,
            timeline: Timeline {
                events,
                acks: &acks,
                writer_start: 0,
                before: Some("redis-a"),
            },
            outages: &[],
            healed_at: 50,
            down_after_ms: 1500.0,
            after: Ok("redis-b"),
            expected_primary: None,
            reported_error: None,
            missed: None,
        };
        let run = RunEvidence {
            writer: None,
            records: Some(&records),
            verification: Some(verification),
            clients,
            acknowledged_at_last: true,
            primary: Ok("redis-b"),
        };
        let reasons = verdict(&run.invariants(&fault)).1;
        // In a chapter the same is judged, and named by the fault.
        let chapter = verdict(&run.invariants_of_chapter(&[("a-fault", fault)])).1;
        let unnamed = |reason: String| reason.replace("fault 1 (a-fault): ", "");
        assert_eq!(
            chapter.into_iter().map(unnamed).collect::<Vec<_>>(),
            reasons
        );
        reasons
    }

    fn injected(more: Vec<LabEvent>) -> EventLog {
        let fault = LabEvent {
            at: 10,
            kind: LabEventKind::Fault("a fault".into()),
        };
        EventLog([vec![primary(0, "redis-a"), fault], more].concat())
    }

    #[test]
    fn what_clients_were_answered_is_judged_with_one_fault_and_with_many() {
        let failed_over = injected(vec![primary(20, "redis-b")]);
        let clients = |failure: Option<&str>| ClientCalls {
            failure: failure.map(str::to_owned),
            ..ClientCalls::default()
        };
        let judged = |clients| judged_with(Some(&clients), TAKES_OVER, &failed_over, &doctored(0));
        assert_eq!(judged(clients(None)), Vec::<String>::new());
        let reasons = judged(clients(Some("not every key was read")));
        assert!(reasons[0].contains("not every key was read"), "{reasons:?}");
    }

    #[test]
    fn a_doctored_history_is_caught() {
        let failed_over = injected(vec![primary(20, "redis-b")]);
        let all = judged(TAKES_OVER, &failed_over, &doctored(0));
        assert!(all.is_empty(), "{all:?}");
        assert_eq!(
            judged(TAKES_OVER, &failed_over, &doctored(2)),
            ["no acknowledged write is lost: does not hold (2 of 10)"]
        );
    }

    #[test]
    fn a_failover_that_must_come_and_one_that_must_not_are_told_apart() {
        let (with, without) = (injected(vec![primary(20, "redis-b")]), injected(vec![]));
        let fine = doctored(0);
        assert!(judged(TAKES_OVER, &with, &fine).is_empty());
        assert_eq!(judged(TAKES_OVER, &without, &fine).len(), 1);
        assert!(judged(STAYS, &without, &fine).is_empty());
        assert_eq!(judged(STAYS, &with, &fine).len(), 1);
        // The same node again is no failover.
        let again = injected(vec![primary(20, "redis-a")]);
        assert!(judged(STAYS, &again, &fine).is_empty());
        // Another primary when the fault is injected.
        let mut moved = injected(vec![primary(20, "redis-a")]);
        moved.0.insert(1, primary(5, "redis-b"));
        assert!(judged(TAKES_OVER, &moved, &fine).is_empty());
        assert_eq!(judged(STAYS, &moved, &fine).len(), 1);
        // Two Sentinels are down until the healing, at 50.
        let late = injected(vec![primary(60, "redis-b")]);
        assert!(judged(WITHOUT_MAJORITY, &late, &fine).is_empty());
        assert_eq!(judged(WITHOUT_MAJORITY, &with, &fine).len(), 1);
    }
}
