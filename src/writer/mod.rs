//! `halab write`: writes records to the primary that the Sentinels name, and counts those that are
//! acknowledged.
//!
//! - `connection`: a write connection, with some batches in flight
//! - `in_flight`: one batch in flight, and when it is acknowledged
//! - `work`: the next batch, by count, duration and rate; first the unknown ones of a resumed run
//! - `journal`: the ledger and the counts; `metrics`: the counts for Prometheus; `live`: the values
//!   that only the metrics need
//! - `summary`: the result of a run
//!
//! Back-pressure: a connection takes a batch only while fewer than `in_flight` of its batches wait
//! for acknowledgement, so at most `connections * in_flight` are in memory.
//! [`crate::confirmation`] finds the primary and asks what is confirmed; [`crate::protocol::ack`]
//! decides when a record is acknowledged.

mod connection;
mod in_flight;
mod journal;
mod live;
mod metrics;
mod summary;
mod work;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::Connector;
use crate::config::Lab;
use crate::confirmation::{self, LastProblem, Settings};
use crate::ledger;
use crate::protocol::ack::Policy;

pub use journal::{Counts, WriteProgress};
pub use summary::WriteSummary;

use connection::WriteConnection;
use journal::Journal;
use work::Work;

/// Time for batches in flight to be acknowledged after a request to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Period in which the ledger is written to the kernel: a `kill -9` of the writer can turn the
/// acknowledgements of that time into unknown ones.
const FLUSH_PERIOD: Duration = Duration::from_millis(20);

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Maximum number of records; `None`: no limit.
    pub count: Option<u64>,
    /// Maximum duration; `None`: no limit.
    pub duration: Option<Duration>,
    /// Maximum records a second; `None`: as many as are acknowledged.
    pub rate: Option<f64>,
    /// Number of write connections.
    pub connections: usize,
    /// Maximum batches in flight on each connection.
    pub in_flight: usize,
    /// Records a batch.
    pub batch: usize,
    /// Time limit of `WAIT`; at least [`confirmation::SHORTEST_WAIT`].
    pub wait_timeout: Duration,
    /// Acknowledgement policy.
    pub policy: Policy,
    /// Path of the ledger; `None`: no ledger.
    pub ledger: Option<PathBuf>,
    /// Continue the run of this ledger.
    pub resume: bool,
    /// Fail after this time without an acknowledged record.
    pub patience: Duration,
    /// Where to serve metrics during the run; `None`: nowhere.
    pub metrics: Option<MetricsAt>,
}

/// Where to serve metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsAt {
    /// Address and port.
    pub address: SocketAddrV4,
    /// The target file for Prometheus, if it watches the folder.
    pub file: Option<PathBuf>,
}

impl WriteOptions {
    /// When a record counts as acknowledged.
    fn confirmation(&self) -> Settings {
        Settings {
            user: User::Writer,
            policy: self.policy,
            wait_timeout: self.wait_timeout,
        }
    }
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The ledger can't be written, so nothing may be sent.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// No record was acknowledged for too long.
    #[error("no record was acknowledged for {seconds} s: {reason}")]
    Patience {
        /// Time since the last acknowledgement.
        seconds: u64,
        /// The last problem.
        reason: String,
    },
    /// A task ended early.
    #[error("a task of the writer failed: {0}")]
    Task(String),
}

/// Runs the writer until its work is done, `stop` is cancelled, or it fails. Once the run has
/// begun, there is always a summary.
///
/// # Errors
/// If the ledger can't be created or read; then the run has not begun.
pub async fn run(
    lab: &Lab,
    options: &WriteOptions,
    stop: CancellationToken,
    progress: impl Fn(WriteProgress) + Send + Sync + 'static,
) -> Result<(WriteSummary, Option<WriterError>), WriterError> {
    run_with(lab, options, stop, progress, JoinSet::new()).await
}

