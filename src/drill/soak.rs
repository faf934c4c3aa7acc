//! A soak run: faults of all kinds in random order, each once the lab has recovered from the last, under load, in one
//! lab that lives on.
//!
//! It is divided into chapters, because memory is not endless: when the lab holds enough records, the writer ends,
//! everything is read back and judged, and the lab is emptied. Each chapter is one run of the report, with a ledger of its
//! own; the verdict over the whole history is the worst of its chapters. A chapter that is not fine ends the run,
//! and everything is kept.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::checker;
use crate::protocol::ack::Policy;

use super::fault::{Fault, Needs};
use super::ground::Ground;
use super::inject::{Scene, Trouble, recovered, writes_under};
use super::judge::{self, Facts, Told};
use super::load::{Load, Order};
use super::observe::Observer;
use super::progress::Steps;
use super::report::{Drill, DrillVerdict, Invariant, Kind, Report, Run, Soak};
use super::run::{self, ROUNDS, SAMPLE_US, at_work, keep_events, read_acks, settle, verify};
use super::timeline::{Seens, What};
use super::{Choice, Plan, host, network, slow, started_now};

/// Faults come up to that long after the recovery from the last one.
const PAUSE: Duration = Duration::from_secs(1);

/// How long, and how much at a time.
#[derive(Debug, Clone)]
pub struct SoakPlan {
    /// Everything else; of its choices, each is run for an equal share of the time.
    pub plan: Plan,
    /// For so long, all in all.
    pub duration: Duration,
    /// Records after which a chapter ends.
    pub chapter: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Tally<'a> {
    /// Time since the start.
    pub elapsed: Duration,
    /// The fault that is over, or nothing at the end of a chapter.
    pub fault: Option<Fault>,
    /// Faults so far.
    pub faults: usize,
    /// Records acknowledged so far.
    pub acknowledged: u64,
    /// Of these: read back, in chapters that have ended.
    pub verified: u64,
    /// What was not as it must be.
    pub trouble: Option<&'a str>,
}

/// Who is told.
pub type Listener = Arc<dyn Fn(Tally<'_>) + Send + Sync>;

/// One fault of a chapter.
struct Past {
    fault: Fault,
    began: u64,
    healed: u64,
    ended: u64,
    before: String,
    after: Result<String, String>,
    must_stay: Option<String>,
    told: Option<Told>,
    missed: Option<String>,
}

/// Runs it, and reports: one entry for each choice, with its chapters as runs.
pub async fn soak(soak: &SoakPlan, stop: &CancellationToken, listener: &Listener) -> Report {
    let started = started_now();
    let begun = Instant::now();
    let share = soak.duration / u32::try_from(soak.plan.choices.len().max(1)).unwrap_or(1);
    let mut drills = Vec::new();
    let mut sums = Sums::default();
    for (i, choice) in soak.plan.choices.iter().enumerate() {
        let mut session = Session {
            soak,
            choice,
            begun,
            until: begun + share * u32::try_from(i + 1).unwrap_or(1),
            rng: StdRng::seed_from_u64(soak.plan.seed.wrapping_add(i as u64)),
            sums: &mut sums,
            stop,
            listener,
        };
        let runs = session.run().await;
        let bad = runs.iter().any(|run| run.verdict != DrillVerdict::Holds);
        drills.push(Drill::new(
            Kind::Soak(Soak::Soak),
            soak.plan.setting(choice),
            runs,
        ));
        if bad || stop.is_cancelled() {
            break;
        }
    }
    Report::new(started, host(), drills)
}

#[derive(Default)]
struct Sums {
    faults: usize,
    acknowledged: u64,
    verified: u64,
}

struct Session<'a> {
    soak: &'a SoakPlan,
    choice: &'a Choice,
    begun: Instant,
    until: Instant,
    rng: StdRng,
    sums: &'a mut Sums,
    stop: &'a CancellationToken,
    listener: &'a Listener,
}

