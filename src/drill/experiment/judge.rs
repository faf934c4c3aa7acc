//! The invariants and the verdict of an experiment, from its results.

use crate::drill::environment::{Environment, EnvironmentError};
use crate::drill::faults::InjectionError;
use crate::drill::judging::{Acks, EventLog, FaultEvidence, RunEvidence, Timeline, verdict};
use crate::drill::report::{ClientCalls, DrillVerdict, Invariant, Outage, Records, Run};
use crate::protocol::ack::Policy;
use crate::verifier::{Verification, VerifyError};
use crate::writer::{WriteSummary, WriterError};

use super::{InjectedFault, Scope};

/// Length of the samples' intervals.
const SAMPLE_US: u64 = 100_000;

/// What is known when the experiment is over.
pub(super) struct Results {
    /// The outcome of the last injection.
    pub(super) outcome: Result<(), InjectionError>,
    /// The error of the observer.
    pub(super) observer_failure: Option<String>,
    /// The primary, or what is missing for the recovery.
    pub(super) primary: Result<String, String>,
    /// A write was acknowledged after the recovery.
    pub(super) acknowledged_at_last: bool,
    pub(super) writer: Result<WriteSummary, WriterError>,
    pub(super) verification: Result<Verification, VerifyError>,
    pub(super) records: Option<Records>,
    /// The calls of client applications, if there were any.
    pub(super) clients: Option<ClientCalls>,
    pub(super) acks: Acks,
    pub(super) events: EventLog,
    /// End, on the observer's clock.
    pub(super) end: u64,
}

/// The judgement of an experiment.
pub(super) struct Judge<'a> {
    pub(super) scope: Scope,
    pub(super) policy: Policy,
    pub(super) environment: &'a Environment,
    pub(super) injected: &'a [InjectedFault],
    pub(super) results: &'a Results,
    /// Start of the writer's clock on the observer's clock.
    pub(super) writer_start: u64,
}

