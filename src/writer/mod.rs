//! `halab write`: writes records through the Sentinels, and counts only what is acknowledged.
//!
//! - `discovery`: who is primary now, kept fresh
//! - `keeper`: the connection on which the primary is asked what is confirmed, for all lanes
//! - `lane`: one connection that writes, with some batches in flight
//! - `flight`: one batch on its way, and when it is acknowledged
//! - `session`: what keeper and lanes share while one node is written to
//! - `witness`: questions to the Sentinels
//! - `work`: which batch comes next: count, duration, rate, what is left from before
//! - `journal`: the ledger, and the running counts
//! - `metrics`: the same for Prometheus
//! - `summary`: what is said at the end
//!
//! Back-pressure is the shape of it: a lane takes a batch when fewer than `in_flight` of its own
//! wait to be acknowledged, so there are never more than `connections * in_flight` in memory.
//! Nothing is acknowledged before [`crate::protocol::ack`] says so.

mod discovery;
mod flight;
mod journal;
mod keeper;
mod lane;
mod metrics;
mod session;
mod summary;
mod witness;
mod work;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::Connector;
use crate::config::Lab;
use crate::ledger;
use crate::protocol::ack::Policy;
use crate::sentinel::Panel;

pub use journal::{Counts, Progress};
pub use summary::Summary;

use discovery::{Discovery, Trouble};
use journal::Journal;
use keeper::{Keeper, Membership};
use lane::Lane;
use session::Session;
use witness::Witness;
use work::Work;

/// Shortest `WAIT`: a healthy replica confirms within it also on a busy machine, so that the
/// Sentinels are asked only when something is wrong. As in `lab.toml`.
pub const SHORTEST_WAIT: Duration = Duration::from_millis(50);
/// How long batches in flight may take to be acknowledged after a request to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How often acknowledgements are handed to the system: the most that a `kill -9` of the writer can
/// turn from acknowledged into unknown.
const FLUSH_PERIOD: Duration = Duration::from_millis(20);
/// Pause after a refusal that another primary would not cure.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How much longer than a `WAIT` its answer may take before the connection counts as lost; as long
/// as any other answer, if that is more.
const WAIT_SLACK: Duration = Duration::from_secs(2);

/// What to write, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stop after so many records; `None`: no limit.
    pub count: Option<u64>,
    /// Stop after that time; `None`: no limit.
    pub duration: Option<Duration>,
    /// At most so many records a second; `None`: as many as are acknowledged.
    pub rate: Option<f64>,
    /// Connections that write.
    pub connections: usize,
    /// Batches on each connection that may wait to be acknowledged.
    pub in_flight: usize,
    /// Records a batch.
    pub batch: usize,
    /// Limit of one `WAIT`; at least [`SHORTEST_WAIT`].
    pub wait_timeout: Duration,
    /// Which acknowledgements count.
    pub policy: Policy,
    /// Where the ledger goes; `None`: no ledger.
    pub ledger: Option<PathBuf>,
    /// Go on with the run whose ledger that is.
    pub resume: bool,
    /// Give up after so long without any acknowledged record.
    pub patience: Duration,
    /// Where metrics are served during the run; `None`: nowhere.
    pub metrics: Option<MetricsAt>,
}

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsAt {
    /// There.
    pub address: SocketAddrV4,
    /// The file that tells Prometheus of it, where there is one that looks into its folder.
    pub file: Option<PathBuf>,
}

impl Options {
    /// The limit of one `WAIT` as `WAIT` takes it.
    fn wait_ms(&self) -> String {
        self.wait_timeout.max(SHORTEST_WAIT).as_millis().to_string()
    }

    /// How long the answer to a `WAIT` may take.
    fn wait_limit(&self, connector: &Connector) -> Duration {
        self.wait_timeout.max(SHORTEST_WAIT) + WAIT_SLACK.max(connector.answer_limit())
    }
}