impl Session<'_> {
    async fn run(&mut self) -> Vec<Run> {
        let seed = self.soak.plan.seed;
        let folder = self.soak.plan.folder.join(super::folder_name("soak"));
        let mut ground =
            match self
                .soak
                .plan
                .make(self.choice, folder.clone(), Needs::OwnNodes, false)
            {
                Ok(ground) => ground,
                Err(error) => {
                    return vec![run::nothing(seed, DrillVerdict::Failed, error.to_string())];
                }
            };
        let observer = Observer::start(&ground.lab, self.begun);
        let mut runs = Vec::new();
        if let Err(error) = recovered(&ground, &observer, self.stop).await {
            runs.push(run::nothing(
                seed,
                DrillVerdict::Failed,
                format!("not ready: {error}"),
            ));
        }
        while runs
            .iter()
            .all(|run: &Run| run.verdict == DrillVerdict::Holds)
            && Instant::now() < self.until
            && !self.stop.is_cancelled()
        {
            let number = runs.len() + 1;
            runs.push(self.chapter(&mut ground, &observer, number).await);
            if let Err(why) = empty(&ground, &observer).await {
                runs.push(run::nothing(seed, DrillVerdict::Failed, why));
            }
            // Of a chapter that has been judged nothing is asked again; on the disk it waits for the end of the run.
            keep_events(&folder, &observer.take_seens());
        }
        let fine = runs.iter().all(|run| run.verdict == DrillVerdict::Holds);
        if fine && !self.soak.plan.keep {
            drop(observer);
            ground.stop(false);
            run::remove(&folder);
            return runs;
        }
        keep_events(&folder, &observer.take_seens());
        info!(folder = %folder.display(), "kept: ledger, logs, events, state");
        ground.stop(true);
        if let Some(run) = runs.last_mut() {
            run.kept = Some(folder.display().to_string());
        }
        runs
    }

    async fn chapter(&mut self, ground: &mut Ground, observer: &Observer, number: usize) -> Run {
        let plan = &self.soak.plan;
        let order = plan.order(self.choice);
        let ledger = ground.folder().join(format!("chapter-{number}.ledger"));
        let mut steps = Steps::new(Arc::new(|_| {}));
        steps.begin("load");
        let began = observer.now();
        let mut load = Load::start(&ground.lab, &order, &ledger);
        let offset = observer.since_begin(load.started);
        let round = order.round();
        let mut trouble = at_work(&load, ROUNDS * round, self.stop).await.err();
        let mut pasts: Vec<Past> = Vec::new();
        while trouble.is_none()
            && Instant::now() < self.until
            && load.counts().acknowledged() < self.soak.chapter
        {
            match self
                .one(ground, observer, &mut load, &order, &mut steps)
                .await
            {
                Ok(past) => {
                    let missed = past.missed.clone().or_else(|| past.after.clone().err());
                    pasts.push(past);
                    self.sums.faults += 1;
                    self.tell(pasts.last().map(|p| p.fault), &load, missed.as_deref());
                    if let Some(missed) = missed {
                        trouble = Some(Trouble::Missed(missed));
                    }
                }
                Err(error) => trouble = Some(error),
            }
        }
        // Whatever the last one left, also after an error.
        let healed = ground.heal();
        steps.begin("settle");
        // Not ended by a request to stop: the verdict needs it, and it has limits of its own.
        let patient = CancellationToken::new();
        let settled = settle(ground, observer, &load, round, order.policy, &patient).await;
        let writer = load.finish().await;
        let end = observer.now();
        steps.begin("verify");
        let faults = pasts.iter().map(|past| past.for_checker(offset)).collect();
        let verification = verify(ground, &ledger, faults, None, &patient).await;
        let records = verification
            .as_ref()
            .ok()
            .map(|v| judge::records(v, writer.as_ref().map_or(0, |w| w.sent_again)));
        let seens = observer.seens().between(began, end);
        let acks = read_acks(&ledger);
        let outages = seens.outages(&acks, offset, end);

        let mut invariants = Vec::new();
        for (i, past) in pasts.iter().enumerate() {
            let facts = past.facts(&acks, offset, order.policy, ground);
            let until = pasts.get(i + 1).map_or(end, |next| next.began);
            let seens = seens.between(past.began, until);
            let outages = seens.outages(&acks, offset, until);
            let facts = Facts {
                seens: &seens,
                outages: &outages,
                ..facts
            };
            let broken = facts
                .invariants()
                .into_iter()
                .filter(|i| i.held == Some(false));
            invariants.extend(broken.map(|invariant| Invariant {
                name: format!("fault {} ({}): {}", i + 1, past.fault, invariant.name),
                ..invariant
            }));
        }
        let lost = judge::nothing_lost(records.as_ref(), verification.as_ref().ok());
        invariants.insert(0, lost);
        invariants.push(Invariant {
            name: "writes are acknowledged after recovery".into(),
            held: Some(settled.acknowledged && settled.primary.is_ok()),
            detail: settled.primary.unwrap_or_else(|why| why),
        });
        let (mut verdict, mut reasons) = judge::verdict(&invariants);
        let outcome = match (trouble, healed) {
            // The time is over: everything that was done before counts.
            (Some(Trouble::Stopped) | None, Ok(())) => Ok(()),
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(error.into()),
        };
        if let Some((worse, why)) =
            run::failure(&outcome, &writer, &verification, observer.failure())
        {
            verdict = verdict.max(worse);
            reasons.insert(0, why);
        }
        self.sums.acknowledged += records.as_ref().map_or(0, |r| r.acknowledged);
        self.sums.verified = self.sums.acknowledged;
        self.tell_sums(reasons.first().map(String::as_str));
        if verdict == DrillVerdict::Holds && !plan.keep {
            // Nothing in it is needed any more, and a long run makes many.
            let _ = fs::remove_file(&ledger);
        }
        let zero = seens.faults().last().map_or(offset, |(at, _)| *at);
        let names = |ip: &str| ground.name_of(ip);
        Run {
            verdict,
            reasons,
            seed: plan.seed,
            phases: steps.finish(),
            timeline: seens.moments(&acks, offset, &names),
            outages,
            records,
            invariants,
            samples: Some(acks.samples(SAMPLE_US, zero.saturating_sub(offset))),
            kept: None,
        }
    }

    /// One fault and the recovery from it.
    async fn one(
        &mut self,
        ground: &mut Ground,
        observer: &Observer,
        load: &mut Load,
        order: &Order,
        steps: &mut Steps,
    ) -> Result<Past, Trouble> {
        let possible = |fault: &&Fault| match fault.spec().needs {
            Needs::OwnNetwork => network::is_own(),
            // Disks of memory, for hours; and the writer ends with one of them.
            Needs::OwnDisks => false,
            // Servers with a library in them that they don't run with.
            Needs::OwnClocks => false,
            // Nor with limits that they don't have.
            Needs::OwnLimits => false,
            // It goes one way.
            Needs::OtherServer => false,
            // Nor on such machines and networks.
            Needs::RoundTrips(_) | Needs::LittleCpu => false,
            Needs::Tracing => slow::missing().is_none(),
            // It gives up what came after the backup, and one verdict is over all that was acknowledged.
            Needs::OwnNodes if **fault == Fault::BackupAndRestore => false,
            Needs::Signals | Needs::OwnNodes => true,
        };
        let pool: Vec<&Fault> = self.soak.plan.faults.iter().filter(possible).collect();
        let fault = pool
            .choose(&mut self.rng)
            .map(|fault| **fault)
            .ok_or_else(|| Trouble::Refused("no fault is possible here".into()))?;
        let before = observer.named().await.unwrap_or_default();
        let mut scene = Scene {
            ground,
            observer,
            load,
            enough: 2 * order.round(),
            writes: writes_under(fault, order.policy == Policy::Replicated),
            rng: &mut self.rng,
            stop: self.stop,
            steps,
            must_stay: None,
            told: None,
            given_up: None,
            outrun_later: false,
        };
        scene.some_time(PAUSE).await?;
        let began = observer.now();
        let outcome = scene.carry_out(fault).await;
        let must_stay = scene.must_stay.take();
        let told = scene.told.take();
        steps.begin("heal");
        let healed = observer.now();
        observer.note(What::Did("healed".into()));
        ground.heal()?;
        steps.begin("settle");
        let missed = match outcome {
            Ok(()) => None,
            Err(Trouble::Missed(what)) => Some(what),
            Err(error) => return Err(error),
        };
        let after = match recovered(ground, observer, self.stop).await {
            Ok(primary) => Ok(primary),
            Err(Trouble::Missed(what)) => Err(what),
            Err(error) => return Err(error),
        };
        Ok(Past {
            fault,
            began,
            healed,
            ended: observer.now(),
            before,
            after,
            must_stay,
            told,
            missed,
        })
    }

    fn tell(&self, fault: Option<Fault>, load: &Load, trouble: Option<&str>) {
        (self.listener)(Tally {
            elapsed: self.begun.elapsed(),
            fault,
            faults: self.sums.faults,
            acknowledged: self.sums.acknowledged + load.counts().acknowledged(),
            verified: self.sums.verified,
            trouble,
        });
    }

    fn tell_sums(&self, trouble: Option<&str>) {
        (self.listener)(Tally {
            elapsed: self.begun.elapsed(),
            fault: None,
            faults: self.sums.faults,
            acknowledged: self.sums.acknowledged,
            verified: self.sums.verified,
            trouble,
        });
    }
}

