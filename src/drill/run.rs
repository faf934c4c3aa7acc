//! One run of a drill: ready, load, fault, observe, heal, settle, verify, verdict.
//!
//! Whatever happens after the lab was touched, it is healed, and what was written is read back if it can be.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::checker;
use crate::ledger::LedgerReader;
use crate::protocol::ack::Policy;
use crate::verifier::{self, Verification};
use crate::writer::{Counts, Summary};

use super::acks::Acks;
use super::fault::Fault;
use super::ground::{Ground, GroundError};
use super::inject::{Scene, Trouble, recovered, writes_under};
use super::judge::{self, Facts};
use super::load::{Load, Order};
use super::observe::Observer;
use super::progress::{Steps, Tell};
use super::report::{DrillVerdict, Run};
use super::timeline::{Seens, What};

/// How long the writer may take to be at work on a healthy lab.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// The fault comes up to that long after the writer is at work.
const JITTER: Duration = Duration::from_millis(300);
/// Rounds of all connections after which the writer counts as at work.
pub(super) const ROUNDS: u64 = 5;
/// How long a write may take to be acknowledged after the lab has recovered.
const LAST_LIMIT: Duration = Duration::from_secs(15);
/// Length of the samples' intervals.
pub(super) const SAMPLE_US: u64 = 100_000;
/// Pause between two looks at the counts.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What one run needs to know.
#[derive(Clone)]
pub struct RunPlan {
    /// The fault.
    pub fault: Fault,
    /// How the writer is set.
    pub order: Order,
    /// Where choices come from.
    pub seed: u64,
    /// Keep the folder also when all held.
    pub keep: bool,
}

/// Where the lab comes from.
pub type Make<'a> = &'a mut dyn FnMut() -> Result<Ground, GroundError>;

/// Runs it.
pub async fn run(plan: &RunPlan, make: Make<'_>, stop: &CancellationToken, tell: Tell) -> Run {
    let mut steps = Steps::new(tell);
    steps.begin("ready");
    let mut ground = match make() {
        Ok(ground) => ground,
        Err(error) => {
            return ended(
                plan.seed,
                steps,
                DrillVerdict::Failed,
                error.to_string(),
                None,
            );
        }
    };
    let observer = Observer::start(&ground.lab, Instant::now());
    let ready = recovered(&ground, &observer, stop).await;
    let before = match ready {
        Ok(primary) => primary,
        Err(error) => {
            let verdict = match error {
                Trouble::Stopped => DrillVerdict::Inconclusive,
                _ => DrillVerdict::Failed,
            };
            let kept = Some(ground.folder().to_owned());
            ground.stop(true);
            return ended(
                plan.seed,
                steps,
                verdict,
                format!("not ready: {error}"),
                kept,
            );
        }
    };
    let result = loaded(plan, &mut ground, &observer, steps, &before, stop).await;
    let folder = ground.folder().to_owned();
    if !plan.keep && result.verdict == DrillVerdict::Holds {
        drop(observer);
        ground.stop(false);
        remove(&folder);
        return result;
    }
    keep_events(&folder, &observer.take_seens());
    info!(folder = %folder.display(), "kept: ledger, logs, events, state");
    ground.stop(true);
    let kept = Some(folder.display().to_string());
    Run { kept, ..result }
}

/// A run that came to nothing.
fn ended(
    seed: u64,
    steps: Steps,
    verdict: DrillVerdict,
    reason: String,
    kept: Option<PathBuf>,
) -> Run {
    Run {
        verdict,
        reasons: vec![reason],
        seed,
        phases: steps.finish(),
        timeline: Vec::new(),
        outages: Vec::new(),
        records: None,
        invariants: Vec::new(),
        samples: None,
        kept: kept.map(|path| path.display().to_string()),
    }
}

/// A run that did not begin.
pub fn nothing(seed: u64, verdict: DrillVerdict, why: String) -> Run {
    let steps = Steps::new(std::sync::Arc::new(|_| {}));
    ended(seed, steps, verdict, why, None)
}