/// The same, with additional background tasks, for tests with a task that ends.
async fn run_with(
    lab: &Lab,
    options: &WriteOptions,
    stop: CancellationToken,
    progress: impl Fn(WriteProgress) + Send + Sync + 'static,
    mut background: JoinSet<()>,
) -> Result<(WriteSummary, Option<WriterError>), WriterError> {
    // A failure ends this run, but does not cancel the caller's token.
    let stop = stop.child_token();
    let (journal, left) = Journal::open(lab, options)?;
    let journal = Arc::new(journal);
    let _metrics = metrics::serve(lab, options, &journal).await;
    let work = Arc::new(Work::new(options, journal.clone(), left, stop.clone()));
    let connector = Connector::new(lab, User::Writer);
    let last_problem = LastProblem::default();
    let (to_connections, sessions) = watch::channel(None);
    background.spawn(confirmation::run(
        lab.clone(),
        options.confirmation(),
        to_connections,
        journal.clone(),
        last_problem.clone(),
    ));

    let begun = Instant::now();
    let end_connections = CancellationToken::new();
    let mut connections = JoinSet::new();
    for _ in 0..options.connections {
        let connection = WriteConnection::new(
            connector.clone(),
            options,
            sessions.clone(),
            journal.clone(),
            work.clone(),
            end_connections.clone(),
        );
        connections.spawn(connection.run());
    }
    let mut failure = None;
    let mut flush = interval(FLUSH_PERIOD);
    let mut end_at: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    failure.get_or_insert(WriterError::Ledger(error));
                    stop.cancel();
                }
                Some(Err(error)) => {
                    failure.get_or_insert(WriterError::Task(error.to_string()));
                    stop.cancel();
                }
            },
            // None of them ends before the connections have.
            Some(ended) = background.join_next() => {
                let why = ended.err().map_or_else(|| "it has ended".to_owned(), |e| e.to_string());
                failure.get_or_insert(WriterError::Task(why));
                stop.cancel();
            }
            _ = flush.tick() => {
                if let Err(error) = journal.flush() {
                    failure.get_or_insert(WriterError::Ledger(error));
                    stop.cancel();
                }
                let now = journal.progress();
                let refused = now.refused.clone();
                progress(now);
                let quiet = journal.quiet_for();
                if quiet >= options.patience && work.waiting() && end_at.is_none() {
                    failure.get_or_insert(WriterError::Patience {
                        seconds: quiet.as_secs(),
                        reason: refused.unwrap_or_else(|| last_problem.text()),
                    });
                    stop.cancel();
                    end_connections.cancel();
                }
            }
            () = stop.cancelled(), if end_at.is_none() => {
                end_at = Some(Instant::now() + STOP_LIMIT);
            }
            () = sleep_until(end_at.unwrap_or(begun)),
                if end_at.is_some() && !end_connections.is_cancelled() => end_connections.cancel(),
        }
    }
    // The background tasks need no orderly end.
    background.shutdown().await;
    progress(journal.progress());
    let elapsed = begun.elapsed();
    let summary = journal.finish(options, elapsed);
    match summary {
        Ok(summary) => Ok((summary, failure)),
        Err(error) => Err(failure.unwrap_or(WriterError::Ledger(error))),
    }
}

/// An endless run with one connection.
#[cfg(test)]
fn example_options() -> WriteOptions {
    WriteOptions {
        count: None,
        duration: None,
        rate: None,
        connections: 1,
        in_flight: 1,
        batch: 1,
        wait_timeout: confirmation::SHORTEST_WAIT,
        policy: Policy::Available,
        ledger: None,
        resume: false,
        patience: STOP_LIMIT,
        metrics: None,
    }
}

/// The metrics of a run that has not begun, for the document with their list.
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
    fn unreachable_lab() -> Lab {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 254]);
        lab.security.acl = false;
        lab
    }

    #[tokio::test]
    async fn a_failed_writer_does_not_cancel_its_caller() {
        let caller = CancellationToken::new();
        let options = WriteOptions {
            patience: Duration::ZERO,
            ..example_options()
        };
        let (_, failure) = run(&unreachable_lab(), &options, caller.clone(), |_| {})
            .await
            .unwrap();
        assert!(matches!(failure, Some(WriterError::Patience { .. })));
        assert!(!caller.is_cancelled());
    }

    #[tokio::test]
    async fn a_background_task_that_ends_fails_the_run_with_its_reason() {
        let options = WriteOptions {
            patience: Duration::from_secs(60),
            ..example_options()
        };
        let lab = unreachable_lab();
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
            let Some(WriterError::Task(reason)) = failure else {
                panic!("{failure:?}");
            };
            assert!(reason.contains(why), "{reason}");
        }
    }
}
