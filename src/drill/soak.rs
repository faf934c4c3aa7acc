//! A soak run: random faults in one lab under load, each once the lab has recovered from the last.
//!
//! It is divided into chapters, as memory is limited: when the lab holds enough records, the writer
//! ends, all records are read back and judged, and the lab is emptied. Each chapter is a run of the
//! report, with a ledger of its own; the verdict is the worst of all chapters. A chapter that does
//! not hold ends the soak run, and everything is kept.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::drill::environment::{Environment, EnvironmentError, LabObserver, Requirement};
use crate::drill::experiment::{Experiment, Scope, Subject, clean_up, keep_events};
use crate::drill::faults::{FaultKind, InjectionError, await_recovery};
use crate::drill::phases::Phases;
use crate::drill::plan::{DrillPlan, Setup, host, now};
use crate::drill::report::{Drill, DrillReport, DrillVerdict, Run};

/// Name of a soak run in reports, in place of a fault.
const NAME: &str = "soak";
/// A fault is injected at a random moment within this time after the last recovery.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A chapter ends after so many calls of clients. The more of them have an unknown outcome, the
/// longer is the search for an order of all.
const MAX_CALLS: usize = 60_000;
/// Time limit of emptying the lab.
const EMPTY_LIMIT: Duration = Duration::from_secs(30);

/// A soak run.
#[derive(Debug, Clone)]
pub struct SoakPlan {
    /// Faults, setups and settings; each setup gets an equal share of the time.
    pub plan: DrillPlan,
    /// Total duration.
    pub duration: Duration,
    /// Number of records after which a chapter ends.
    pub chapter: u64,
}

/// The progress of a soak run.
#[derive(Debug, Clone, Copy)]
pub struct SoakProgress<'a> {
    /// Time since the start.
    pub elapsed: Duration,
    /// The fault that has ended, or none at the end of a chapter.
    pub fault: Option<FaultKind>,
    /// Number of faults so far.
    pub faults: usize,
    /// Number of records acknowledged so far.
    pub acknowledged: u64,
    /// Of these: read back, in chapters that have ended.
    pub verified: u64,
    /// Number of calls of clients answered so far.
    pub calls: usize,
    /// The violations.
    pub trouble: Option<&'a str>,
}

/// Called with the progress.
pub type SoakListener = Arc<dyn Fn(SoakProgress<'_>) + Send + Sync>;

/// Carries out a soak run. The report has one drill for each setup, with its chapters as runs.
pub async fn soak(
    soak: &SoakPlan,
    stop: &CancellationToken,
    listener: &SoakListener,
) -> DrillReport {
    let started = now();
    let begun = Instant::now();
    let setups = &soak.plan.setups;
    let share = soak.duration / u32::try_from(setups.len().max(1)).unwrap_or(1);
    // Once: a requirement is checked by starting a program.
    let faults = soak.plan.faults.iter().copied();
    let usable: Vec<FaultKind> = faults.filter(|fault| is_usable(*fault)).collect();
    let mut drills = Vec::new();
    let mut totals = SoakTotals::default();
    for (i, setup) in setups.iter().enumerate() {
        let mut lab_run = LabRun {
            soak,
            usable: &usable,
            setup,
            begun,
            until: begun + share * u32::try_from(i + 1).unwrap_or(1),
            seed: soak.plan.seed.wrapping_add(i as u64),
            totals: &mut totals,
            stop,
            listener,
        };
        let runs = lab_run.run().await;
        let holds = all_hold(&runs);
        drills.push(Drill::new(NAME, soak.plan.setting(setup), runs));
        if !holds || stop.is_cancelled() {
            break;
        }
    }
    DrillReport::new(started, host(), drills)
}

fn all_hold(runs: &[Run]) -> bool {
    runs.iter().all(|run| run.verdict == DrillVerdict::Holds)
}

#[derive(Default)]
struct SoakTotals {
    faults: usize,
    calls: usize,
    acknowledged: u64,
    verified: u64,
}

/// The part of a soak run in one setup, with one lab.
struct LabRun<'a> {
    soak: &'a SoakPlan,
    /// The faults that are possible here.
    usable: &'a [FaultKind],
    setup: &'a Setup,
    begun: Instant,
    until: Instant,
    seed: u64,
    totals: &'a mut SoakTotals,
    stop: &'a CancellationToken,
    listener: &'a SoakListener,
}