async fn loaded(
    plan: &RunPlan,
    ground: &mut Ground,
    observer: &Observer,
    mut steps: Steps,
    before: &str,
    stop: &CancellationToken,
) -> Run {
    steps.begin("load");
    let path = ground.ledger();
    // A handover waits until the replica is level: there it begins when the replica has been promoted.
    let later = plan.fault.begins_with_a_handover();
    let outrun = match plan.order.outrun && !later {
        true => ground.outrun(),
        false => Ok(()),
    };
    let mut load = Load::start(&ground.lab, &plan.order, &path);
    let offset = observer.since_begin(load.started);
    let round = plan.order.round();
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let replicated_only = plan.order.policy == Policy::Replicated;
    let writes = writes_under(plan.fault, replicated_only);
    let mut scene = Scene {
        ground,
        observer,
        load: &mut load,
        // What was in flight, and then a round.
        enough: 2 * round,
        writes,
        rng: &mut rng,
        stop,
        steps: &mut steps,
        must_stay: None,
        told: None,
        given_up: None,
        outrun_later: plan.order.outrun && later,
    };
    let mut outcome = outrun.map_err(Trouble::from);
    if outcome.is_ok() {
        outcome = at_work(scene.load, ROUNDS * round, stop).await;
    }
    if outcome.is_ok() {
        outcome = scene.some_time(JITTER).await;
    }
    if outcome.is_ok() {
        outcome = scene.carry_out(plan.fault).await;
    }
    let must_stay = scene.must_stay.take();
    let told = scene.told.take();
    let given_up = scene.given_up.take();

    steps.begin("heal");
    let healed_at = observer.now();
    observer.note(What::Did("healed".into()));
    if let Err(error) = ground.heal() {
        outcome = Err(error.into());
    }
    steps.begin("settle");
    let settled = settle(ground, observer, &load, round, plan.order.policy, stop).await;
    let writer = load.finish().await;
    let end = observer.now();

    steps.begin("verify");
    let seens = observer.seens();
    let spans = fault_spans(plan.fault, &seens, offset, healed_at);
    // Not ended by a request to stop: it is what the run was for.
    let local = |at: u64| at.saturating_sub(offset);
    let given_up = given_up.map(|span| local(span.start)..local(span.end));
    let never = CancellationToken::new();
    let verification = verify(ground, &path, spans, given_up, &never).await;
    let acks = read_acks(&path);
    let sent_again = writer.as_ref().map_or(0, |summary| summary.sent_again);
    let records = verification
        .as_ref()
        .ok()
        .map(|v| judge::records(v, sent_again));
    let outages = seens.outages(&acks, offset, end);
    let missed = match &outcome {
        Err(Trouble::Missed(what)) => Some(what.as_str()),
        _ => None,
    };
    let facts = Facts {
        fault: plan.fault,
        writes,
        trusting: plan.order.policy == Policy::None,
        seens: &seens,
        acks: &acks,
        offset,
        healed_at,
        outages: &outages,
        down_after_ms: ground.lab.timing.down_after.as_secs_f64() * 1000.0,
        before,
        after: settled.primary.as_deref().map_err(String::as_str),
        must_stay: must_stay.as_deref(),
        told: told.as_ref(),
        missed,
        acknowledged_at_last: settled.acknowledged,
        writer: writer.as_ref().ok(),
        records: records.as_ref(),
        checked: verification.as_ref().ok(),
    };
    let invariants = facts.invariants();
    let (mut verdict, mut reasons) = judge::verdict(&invariants);
    let lost = invariants.first().is_some_and(|i| i.held == Some(false));
    let observed = observer.failure();
    if let Some((worse, why)) = failure(&outcome, &writer, &verification, observed) {
        // What was not carried out proves nothing; what is lost is lost all the same.
        verdict = if lost { DrillVerdict::Violated } else { worse };
        reasons.insert(0, why);
    }
    let names = |ip: &str| ground.name_of(ip);
    let zero = seens.faults().last().map_or(offset, |(at, _)| *at);
    Run {
        verdict,
        reasons,
        seed: plan.seed,
        timeline: seens.moments(&acks, offset, &names),
        outages,
        records,
        invariants,
        samples: Some(acks.samples(SAMPLE_US, zero.saturating_sub(offset))),
        phases: steps.finish(),
        kept: None,
    }
}

/// The fault as the checker knows it, for losses to be placed in.
fn fault_spans(
    fault: Fault,
    seens: &Seens,
    offset: u64,
    healed_at: u64,
) -> Vec<checker::FaultInterval> {
    let first = seens.faults().first().map(|(at, _)| *at);
    let span = first.map(|at| checker::FaultInterval {
        name: fault.name().to_owned(),
        start_us: at.saturating_sub(offset),
        end_us: Some(healed_at.saturating_sub(offset)),
        // Judged by the drill, which knows how often.
        expects_failover: false,
    });
    span.into_iter().collect()
}

