//! The records of the page's own writer: `halab write` at a modest rate, read back as by `halab
//! verify` after every fault and once a minute.
//!
//! A run of the writer lasts ten minutes. The next one begins before it ends. When a finished run
//! has been read back without a loss, its keys and its ledger are removed, so their number is
//! bounded. Runs that an earlier process has left behind are read back and removed in the same way.
//! A ledger that shows a loss is kept.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::User;
use crate::checker::Verdict;
use crate::client::Connector;
use crate::config::Lab;
use crate::drill::judging::{Acks, records};
use crate::drill::report::Records;
use crate::files;
use crate::ledger::{Entry, Error as LedgerError, LedgerReader, RecordOutcome};
use crate::protocol::ack::Policy;
use crate::record::{Batch, Timestamp};
use crate::sentinel::SentinelClients;
use crate::verifier::{self, VerifyOptions};
use crate::writer::{self, WriteOptions, WriterError};

use super::board::{Board, WritesInterval};

/// How long a run of the writer lasts.
const RUN_LENGTH: Duration = Duration::from_secs(600);
/// Time between two readings, unless a fault asks for one.
const READ_PERIOD: Duration = Duration::from_secs(60);
/// Length of an interval of writes, and the period in which the ledger is read.
const INTERVAL: Duration = Duration::from_millis(100);
/// After this time, an acknowledgement is in the ledger.
const LEDGER_DELAY: Duration = Duration::from_millis(50);
/// Pause before the writer is started again after it has failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Without an acknowledgement for this time, something is wrong, unless records are rarer.
const LONG_GAP: Duration = Duration::from_secs(1);
/// Time until the first reading.
const FIRST_READ: Duration = Duration::from_secs(3);
/// How long a reading may start again after an interruption.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// The writer never gives up: the lab may be down for any time.
const PATIENCE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Keys that are removed by one command.
const KEYS_A_COMMAND: u64 = 256;
/// How long the data nodes may take to confirm that keys are removed.
const REMOVAL_WAIT: Duration = Duration::from_millis(500);
/// The extension of ledgers.
const EXTENSION: &str = "ledger";
/// That of a ledger that was read back without a loss: its keys may be removed already.
const VERIFIED: &str = "verified";

/// The result of a reading, as shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ReadBack {
    /// When it was done, in milliseconds since the start of this program.
    pub(super) t: u64,
    pub(super) verdict: Verdict,
    /// The nodes that were read.
    pub(super) nodes: Vec<String>,
    /// Why the verdict is not `holds`.
    pub(super) reasons: Vec<String>,
    /// The counts of the run that was read.
    #[serde(skip)]
    pub(super) records: Records,
}

/// The counts since the start of this program, as shown.
#[derive(Debug, Clone, Default, Serialize)]
struct ShownCounts {
    acknowledged: u64,
    replicated: u64,
    witnessed: u64,
    lost: u64,
    /// Whether a reading is in progress.
    reading: bool,
    read_back: Option<ReadBack>,
    /// Longest time without an acknowledgement, in milliseconds.
    longest_gap: f64,
    /// Why the writer does not write.
    problem: Option<String>,
    /// Ledgers that show a loss, and are kept.
    kept: Vec<PathBuf>,
    /// Ledgers that cannot be read.
    unreadable: Vec<PathBuf>,
}

/// A run of the writer, as its ledger shows it.
struct WriterRun {
    path: PathBuf,
    started: Instant,
    reader: Option<LedgerReader>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), WriterError>>,
}

/// A run that is over.
#[derive(Debug, Clone)]
struct OverRun {
    path: PathBuf,
    /// It was read back without a loss: only its keys are left to be removed.
    is_verified: bool,
}

/// What became of a run that is over.
enum OverResult {
    /// Nothing is lost.
    Verified,
    /// A record is lost, or has another value.
    Kept,
    /// It could not be read back.
    Later,
}

/// The acknowledgements of the current run.
#[derive(Debug, Clone)]
pub(super) struct CurrentAcks {
    pub(super) acks: Acks,
    /// Start of the writer's clock.
    pub(super) started: Instant,
    path: PathBuf,
}