/// Why the run ended before its work was done.
#[derive(Debug, thiserror::Error)]
pub enum WriteFailure {
    /// The ledger can't be written: nothing may be sent.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// Nothing was acknowledged for too long.
    #[error("no record was acknowledged for {seconds} s: {trouble}")]
    Patience {
        /// For how long.
        seconds: u64,
        /// What is missing.
        trouble: String,
    },
    /// A part of the program ended early.
    #[error("a part of the writer failed: {0}")]
    Task(String),
}

/// Runs the writer until its work is done, `stop` is cancelled, or it fails. The summary is there
/// in every case once the run has begun.
///
/// # Errors
/// Before the run has begun: the ledger can't be made or read.
pub async fn run(
    lab: &Lab,
    options: &Options,
    stop: CancellationToken,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<(Summary, Option<WriteFailure>), WriteFailure> {
    run_with(lab, options, stop, progress, JoinSet::new()).await
}

/// The same, with tasks beside those that it starts in the background: for tests of what becomes of
/// one that ends.
async fn run_with(
    lab: &Lab,
    options: &Options,
    stop: CancellationToken,
    progress: impl Fn(Progress) + Send + Sync + 'static,
    mut background: JoinSet<()>,
) -> Result<(Summary, Option<WriteFailure>), WriteFailure> {
    // A failure ends this run, and nothing else that the caller's token is for.
    let stop = stop.child_token();
    let (journal, left) = Journal::open(lab, options)?;
    let journal = Arc::new(journal);
    let _metrics = metrics::serve(lab, options, &journal).await;
    let work = Arc::new(Work::new(options, journal.clone(), left, stop.clone()));
    let connector = Connector::new(lab, User::Writer);
    let trouble = Trouble::default();
    let (for_keepers, sessions) = watch::channel(None);
    background.spawn(follow_members(
        lab.clone(),
        options.clone(),
        for_keepers,
        journal.clone(),
        trouble.clone(),
    ));

    let begun = Instant::now();
    let end_lanes = CancellationToken::new();
    let mut lanes = JoinSet::new();
    for _ in 0..options.connections {
        let lane = Lane::new(
            connector.clone(),
            options,
            sessions.clone(),
            journal.clone(),
            work.clone(),
            end_lanes.clone(),
        );
        lanes.spawn(lane.run());
    }
    let mut failure = None;
    let mut flush = interval(FLUSH_PERIOD);
    let mut end_at: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = lanes.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    failure.get_or_insert(WriteFailure::Ledger(error));
                    stop.cancel();
                }
                Some(Err(error)) => {
                    failure.get_or_insert(WriteFailure::Task(error.to_string()));
                    stop.cancel();
                }
            },
            // None of them ends before the lanes have.
            Some(ended) = background.join_next() => {
                let why = ended.err().map_or_else(|| "it has ended".to_owned(), |e| e.to_string());
                failure.get_or_insert(WriteFailure::Task(why));
                stop.cancel();
            }
            _ = flush.tick() => {
                if let Err(error) = journal.flush() {
                    failure.get_or_insert(WriteFailure::Ledger(error));
                    stop.cancel();
                }
                let now = journal.progress();
                let refused = now.refused.clone();
                progress(now);
                let quiet = journal.quiet_for();
                if quiet >= options.patience && work.waiting() && end_at.is_none() {
                    failure.get_or_insert(WriteFailure::Patience {
                        seconds: quiet.as_secs(),
                        trouble: refused.map_or_else(|| trouble.told(), |why| why.to_string()),
                    });
                    stop.cancel();
                    end_lanes.cancel();
                }
            }
            () = stop.cancelled(), if end_at.is_none() => end_at = Some(Instant::now() + STOP_LIMIT),
            () = sleep(end_at.map_or(STOP_LIMIT, |at| at.saturating_duration_since(Instant::now()))),
                if end_at.is_some() && !end_lanes.is_cancelled() => end_lanes.cancel(),
        }
    }
    // Background tasks hold nothing that must be ended in order.
    background.shutdown().await;
    progress(journal.progress());
    let elapsed = begun.elapsed();
    let summary = journal.finish(options, elapsed);
    match summary {
        Ok(summary) => Ok((summary, failure)),
        Err(error) => Err(failure.unwrap_or(WriteFailure::Ledger(error))),
    }
}