/// What kept the run from saying anything, apart from what the lab missed.
pub(super) fn failure(
    outcome: &Result<(), Trouble>,
    writer: &Result<Summary, crate::writer::WriteFailure>,
    verification: &Result<Verification, verifier::VerifyError>,
    observed: Option<String>,
) -> Option<(DrillVerdict, String)> {
    if let Some(why) = observed {
        return Some((DrillVerdict::Failed, why));
    }
    match outcome {
        Err(Trouble::Ground(GroundError::Network(error))) => Some((
            DrillVerdict::Inconclusive,
            format!("the network can't be cut here: {error}"),
        )),
        Err(Trouble::Ground(error @ GroundError::Unavailable(_))) => {
            Some((DrillVerdict::Inconclusive, error.to_string()))
        }
        Err(error @ (Trouble::Stopped | Trouble::Disturbed(_))) => {
            Some((DrillVerdict::Inconclusive, error.to_string()))
        }
        Err(error @ (Trouble::Ground(_) | Trouble::Refused(_))) => {
            Some((DrillVerdict::Failed, error.to_string()))
        }
        Err(Trouble::Missed(_)) | Ok(()) => match (writer, verification) {
            (Err(error), _) => Some((DrillVerdict::Failed, format!("the writer failed: {error}"))),
            (_, Err(error)) => Some((
                DrillVerdict::Inconclusive,
                format!("the records could not be read back: {error}"),
            )),
            _ => None,
        },
    }
}

/// Waits until the writer is at work.
pub(super) async fn at_work(
    load: &Load,
    records: u64,
    stop: &CancellationToken,
) -> Result<(), Trouble> {
    let deadline = Instant::now() + LOAD_LIMIT;
    while load.counts().acknowledged() < records {
        if Instant::now() >= deadline {
            return Err(Trouble::Missed("the writer does not get to work".into()));
        }
        tokio::select! {
            () = sleep(LOOK_AGAIN) => {}
            () = stop.cancelled() => return Err(Trouble::Stopped),
        }
    }
    Ok(())
}

pub(super) struct Settled {
    /// Who is primary, or what is missing.
    pub(super) primary: Result<String, String>,
    /// A write was acknowledged after the recovery.
    pub(super) acknowledged: bool,
}

/// Waits until the lab has recovered, and then for a write that every node has confirmed.
pub(super) async fn settle(
    ground: &Ground,
    observer: &Observer,
    load: &Load,
    round: u64,
    policy: Policy,
    stop: &CancellationToken,
) -> Settled {
    let primary = recovered(ground, observer, stop)
        .await
        .map_err(|error| error.to_string());
    let count = |counts: Counts| match policy {
        Policy::None => counts.sent,
        Policy::Replicated | Policy::Available => counts.replicated,
    };
    observer.note(What::Did(match &primary {
        Ok(primary) => format!("recovered, {primary} is primary"),
        Err(why) => why.clone(),
    }));
    // More than was in flight, so one of them was sent after the recovery.
    let goal = count(load.counts_now().await) + 2 * round;
    let deadline = Instant::now() + LAST_LIMIT;
    let reached = || count(load.counts()) >= goal;
    while !reached() && Instant::now() < deadline && !stop.is_cancelled() {
        sleep(LOOK_AGAIN).await;
    }
    Settled {
        primary,
        acknowledged: reached(),
    }
}

/// Reads everything back; `faults` are what losses are placed in.
pub(super) async fn verify(
    ground: &Ground,
    ledger: &Path,
    faults: Vec<checker::FaultInterval>,
    given_up: Option<Range<u64>>,
    stop: &CancellationToken,
) -> Result<Verification, verifier::VerifyError> {
    let options = verifier::VerifyOptions {
        ledger: ledger.to_owned(),
        scan: true,
        faults,
        wait: verifier::DEFAULT_WAIT,
        given_up,
    };
    verifier::run(&ground.lab, &options, stop, |_| {}).await
}

/// What the ledger says about time; nothing if it can't be read, which the verification tells.
pub(super) fn read_acks(path: &Path) -> Acks {
    let Ok(reader) = LedgerReader::open(path) else {
        return Acks::default();
    };
    let mut acks = Acks::new(reader.header().start);
    for entry in reader.map_while(Result::ok) {
        acks.push(&entry);
    }
    acks.sorted()
}

/// Writes events into the folder, behind those that are there already.
pub(super) fn keep_events(folder: &Path, seens: &Seens) {
    let text: String = seens
        .0
        .iter()
        .map(|seen| format!("{:>12.3} ms  {:?}\n", seen.at as f64 / 1000.0, seen.what))
        .collect();
    let path = folder.join("events.log");
    let log = fs::File::options().create(true).append(true).open(&path);
    if let Err(error) = log.and_then(|mut log| log.write_all(text.as_bytes())) {
        warn!(%error, path = %path.display(), "cannot keep the events");
    }
}

pub(super) fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        warn!(%error, folder = %folder.display(), "cannot remove what the drill left");
    }
}