impl Past {
    /// For losses to be placed in.
    fn for_checker(&self, offset: u64) -> checker::FaultInterval {
        checker::FaultInterval {
            name: self.fault.name().to_owned(),
            start_us: self.began.saturating_sub(offset),
            end_us: Some(self.ended.saturating_sub(offset)),
            // Judged here, where it is known how often.
            expects_failover: false,
        }
    }

    /// What is known of it, without what was seen.
    fn facts<'a>(
        &'a self,
        acks: &'a super::acks::Acks,
        offset: u64,
        policy: Policy,
        ground: &Ground,
    ) -> Facts<'a> {
        Facts {
            fault: self.fault,
            writes: writes_under(self.fault, policy == Policy::Replicated),
            trusting: policy == Policy::None,
            seens: &NOTHING,
            acks,
            offset,
            healed_at: self.healed,
            outages: &[],
            down_after_ms: ground.lab.timing.down_after.as_secs_f64() * 1000.0,
            before: &self.before,
            after: self.after.as_deref().map_err(String::as_str),
            must_stay: self.must_stay.as_deref(),
            told: self.told.as_ref(),
            missed: self.missed.as_deref(),
            // Judged once a chapter.
            acknowledged_at_last: true,
            writer: None,
            records: None,
            checked: None,
        }
    }
}

static NOTHING: Seens = Seens(Vec::new());

/// Removes all records, which have been read back.
async fn empty(ground: &Ground, observer: &Observer) -> Result<(), String> {
    let primary = observer.named().await.ok_or("nobody is primary")?;
    let node = ground.lab.node(&primary).ok_or("nobody is primary")?;
    let connector = observer.connector.clone().with_answer_limit(EMPTY_LIMIT);
    let mut conn = connector
        .open(node.socket())
        .await
        .map_err(|e| e.to_string())?;
    conn.query::<redis::Value>(redis::cmd("FLUSHALL").arg("ASYNC"))
        .await
        .map_err(|e| e.to_string())?;
    recovered(ground, observer, &CancellationToken::new())
        .await
        .map(drop)
        .map_err(|e| e.to_string())
}

/// How long emptying may take.
const EMPTY_LIMIT: Duration = Duration::from_secs(30);
