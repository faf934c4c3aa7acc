//! Faults injected into a lab under load, and the judgement of the run: what a single run and a
//! chapter of a soak run have in common.
//!
//! The lab is healed after every fault, whatever happened, and the records are read back if
//! possible.
//!
//! - `judge`: invariants and verdict; `read_back`: records and ledger; `clients`: the calls of
//!   client applications; `files`: the kept folder

mod clients;
mod files;
mod judge;
mod read_back;

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::drill::clients::Clients;
use crate::drill::environment::{Environment, EnvironmentError, LabObserver, Load, LoadSettings};
use crate::drill::faults::{
    FaultContext, FaultKind, Findings, InjectionError, await_first_writes, await_recovery,
};
use crate::drill::judging::{Expectation, LabEventKind, records};
use crate::drill::phases::Phases;
use crate::drill::report::Run;
use crate::protocol::ack::Policy;
use crate::writer::Counts;

use clients::checked;
pub(super) use files::{clean_up, keep_events};
use judge::{Judge, Results};
use read_back::{discarded, read_acks, spans, verify};

/// The writer is at work when this many times the records in flight are acknowledged.
const FIRST_ROUNDS: u64 = 5;
/// Writes continue when this many times the records in flight are acknowledged: the second of them
/// was sent afterwards.
const NEW_ROUNDS: u64 = 2;
/// Time that a write may take to be acknowledged after the recovery.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(15);
/// Interval at which the writer's counts are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What the invariants of a run refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// One fault, in a lab of its own.
    SingleFault,
    /// A chapter of a soak run, with many faults.
    Chapter,
}

/// The resources of an experiment.
pub(super) struct Subject<'a> {
    /// The lab.
    pub(super) environment: &'a mut Environment,
    /// Its observer.
    pub(super) observer: &'a LabObserver,
    /// The random generator.
    pub(super) rng: &'a mut StdRng,
    /// A request to stop.
    pub(super) stop: &'a CancellationToken,
}

/// A lab under load, and the faults that were injected.
pub(super) struct Experiment<'a> {
    subject: Subject<'a>,
    scope: Scope,
    settings: LoadSettings,
    ledger: PathBuf,
    load: Load,
    clients: Option<Clients>,
    phases: Phases,
    /// Start, on the observer's clock.
    began: u64,
    /// Start of the writer's clock on the observer's clock.
    writer_start: u64,
    injected: Vec<InjectedFault>,
}

/// A fault that was injected and healed. Times are of the observer's clock.
pub(super) struct InjectedFault {
    pub(super) fault: FaultKind,
    expectation: Expectation,
    began: u64,
    healed: u64,
    /// The primary before it; empty if unknown.
    before: String,
    findings: Findings,
    /// What the lab did not do in time.
    pub(super) missed: Option<String>,
    /// The recovery, if the experiment continues after it: the primary or what is missing, and
    /// when.
    pub(super) recovery: Option<(Result<String, String>, u64)>,
}

impl<'a> Experiment<'a> {
    /// Starts the writer.
    pub(super) fn start(
        subject: Subject<'a>,
        scope: Scope,
        settings: LoadSettings,
        ledger: PathBuf,
        mut phases: Phases,
    ) -> Self {
        phases.begin("load");
        let began = subject.observer.now();
        let load = Load::start(&subject.environment.lab, &settings, &ledger);
        Experiment {
            writer_start: subject.observer.since_begin(load.started),
            subject,
            scope,
            settings,
            ledger,
            load,
            clients: None,
            phases,
            began,
            injected: Vec::new(),
        }
    }