/// Keeps those who find the primary and ask what is confirmed, for the lab of `lab.toml` first.
/// Where the roster has other members, all of them end, with the session, and others begin for
/// those.
async fn follow_members(
    stated: Lab,
    options: Options,
    sessions: watch::Sender<Option<Arc<Session>>>,
    journal: Arc<Journal>,
    trouble: Trouble,
) {
    let stated = Arc::new(stated);
    let mut lab = stated.clone();
    loop {
        let (changed, mut heard) = mpsc::channel(1);
        let membership = Membership {
            stated: stated.clone(),
            lab,
            sessions: sessions.clone(),
            changed,
        };
        let mut tasks = JoinSet::new();
        let connector = Connector::new(&membership.lab, User::Writer);
        let panel = Arc::new(Panel::new(&membership.lab, connector.clone()));
        let discovery = Discovery::start(
            &membership,
            panel.clone(),
            connector.clone(),
            (journal.clone(), trouble.clone()),
            &mut tasks,
        );
        let witness = Witness::new(panel, connector, membership.lab.timing.raise_limit);
        Keeper::start(&membership, &options, discovery, witness, &mut tasks);
        tokio::select! {
            Some(now) = heard.recv() => lab = Arc::new(now),
            // It ends with why it ended.
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended
                    && let Ok(panicked) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panicked);
                }
                return;
            }
        }
        tasks.shutdown().await;
        if let Some(session) = sessions.send_replace(None) {
            session.end();
        }
    }
}

/// A run without an end, of one connection.
#[cfg(test)]
fn example_options() -> Options {
    Options {
        count: None,
        duration: None,
        rate: None,
        connections: 1,
        in_flight: 1,
        batch: 1,
        wait_timeout: SHORTEST_WAIT,
        policy: Policy::Available,
        ledger: None,
        resume: false,
        patience: STOP_LIMIT,
        metrics: None,
    }
}

/// The metrics of a run that has not begun, for the document that lists them.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "only tests call it")]
pub(crate) fn example_registry() -> prometheus_client::registry::Registry {
    let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
    let options = example_options();
    let (journal, _) = Journal::open(&lab, &options).unwrap();
    metrics::registry(&lab, &options, Arc::new(journal))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lab in a network in which nothing listens.
    fn nobody() -> Lab {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 254]);
        lab.security.acl = false;
        lab
    }

    #[tokio::test]
    async fn a_writer_that_fails_ends_itself_and_not_its_caller() {
        let caller = CancellationToken::new();
        let options = Options {
            patience: Duration::ZERO,
            ..example_options()
        };
        let (_, failure) = run(&nobody(), &options, caller.clone(), |_| {})
            .await
            .unwrap();
        assert!(matches!(failure, Some(WriteFailure::Patience { .. })));
        assert!(!caller.is_cancelled());
    }

    #[tokio::test]
    async fn a_background_task_that_ends_ends_the_run_and_is_named() {
        let options = Options {
            patience: Duration::from_secs(60),
            ..example_options()
        };
        let lab = nobody();
        let panics = || async { panic!("by the test") };
        let ends = || async {};
        for (panicking, why) in [(true, "by the test"), (false, "it has ended")] {
            let mut background = JoinSet::new();
            if panicking {
                background.spawn(panics());
            } else {
                background.spawn(ends());
            }
            let run = run_with(&lab, &options, CancellationToken::new(), |_| {}, background);
            let (_, failure) = run.await.unwrap();
            let Some(WriteFailure::Task(told)) = failure else {
                panic!("{failure:?}");
            };
            assert!(told.contains(why), "{told}");
        }
    }
}