#[derive(Debug)]
struct RecordsState {
    current: Option<CurrentAcks>,
    counts: ShownCounts,
    /// The most losses that a reading of each run has found.
    losses: BTreeMap<PathBuf, u64>,
    last_ack: Option<Instant>,
    /// Runs that are over, and not read back yet.
    over: VecDeque<OverRun>,
}

/// The page's own writer, and what became of its records.
#[derive(Debug)]
pub(super) struct OwnRecords {
    lab: Lab,
    folder: PathBuf,
    /// Records a second; none: it only handles the runs that were left behind.
    rate: Option<f64>,
    board: Arc<Board>,
    begun: Instant,
    state: Mutex<RecordsState>,
    /// One reading at a time.
    reading: tokio::sync::Mutex<()>,
    /// No run ends while a story of a fault needs its acknowledgements.
    pub(super) story_active: AtomicBool,
    run_is_over: Notify,
}

impl OwnRecords {
    pub(super) fn new(
        lab: &Lab,
        folder: &Path,
        rate: Option<f64>,
        board: Arc<Board>,
        begun: Instant,
    ) -> io::Result<Self> {
        let mut over = VecDeque::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let has = |extension| path.extension().is_some_and(|e| e == extension);
            let is_verified = has(VERIFIED);
            if is_verified || has(EXTENSION) {
                over.push_back(OverRun { path, is_verified });
            }
        }
        Ok(OwnRecords {
            lab: lab.clone(),
            folder: folder.to_owned(),
            rate,
            board,
            begun,
            state: Mutex::new(RecordsState {
                current: None,
                counts: ShownCounts::default(),
                losses: BTreeMap::new(),
                last_ack: None,
                over,
            }),
            reading: tokio::sync::Mutex::default(),
            story_active: false.into(),
            run_is_over: Notify::new(),
        })
    }

    /// The acknowledgements of the current run since a time.
    pub(super) fn acks_since(&self, from: Instant) -> Option<CurrentAcks> {
        let state = self.lock();
        let current = state.current.as_ref()?;
        let from = from.saturating_duration_since(current.started);
        Some(CurrentAcks {
            acks: current
                .acks
                .since(u64::try_from(from.as_micros()).unwrap_or(u64::MAX)),
            started: current.started,
            path: current.path.clone(),
        })
    }

    /// The last acknowledgement.
    pub(super) fn last_ack(&self) -> Option<Instant> {
        self.lock().last_ack
    }

    /// Writes until `stop` is cancelled, if it is to write.
    pub(super) async fn write(&self, stop: &CancellationToken) {
        if self.rate.is_none() {
            stop.cancelled().await;
            return;
        }
        let mut run = self.start_run();
        let mut old: Option<WriterRun> = None;
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            let mut now = WritesInterval {
                t: self.now_ms(),
                ..WritesInterval::default()
            };
            if let Some(ending) = &mut old {
                self.read_ledger(ending, &mut now, false);
                if ending.task.is_finished() {
                    self.read_ledger(ending, &mut now, false);
                    self.is_over(ending.path.clone());
                    old = None;
                }
            }
            self.read_ledger(&mut run, &mut now, true);
            self.note_silence(&mut now);
            self.board.add_writes(now);
            self.show_counts();
            if run.task.is_finished() {
                run = self.restart(run, stop).await;
            } else if old.is_none() && self.is_long(&run) {
                let next = self.start_run();
                run.stop.cancel();
                old = Some(std::mem::replace(&mut run, next));
            }
        }
        for ending in old.into_iter().chain([run]) {
            ending.stop.cancel();
            // Its batches in flight are answered, or unknown.
            let _ = ending.task.await;
        }
    }

    /// Whether the next run has to begin. A story needs the acknowledgements of one run.
    fn is_long(&self, run: &WriterRun) -> bool {
        let in_story = self.story_active.load(Ordering::Relaxed);
        let length = run.started.elapsed();
        length >= RUN_LENGTH * 2 || (length >= RUN_LENGTH && !in_story)
    }

    /// A time without an acknowledgement that is longer than any between two records.
    pub(super) fn long_gap(&self) -> Duration {
        LONG_GAP.max(Duration::from_secs_f64(3.0 / self.rate.unwrap_or(1.0)))
    }

    /// Starts a run.
    fn start_run(&self) -> WriterRun {
        let name = Timestamp::from(SystemTime::now()).micros();
        let path = self.folder.join(format!("{name}.{EXTENSION}"));
        let options = WriteOptions {
            count: None,
            duration: None,
            rate: self.rate,
            connections: 1,
            in_flight: self.lab.writer.in_flight,
            // One record each, so that a gap is seen to the millisecond.
            batch: 1,
            wait_timeout: self.lab.writer.wait_timeout,
            policy: Policy::Available,
            ledger: Some(path.clone()),
            resume: false,
            patience: PATIENCE,
            metrics: None,
        };
        let stop = CancellationToken::new();
        let (lab, token) = (self.lab.clone(), stop.clone());
        let started = Instant::now();
        let task = tokio::spawn(async move {
            let (_, failure) = writer::run(&lab, &options, token, |_| {}).await?;
            failure.map_or(Ok(()), Err)
        });
        WriterRun {
            path,
            started,
            reader: None,
            stop,
            task,
        }
    }

    /// After the writer has ended by itself, for example because the disk is full.
    async fn restart(&self, run: WriterRun, stop: &CancellationToken) -> WriterRun {
        let why = match run.task.await {
            Ok(Ok(())) => "it has ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if self.lock().counts.problem.as_ref() != Some(&why) {
            warn!(error = %why, "the writer of the page has failed; it is started again");
        }
        self.lock().counts.problem = Some(why);
        tokio::select! {
            () = sleep(RETRY_PAUSE) => {}
            () = stop.cancelled() => {}
        }
        match LedgerReader::open(&run.path) {
            // Without a complete header, nothing was sent.
            Err(LedgerError::HeaderTorn { .. }) => drop(fs::remove_file(&run.path)),
            Err(LedgerError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            _ => self.is_over(run.path),
        }
        self.start_run()
    }

    /// A run is over, and is to be read back.
    fn is_over(&self, path: PathBuf) {
        let mut state = self.lock();
        state.current.take_if(|current| current.path == path);
        state.over.push_back(OverRun {
            path,
            is_verified: false,
        });
        drop(state);
        self.run_is_over.notify_one();
    }

    /// Reads what was appended to a ledger. `current`: it is that of the current run.
    fn read_ledger(&self, run: &mut WriterRun, now: &mut WritesInterval, current: bool) {
        let mut state = self.lock();
        if run.reader.is_none() {
            // Not there yet, or without a complete header.
            let Ok(reader) = LedgerReader::open(&run.path) else {
                return;
            };
            if current {
                state.current = Some(CurrentAcks {
                    acks: Acks::new(reader.header().start),
                    started: run.started,
                    path: run.path.clone(),
                });
            }
            run.reader = Some(reader);
        }
        let Some(reader) = &mut run.reader else {
            return;
        };
        reader.follow();
        let state = &mut *state;
        for entry in reader {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    warn!(%error, "the ledger of the page's writer cannot be read");
                    state.counts.problem = Some(error.to_string());
                    return;
                }
            };
            if let Entry::Settled(settled) = &entry {
                let count = settled.seqs.iter().map(|seqs| seqs.len()).sum::<u64>();
                let first = run.started + Duration::from_micros(settled.first_at_us);
                let last = run.started + Duration::from_micros(settled.last_at_us);
                match settled.outcome {
                    RecordOutcome::Replicated => {
                        now.replicated += count;
                        state.counts.replicated += count;
                    }
                    RecordOutcome::Witnessed => {
                        now.witnessed += count;
                        state.counts.witnessed += count;
                    }
                    RecordOutcome::Unconfirmed | RecordOutcome::Failed => {}
                }
                if settled.outcome.is_acknowledged() {
                    state.counts.acknowledged += count;
                    state.counts.problem = None;
                    if let Some(before) = state.last_ack {
                        let gap = ms(first.saturating_duration_since(before));
                        now.gap = now.gap.max(gap);
                        state.counts.longest_gap = state.counts.longest_gap.max(gap);
                    }
                    state.last_ack = state.last_ack.max(Some(last));
                }
            }
            if let Some(own) = &mut state.current
                && current
                && let Some(span) = own.acks.push(&entry)
            {
                now.latency = now.latency.max(span.latency as f64 / 1000.0);
            }
        }
    }

    /// A time without an acknowledgement that lasts. Its end may be in the ledger soon: so it is
    /// stated as shorter than it is, and its exact length once it is over.
    fn note_silence(&self, now: &mut WritesInterval) {
        let mut state = self.lock();
        let Some(last) = state.last_ack else { return };
        let gap = ms(last.elapsed().saturating_sub(LEDGER_DELAY));
        if gap > ms(INTERVAL) {
            now.gap = now.gap.max(gap);
            state.counts.longest_gap = state.counts.longest_gap.max(gap);
        }
    }

    fn show_counts(&self) {
        let counts = {
            let mut state = self.lock();
            // Somebody has removed the ledger of a known loss.
            let RecordsState { counts, losses, .. } = &mut *state;
            counts.kept.retain(|ledger| {
                let is_there = ledger.exists();
                if !is_there {
                    losses.remove(ledger);
                }
                is_there
            });
            counts.unreadable.retain(|ledger| ledger.exists());
            counts.lost = losses.values().sum();
            state.counts.clone()
        };
        self.board.show("records", &counts);
    }

    /// Reads back runs that are over, and the current one once a minute, until `stop` is
    /// cancelled.
    pub(super) async fn read_regularly(&self, stop: &CancellationToken) {
        let mut next = Instant::now() + FIRST_READ;
        loop {
            // Without a writer, nothing else shows what is kept.
            self.show_counts();
            let over = self.lock().over.front().cloned();
            let pause = match over {
                Some(run) if self.finish(&run, stop).await => continue,
                Some(_) => {
                    // The others need not wait for it.
                    let mut state = self.lock();
                    if let Some(first) = state.over.pop_front() {
                        state.over.push_back(first);
                    }
                    RETRY_PAUSE * 10
                }
                None => READ_PERIOD,
            };
            tokio::select! {
                () = tokio::time::sleep_until(next.min(Instant::now() + pause)) => {}
                () = self.run_is_over.notified() => {}
                () = stop.cancelled() => return,
            }
            if Instant::now() >= next {
                self.read_back(stop).await;
                next = Instant::now() + READ_PERIOD;
            }
        }
    }

    /// Reads back a run that is over, and removes it if nothing is lost. Whether it is done.
    async fn finish(&self, over: &OverRun, stop: &CancellationToken) -> bool {
        let path = over.path.as_path();
        let reader = match LedgerReader::open(path) {
            Ok(reader) => reader,
            Err(error) => return self.leave(path, &error),
        };
        let run = reader.header().run;
        let mut invoked = 0;
        for entry in reader {
            match entry {
                Ok(Entry::Invoked(batch)) => invoked = batch.seqs.end,
                Ok(_) => {}
                Err(error) => return self.leave(path, &error),
            }
        }
        // Until its keys are removed: another reading would take them for lost.
        let _one_at_a_time = self.reading.lock().await;
        if !over.is_verified {
            match self.check_over(over, stop).await {
                OverResult::Verified => {}
                OverResult::Kept => return true,
                OverResult::Later => return false,
            }
        }
        // A kill while keys are removed must not look like a loss.
        let verified = path.with_extension(VERIFIED);
        if !over.is_verified
            && let Err(error) = files::rename(path, &verified)
        {
            warn!(%error, ledger = %path.display(), "cannot rename the ledger");
            return false;
        }
        if let Some(next) = self.lock().over.front_mut() {
            next.path = verified.clone();
            next.is_verified = true;
        }
        let run = Batch::new(run, Timestamp::default());
        if let Err(error) = self.remove_keys(run, invoked).await {
            info!(%error, "the keys of a finished run are removed later");
            return false;
        }
        if let Err(error) = fs::remove_file(&verified) {
            warn!(%error, ledger = %verified.display(), "cannot remove the ledger");
        }
        self.lock().over.pop_front();
        true
    }

    /// Leaves a ledger that cannot be read where it is. Without a complete header, nothing was
    /// sent.
    fn leave(&self, path: &Path, error: &LedgerError) -> bool {
        let mut state = self.lock();
        state.over.pop_front();
        if matches!(error, LedgerError::HeaderTorn { .. }) {
            drop(fs::remove_file(path));
        } else {
            warn!(%error, "the ledger stays where it is");
            state.counts.unreadable.push(path.to_owned());
        }
        true
    }

    /// Reads back a run that is over. One with a loss is kept.
    async fn check_over(&self, over: &OverRun, stop: &CancellationToken) -> OverResult {
        let Some(result) = self.read(&over.path, stop).await else {
            return OverResult::Later;
        };
        let mut state = self.lock();
        let known = state.losses.get(&over.path).copied().unwrap_or(0);
        let lost = result.records.lost.max(known);
        if result.verdict == Verdict::Violated || lost > 0 {
            warn!(ledger = %over.path.display(), lost, "the ledger is kept");
            state.losses.insert(over.path.clone(), lost);
            state.counts.kept.push(over.path.clone());
            state.over.pop_front();
            return OverResult::Kept;
        }
        match result.verdict == Verdict::Holds || result.records.acknowledged == 0 {
            true => OverResult::Verified,
            false => OverResult::Later,
        }
    }

    /// Removes the keys of the first `count` records of a run.
    async fn remove_keys(&self, run: Batch, count: u64) -> Result<(), String> {
        let connector = Connector::new(&self.lab, User::Writer);
        let sentinels = SentinelClients::new(&self.lab, connector.clone());
        let primary = sentinels.ask().await.elect().map_err(|e| e.to_string())?;
        let conn = connector.open(primary.address).await;
        let mut conn = conn.map_err(|e| e.to_string())?;
        for from in (0..count).step_by(KEYS_A_COMMAND as usize) {
            let mut cmd = redis::cmd("UNLINK");
            for seq in from..count.min(from + KEYS_A_COMMAND) {
                let mut key = Vec::new();
                run.push_key(seq, &mut key);
                cmd.arg(key);
            }
            conn.query::<u64>(&cmd).await.map_err(|e| e.to_string())?;
        }
        // A failover must not bring them back.
        let others = self.lab.data_nodes.len().saturating_sub(1);
        let mut cmd = redis::cmd("WAIT");
        cmd.arg(others).arg(REMOVAL_WAIT.as_millis() as u64);
        let confirmed: usize = conn.query(&cmd).await.map_err(|e| e.to_string())?;
        match confirmed >= others {
            true => Ok(()),
            false => Err("not every data node has confirmed it".into()),
        }
    }

    /// Reads back the current run. None if there is none, or it could not be read.
    pub(super) async fn read_back(&self, stop: &CancellationToken) -> Option<ReadBack> {
        let _one_at_a_time = self.reading.lock().await;
        let path = self.lock().current.as_ref()?.path.clone();
        let result = self.read(&path, stop).await?;
        let mut state = self.lock();
        if result.records.lost > 0 {
            let known = state.losses.entry(path).or_default();
            *known = result.records.lost.max(*known);
        }
        state.counts.read_back = Some(result.clone());
        drop(state);
        self.show_counts();
        Some(result)
    }

    /// Reads back a run. One at a time: the caller has locked `reading`.
    async fn read(&self, path: &Path, stop: &CancellationToken) -> Option<ReadBack> {
        self.lock().counts.reading = true;
        let options = VerifyOptions {
            ledger: path.to_owned(),
            scan: false,
            faults: Vec::new(),
            wait: READ_LIMIT,
            given_up: None,
        };
        let verification = verifier::run(&self.lab, &options, stop, |_| {}).await;
        self.lock().counts.reading = false;
        let verification = match verification {
            Ok(verification) => verification,
            Err(error) => {
                info!(%error, "the records were not read back; they are read later");
                return None;
            }
        };
        let counts = verification.replicas.iter().filter(|r| r.promotable);
        let read = counts.filter_map(|r| r.report.as_ref());
        let reports: Vec<_> = [&verification.primary].into_iter().chain(read).collect();
        let mut reasons: Vec<String> = Vec::new();
        for report in &reports {
            let of_node = report.reasons.iter();
            reasons.extend(of_node.map(|why| format!("{}: {why}", report.node)));
        }
        let others = verification.replicas.iter().filter(|r| r.promotable);
        let unread = others.filter_map(|r| Some(format!("{}: {}", r.node, r.not_read.as_ref()?)));
        reasons.extend(unread);
        Some(ReadBack {
            t: self.now_ms(),
            verdict: verification.verdict,
            nodes: reports.iter().map(|report| report.node.clone()).collect(),
            reasons,
            records: records(&verification, 0),
        })
    }

    fn now_ms(&self) -> u64 {
        ms(self.begun.elapsed()) as u64
    }

    fn lock(&self) -> MutexGuard<'_, RecordsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