    /// Number of records acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.load.counts().acknowledged()
    }

    /// Number of calls of clients that were answered so far.
    pub(super) fn answered_calls(&self) -> usize {
        self.clients.as_ref().map_or(0, Clients::answered)
    }

    /// Injects a fault after a random pause, observes the lab, and heals it.
    pub(super) async fn inject(
        &mut self,
        fault: FaultKind,
        before: String,
        max_pause: Duration,
    ) -> (InjectedFault, Result<(), InjectionError>) {
        let Subject {
            environment,
            observer,
            rng,
            stop,
        } = &mut self.subject;
        let in_flight = self.settings.in_flight_records();
        let definition = fault.definition();
        let expectation = definition.expectation_under(self.settings.policy);
        // A handover waits for the replica: there the limit begins with the promotion.
        let outrun_after_promotion = definition.properties.begins_with_handover;
        let outrun = self.settings.outrun;
        let mut context = FaultContext {
            environment,
            observer,
            load: &mut self.load,
            primary: before.clone(),
            expectation,
            enough_records: NEW_ROUNDS * in_flight,
            rng,
            stop,
            phases: &mut self.phases,
            outrun_after_promotion: outrun && outrun_after_promotion,
            findings: Findings::default(),
        };
        let mut outcome = match outrun && !outrun_after_promotion {
            true => context.environment.outrun().map_err(InjectionError::from),
            false => Ok(()),
        };
        if outcome.is_ok() {
            outcome = await_first_writes(context.load, FIRST_ROUNDS * in_flight, stop).await;
        }
        if outcome.is_ok() {
            outcome = context.random_pause(max_pause).await;
        }
        let began = observer.now();
        if outcome.is_ok() {
            outcome = fault.inject(&mut context).await;
        }
        let findings = context.findings;
        let healed = observer.now();
        if let Err(error) = self.heal(fault, outcome.is_ok()) {
            outcome = Err(error.into());
        }
        let missed = match &outcome {
            Err(InjectionError::Missed(what)) => Some(what.clone()),
            _ => None,
        };
        let injected = InjectedFault {
            fault,
            expectation,
            began,
            healed,
            before,
            findings,
            missed,
            recovery: None,
        };
        (injected, outcome)
    }

    /// Heals the fault, and then whatever else is changed: by `--outrun`, or after an error.
    fn heal(&mut self, fault: FaultKind, injected: bool) -> Result<(), EnvironmentError> {
        self.phases.begin("heal");
        let observer = self.subject.observer;
        observer.record(LabEventKind::Action("healed".into()));
        let environment = &mut *self.subject.environment;
        let healed = fault.heal(environment);
        let changes = environment.changes();
        if injected && !changes.is_empty() {
            let changes = changes.join(", ");
            warn!(%fault, %changes, "the healing of the fault is incomplete");
        }
        healed.and(environment.restore())
    }

    /// Waits until the lab has recovered from that fault.
    pub(super) async fn recover(
        &mut self,
        fault: &mut InjectedFault,
    ) -> Result<(), InjectionError> {
        self.phases.begin("settle");
        let Subject {
            environment,
            observer,
            stop,
            ..
        } = &self.subject;
        let primary = match await_recovery(&environment.lab, observer, stop).await {
            Ok(primary) => Ok(primary),
            Err(InjectionError::Missed(what)) => Err(what),
            Err(error) => return Err(error),
        };
        fault.recovery = Some((primary, observer.now()));
        Ok(())
    }

    /// Includes a fault in the judgement.
    pub(super) fn push(&mut self, fault: InjectedFault) {
        self.injected.push(fault);
    }

    /// The subject, for the next fault.
    pub(super) fn subject(&mut self) -> &mut Subject<'a> {
        &mut self.subject
    }

    /// Waits until the lab has recovered, ends the writer, reads all records back, and judges.
    /// `stop` ends the wait for the recovery.
    pub(super) async fn finish(
        mut self,
        outcome: Result<(), InjectionError>,
        seed: u64,
        stop: &CancellationToken,
    ) -> Run {
        self.phases.begin("settle");
        let (primary, acknowledged_at_last) = self.settle(stop).await;
        let observer = self.subject.observer;
        let recording = match self.clients.take() {
            Some(clients) => Some(clients.finish().await),
            None => None,
        };
        let writer = self.load.finish().await;
        let end = observer.now();

        self.phases.begin("verify");
        let events = match self.scope {
            Scope::SingleFault => observer.events(),
            Scope::Chapter => observer.events().between(self.began, end),
        };
        let clients = match recording {
            Some(recording) => Some(checked(recording, events.last_fault()).await),
            None => None,
        };
        let environment = &*self.subject.environment;
        let faults = spans(&self.injected, &events, self.writer_start);
        let discarded = discarded(&self.injected, self.writer_start);
        let verification = verify(environment, &self.ledger, faults, discarded).await;
        let sent_again = writer.as_ref().map_or(0, |summary| summary.sent_again);
        let records = verification.as_ref().map(|v| records(v, sent_again));
        let results = Results {
            outcome,
            observer_failure: observer.failure(),
            primary,
            acknowledged_at_last,
            writer,
            records: records.ok(),
            clients,
            verification,
            acks: read_acks(&self.ledger),
            events,
            end,
        };
        let judge = Judge {
            scope: self.scope,
            policy: self.settings.policy,
            environment,
            injected: &self.injected,
            results: &results,
            writer_start: self.writer_start,
        };
        Run {
            seed,
            phases: self.phases.finish(),
            ..judge.run()
        }
    }

    /// Waits until the lab has recovered, and then for a write that every node has confirmed.
    /// Returns the primary or what is missing, and whether there was such a write.
    async fn settle(&self, stop: &CancellationToken) -> (Result<String, String>, bool) {
        let Subject {
            environment,
            observer,
            ..
        } = &self.subject;
        let primary = await_recovery(&environment.lab, observer, stop).await;
        let primary = primary.map_err(|error| error.to_string());
        observer.record(LabEventKind::Action(match &primary {
            Ok(primary) => format!("recovered, {primary} is primary"),
            Err(why) => why.clone(),
        }));
        let policy = self.settings.policy;
        let count = |counts: Counts| match policy {
            Policy::None => counts.unconfirmed,
            Policy::Replicated | Policy::Available => counts.replicated,
        };
        let new = NEW_ROUNDS * self.settings.in_flight_records();
        let goal = count(self.load.counts_now().await) + new;
        let deadline = Instant::now() + LAST_WRITE_LIMIT;
        let reached = || count(self.load.counts()) >= goal;
        while !reached() && Instant::now() < deadline && !stop.is_cancelled() {
            sleep(POLL_INTERVAL).await;
        }
        (primary, reached())
    }
}