impl Judge<'_> {
    /// The run, without its seed and its phases.
    pub(super) fn run(&self) -> Run {
        let timeline = self.timeline(&self.results.events, self.injected.first());
        let outages = timeline.outages(self.results.end);
        let invariants = self.invariants(&outages);
        let (verdict, reasons) = self.verdict(&invariants);
        let zero = self.results.events.last_fault();
        let zero = zero.map_or(0, |at| at.saturating_sub(self.writer_start));
        Run {
            verdict,
            reasons,
            seed: 0,
            phases: Vec::new(),
            timeline: timeline.entries(&|ip| self.environment.name_of(ip)),
            outages,
            records: self.results.records.clone(),
            invariants,
            clients: self.results.clients.clone(),
            samples: Some(self.results.acks.samples(SAMPLE_US, zero)),
            kept: None,
        }
    }

    /// The timeline of events that begin with a fault.
    fn timeline<'b>(
        &'b self,
        events: &'b EventLog,
        fault: Option<&'b InjectedFault>,
    ) -> Timeline<'b> {
        let before = fault.map(|fault| fault.before.as_str());
        Timeline {
            events,
            acks: &self.results.acks,
            writer_start: self.writer_start,
            before: before.filter(|node| !node.is_empty()),
        }
    }

    fn invariants(&self, outages: &[Outage]) -> Vec<Invariant> {
        let Results {
            primary,
            writer,
            verification,
            ..
        } = self.results;
        let run = RunEvidence {
            writer: writer.as_ref().ok(),
            records: self.results.records.as_ref(),
            verification: verification.as_ref().ok(),
            clients: self.results.clients.as_ref(),
            acknowledged_at_last: self.results.acknowledged_at_last,
            primary: primary.as_deref().map_err(String::as_str),
        };
        match self.injected {
            [fault] if self.scope == Scope::SingleFault => {
                run.invariants(&self.evidence(fault, &self.results.events, outages))
            }
            faults => {
                let windows: Vec<_> = self.windows(faults);
                let evidence = windows.iter().map(|(fault, events, outages)| {
                    let name = fault.fault.name();
                    (name, self.evidence(fault, events, outages))
                });
                run.invariants_of_chapter(&evidence.collect::<Vec<_>>())
            }
        }
    }

    /// The events and outages of each fault: until the next one.
    fn windows<'f>(
        &self,
        faults: &'f [InjectedFault],
    ) -> Vec<(&'f InjectedFault, EventLog, Vec<Outage>)> {
        let next = |i: usize| faults.get(i + 1).map_or(self.results.end, |f| f.began);
        let window = |(i, fault): (usize, &'f InjectedFault)| {
            let events = self.results.events.between(fault.began, next(i));
            let outages = self.timeline(&events, Some(fault)).outages(next(i));
            (fault, events, outages)
        };
        faults.iter().enumerate().map(window).collect()
    }

    fn evidence<'b>(
        &'b self,
        fault: &'b InjectedFault,
        events: &'b EventLog,
        outages: &'b [Outage],
    ) -> FaultEvidence<'b> {
        let recovery = fault.recovery.as_ref().map(|(primary, _)| primary);
        let after = recovery.unwrap_or(&self.results.primary);
        FaultEvidence {
            expectation: fault.expectation,
            trusting: self.policy == Policy::None,
            timeline: self.timeline(events, Some(fault)),
            outages,
            healed_at: fault.healed,
            down_after_ms: self.environment.lab.timing.down_after.as_secs_f64() * 1000.0,
            after: after.as_deref().map_err(String::as_str),
            expected_primary: fault.findings.expected_primary.as_deref(),
            reported_error: fault.findings.reported_error.as_ref(),
            missed: fault.missed.as_deref(),
        }
    }

    /// The verdict over the invariants and over what prevented a judgement.
    fn verdict(&self, invariants: &[Invariant]) -> (DrillVerdict, Vec<String>) {
        let (judged, mut reasons) = verdict(invariants);
        let Some((failed, why)) = self.results.failure() else {
            return (judged, reasons);
        };
        reasons.insert(0, why);
        // The first: no record is lost; the second, if there are clients: they are linearizable.
        let first = 1 + usize::from(self.results.clients.is_some());
        let lost = invariants.iter().take(first).any(|i| i.held == Some(false));
        let verdict = match self.scope {
            // A fault that was not injected shows nothing; a lost record is lost all the same.
            Scope::SingleFault if lost => DrillVerdict::Violated,
            Scope::SingleFault => failed,
            Scope::Chapter => judged.max(failed),
        };
        (verdict, reasons)
    }
}

impl Results {
    /// What prevented a judgement, apart from what the lab did not do.
    fn failure(&self) -> Option<(DrillVerdict, String)> {
        if let Some(why) = &self.observer_failure {
            return Some((DrillVerdict::Failed, why.clone()));
        }
        let (verdict, why) = match &self.outcome {
            Err(InjectionError::Environment(EnvironmentError::Network(error))) => (
                DrillVerdict::Inconclusive,
                format!("the network cannot be cut here: {error}"),
            ),
            Err(
                error @ (InjectionError::Environment(EnvironmentError::Unavailable(_))
                | InjectionError::Stopped
                | InjectionError::Disturbed(_)),
            ) => (DrillVerdict::Inconclusive, error.to_string()),
            Err(error @ (InjectionError::Environment(_) | InjectionError::Refused(_))) => {
                (DrillVerdict::Failed, error.to_string())
            }
            Err(InjectionError::Missed(_)) | Ok(()) => match (&self.writer, &self.verification) {
                (Err(error), _) => (DrillVerdict::Failed, format!("the writer failed: {error}")),
                (_, Err(error)) => (
                    DrillVerdict::Inconclusive,
                    format!("the records could not be read back: {error}"),
                ),
                _ => return None,
            },
        };
        Some((verdict, why))
    }
}