impl LabRun<'_> {
    async fn run(&mut self) -> Vec<Run> {
        let plan = &self.soak.plan;
        let failed = |why: String| Run::without_results(plan.seed, DrillVerdict::Failed, why);
        let folder = plan.run_folder(NAME);
        let environment =
            plan.environment(self.setup, folder.clone(), Requirement::OwnNodes, false);
        let mut environment = match environment {
            Ok(environment) => environment,
            Err(error) => return vec![failed(error.to_string())],
        };
        let observer = LabObserver::start(&environment.lab, self.begun);
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut runs = Vec::new();
        if let Err(error) = await_recovery(&environment.lab, &observer, self.stop).await {
            runs.push(failed(format!("not ready: {error}")));
        }
        while all_hold(&runs) && Instant::now() < self.until && !self.stop.is_cancelled() {
            let number = runs.len() + 1;
            let subject = Subject {
                environment: &mut environment,
                observer: &observer,
                rng: &mut rng,
                stop: self.stop,
            };
            runs.push(self.chapter(subject, number).await);
            if let Err(why) = empty(&environment, &observer).await {
                runs.push(failed(why));
            }
            // The events of a chapter that has been judged are kept on disk, not in memory.
            keep_events(&folder, &observer.take_events());
        }
        let kept = clean_up(environment, observer, plan.keep || !all_hold(&runs));
        if let Some(run) = runs.last_mut() {
            run.kept = kept;
        }
        runs
    }

    async fn chapter(&mut self, subject: Subject<'_>, number: usize) -> Run {
        let plan = &self.soak.plan;
        let folder = subject.environment.folder().to_owned();
        let ledger = folder.join(format!("chapter-{number}.ledger"));
        let calls = format!("chapter-{number}.clients.jsonl");
        let settings = plan.load_settings(self.setup);
        let mut experiment = Experiment::start(
            subject,
            Scope::Chapter,
            settings,
            ledger.clone(),
            Phases::silent(),
        );
        let mut outcome = match plan.clients {
            Some(clients) => {
                let seed = plan.seed.wrapping_add(number as u64);
                experiment.start_clients(clients, seed, &calls).await
            }
            None => Ok(()),
        };
        while outcome.is_ok()
            && Instant::now() < self.until
            && experiment.acknowledged() < self.soak.chapter
            && experiment.answered_calls() < MAX_CALLS
        {
            outcome = self.next_fault(&mut experiment).await;
        }
        if let Err(InjectionError::Stopped) = outcome {
            // What was done before the request to stop is judged.
            outcome = Ok(());
        }
        // The recovery is awaited also after a request to stop: the verdict needs it.
        let patient = CancellationToken::new();
        let run = experiment.finish(outcome, plan.seed, &patient).await;
        self.totals.acknowledged += run.records.as_ref().map_or(0, |r| r.acknowledged);
        self.totals.verified = self.totals.acknowledged;
        self.totals.calls += run.clients.as_ref().map_or(0, |calls| calls.answered);
        self.report(None, (0, 0), run.reasons.first().map(String::as_str));
        if run.verdict == DrillVerdict::Holds && !plan.keep {
            // It is not needed any more, and a long run has many.
            let _ = fs::remove_file(&ledger);
            let _ = fs::remove_file(folder.join(&calls));
        }
        run
    }

    /// One fault and the recovery from it.
    async fn next_fault(&mut self, experiment: &mut Experiment<'_>) -> Result<(), InjectionError> {
        let subject = experiment.subject();
        let fault = self.usable.choose(subject.rng).copied();
        let none = || EnvironmentError::Unavailable("every fault of this soak run".into());
        let fault = fault.ok_or_else(none)?;
        let before = subject.observer.named_primary().await.unwrap_or_default();
        let (mut injected, outcome) = experiment.inject(fault, before, MAX_PAUSE).await;
        match outcome {
            Ok(()) | Err(InjectionError::Missed(_)) => {}
            Err(error) => return Err(error),
        }
        experiment.recover(&mut injected).await?;
        let not_recovered = injected
            .recovery
            .clone()
            .and_then(|(primary, _)| primary.err());
        let missed = injected.missed.clone().or(not_recovered);
        experiment.push(injected);
        self.totals.faults += 1;
        let so_far = (experiment.acknowledged(), experiment.answered_calls());
        self.report(Some(fault), so_far, missed.as_deref());
        missed.map_or(Ok(()), |what| Err(InjectionError::Missed(what)))
    }

    /// Reports the progress; `acknowledged` are the records of the current chapter, `calls` the
    /// answered calls.
    fn report(
        &self,
        fault: Option<FaultKind>,
        (acknowledged, calls): (u64, usize),
        trouble: Option<&str>,
    ) {
        (self.listener)(SoakProgress {
            elapsed: self.begun.elapsed(),
            fault,
            faults: self.totals.faults,
            acknowledged: self.totals.acknowledged + acknowledged,
            verified: self.totals.verified,
            calls: self.totals.calls + calls,
            trouble,
        });
    }
}

/// Whether a soak run can use the fault.
fn is_usable(fault: FaultKind) -> bool {
    let definition = fault.definition();
    definition.requirement.is_available_in_soak() && !definition.properties.discards_records
}

/// Removes all records, which have been read back.
async fn empty(environment: &Environment, observer: &LabObserver) -> Result<(), String> {
    let primary = observer
        .named_primary()
        .await
        .ok_or("there is no primary")?;
    let node = environment.lab.node(&primary);
    let node = node.ok_or("there is no primary")?;
    let connector = observer.connector.clone().with_answer_limit(EMPTY_LIMIT);
    let mut conn = connector
        .open(node.socket())
        .await
        .map_err(|e| e.to_string())?;
    conn.query::<redis::Value>(redis::cmd("FLUSHALL").arg("ASYNC"))
        .await
        .map_err(|e| e.to_string())?;
    await_recovery(&environment.lab, observer, &CancellationToken::new())
        .await
        .map(drop)
        .map_err(|e| e.to_string())
}
