//! All drills of a plan, one after the other.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::drill::faults::FaultKind;
use crate::drill::phases::Phases;
use crate::drill::plan::{DrillPlan, host, now};
use crate::drill::report::{Drill, DrillReport, DrillVerdict, Run, Setting};
use crate::drill::single::SingleRun;

/// The progress of a plan.
#[derive(Debug, Clone, Copy)]
pub enum DrillProgress<'a> {
    /// A phase begins.
    Phase {
        /// The fault.
        fault: FaultKind,
        /// Number of the run, from 1.
        run: usize,
        /// The phase.
        phase: &'a str,
    },
    /// A run has ended.
    Ended {
        /// The fault.
        fault: FaultKind,
        /// Its setting.
        setting: &'a Setting,
        /// Number of the run, from 1.
        run: usize,
        /// The run.
        result: &'a Run,
    },
    /// The report so far, which remains if the plan is not completed.
    SoFar(&'a DrillReport),
}

/// Called with the progress.
pub type DrillListener = Arc<dyn Fn(DrillProgress<'_>) + Send + Sync>;

/// Runs all drills, one after the other, and returns the report. A request to stop ends the current
/// run in order, and leaves out the rest.
pub async fn run(
    plan: &DrillPlan,
    stop: &CancellationToken,
    listener: &DrillListener,
) -> DrillReport {
    let started = now();
    let mut drills: Vec<Drill> = Vec::new();
    for fault in plan.faults.iter().copied() {
        for setup in &plan.setups_of(fault) {
            let setting = plan.setting_of(fault, setup);
            let ended = drills.len();
            let mut runs = Vec::new();
            for number in 1..=plan.runs {
                if stop.is_cancelled() {
                    break;
                }
                let seed = plan.seed.wrapping_add(ended as u64 * 1000 + number as u64);
                let run = SingleRun {
                    plan,
                    fault,
                    setup,
                    number,
                    seed,
                };
                let result = run_one(run, stop, listener).await;
                listener(DrillProgress::Ended {
                    fault,
                    setting: &setting,
                    run: number,
                    result: &result,
                });
                runs.push(result);
                drills.truncate(ended);
                drills.push(Drill::new(fault.name(), setting.clone(), runs.clone()));
                let so_far = DrillReport::new(started.clone(), host(), drills.clone());
                listener(DrillProgress::SoFar(&so_far));
            }
        }
    }
    DrillReport::new(started, host(), drills)
}

async fn run_one(run: SingleRun<'_>, stop: &CancellationToken, listener: &DrillListener) -> Run {
    if let Some(why) = run.plan.missing(run.fault, run.setup) {
        return Run::without_results(run.seed, DrillVerdict::Inconclusive, why);
    }
    let (fault, number) = (run.fault, run.number);
    let listener = listener.clone();
    let phases = Phases::new(Arc::new(move |phase: &str| {
        listener(DrillProgress::Phase {
            fault,
            run: number,
            phase,
        });
    }));
    run.run(phases, stop).await
}
