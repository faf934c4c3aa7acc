//! One run of one fault, in a lab of its own or in one that runs already: ready, load, fault,
//! observe, heal, settle, verify, verdict.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::drill::environment::{Environment, LabObserver};
use crate::drill::experiment::{Experiment, Scope, Subject, clean_up};
use crate::drill::faults::{FaultKind, InjectionError, await_recovery};
use crate::drill::phases::Phases;
use crate::drill::plan::{DrillPlan, Setup};
use crate::drill::report::{DrillVerdict, Run};

/// The fault is injected at a random moment within this time after the first writes.
const JITTER: Duration = Duration::from_millis(300);

/// Name of the file with all calls of clients.
const CLIENTS_FILE: &str = "clients.jsonl";

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct SingleRun<'a> {
    /// The plan that it belongs to.
    pub plan: &'a DrillPlan,
    /// The fault.
    pub fault: FaultKind,
    /// The setup.
    pub setup: &'a Setup,
    /// Number of the run, from 1.
    pub number: usize,
    /// Its random seed.
    pub seed: u64,
}

impl SingleRun<'_> {
    /// Carries it out.
    pub async fn run(&self, mut phases: Phases, stop: &CancellationToken) -> Run {
        phases.begin("ready");
        let definition = self.fault.definition();
        let environment = self.plan.environment(
            self.setup,
            self.plan.run_folder(self.fault.name()),
            definition.requirement,
            definition.properties.needs_append_only_file,
        );
        let mut environment = match environment {
            Ok(environment) => environment,
            Err(error) => {
                return self.without_results(phases, DrillVerdict::Failed, error.to_string());
            }
        };
        let observer = LabObserver::start(&environment.lab, Instant::now());
        let before = match await_recovery(&environment.lab, &observer, stop).await {
            Ok(primary) => primary,
            Err(error) => {
                let verdict = match error {
                    InjectionError::Stopped => DrillVerdict::Inconclusive,
                    _ => DrillVerdict::Failed,
                };
                let kept = clean_up(environment, observer, true);
                let why = format!("not ready: {error}");
                let run = self.without_results(phases, verdict, why);
                return Run { kept, ..run };
            }
        };
        let run = self
            .under_load(&mut environment, &observer, before, phases, stop)
            .await;
        let keep = self.plan.keep || run.verdict != DrillVerdict::Holds;
        let kept = clean_up(environment, observer, keep);
        Run { kept, ..run }
    }

    async fn under_load(
        &self,
        environment: &mut Environment,
        observer: &LabObserver,
        before: String,
        phases: Phases,
        stop: &CancellationToken,
    ) -> Run {
        let settings = self.plan.load_settings(self.setup);
        let ledger = environment.ledger();
        let subject = Subject {
            environment,
            observer,
            rng: &mut StdRng::seed_from_u64(self.seed),
            stop,
        };
        let mut experiment =
            Experiment::start(subject, Scope::SingleFault, settings, ledger, phases);
        if let Some(clients) = self.plan.clients
            && let Err(error) = experiment
                .start_clients(clients, self.seed, CLIENTS_FILE)
                .await
        {
            return experiment.finish(Err(error), self.seed, stop).await;
        }
        let (fault, outcome) = experiment.inject(self.fault, before, JITTER).await;
        experiment.push(fault);
        experiment.finish(outcome, self.seed, stop).await
    }

    fn without_results(&self, phases: Phases, verdict: DrillVerdict, why: String) -> Run {
        Run {
            phases: phases.finish(),
            ..Run::without_results(self.seed, verdict, why)
        }
    }
}
