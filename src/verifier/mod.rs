//! `halab verify`: reads the records of a ledger from the data nodes and passes them to the
//! checker.
//!
//! The primary is read, and then each replica, once it has caught up with the primary's offset at
//! the start. An answer counts only if its node was the primary during the entire reading, or a
//! replica in sync with it. So Sentinels and nodes are asked before and after, and [`observation`]
//! compares the answers. After an interruption the reading starts again until the time limit. After
//! that the verdict is inconclusive.

mod ask;
pub mod observation;
mod read;
mod report;

use std::net::SocketAddrV4;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::checker::{CheckReport, FaultInterval, History, NodeReading, Verdict};
use crate::client::Connector;
use crate::config::{Lab, Node};
use crate::ledger::{self, LedgerReader};
use crate::protocol::vote::{Elected, NoPrimary};

pub use report::{ReplicaReport, Verification};

use observation::{Interruption, NodeObservation};
use read::{ReadError, Source};

/// Limit for an answer. A node that has just started may be slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Default time limit for interruptions: a failover takes some seconds, and a full copy to the
/// returning replica some more.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Pause between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The number of interruptions that are listed.
const MAX_CHANGES: usize = 16;

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// An error of the ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// No primary to read from.
    #[error("no primary to read from: {0}")]
    NoPrimary(#[from] NoPrimary),
    /// The named primary is not a node of the lab.
    #[error(
        "the Sentinels name {0}, which is not a data node of lab.toml: check --config and --subnet"
    )]
    Stranger(SocketAddrV4),
    /// A signal stopped the command.
    #[error("stopped before everything was read")]
    Stopped,
}

/// What to verify, and how.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The writer's ledger.
    pub ledger: PathBuf,
    /// Also scan all keys for records of this run that are not in the ledger.
    pub scan: bool,
    /// Faults that are not in the ledger, to which losses may belong.
    pub faults: Vec<FaultInterval>,
    /// How long after the start a reading may start again after an interruption, and how long a
    /// replica may take to catch up.
    pub wait: Duration,
    /// What was acknowledged in this time may be missing because the lab was restored from a
    /// backup; in microseconds since the start of the run.
    pub given_up: Option<Range<u64>>,
}

/// Progress of the verification.
#[derive(Debug, Clone, Copy)]
pub enum VerifyProgress<'a> {
    /// The number of records read from the primary.
    Read(u64),
    /// The reading starts again, or waits, because of this.
    Restarting(&'a Interruption),
}

/// Reads every record of the ledger from the primary and its replicas, and reports `progress`.
///
/// # Errors
/// If the ledger cannot be read, there is no primary, or `stop` was cancelled before the end.
pub async fn run(
    lab: &Lab,
    options: &VerifyOptions,
    stop: &CancellationToken,
    progress: impl Fn(VerifyProgress<'_>),
) -> Result<Verification, VerifyError> {
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Err(VerifyError::Stopped),
        result = verify(lab, options, &progress) => result,
    };
    // The ledger is read without awaiting anything, so the cancellation may have been missed.
    if stop.is_cancelled() {
        return Err(VerifyError::Stopped);
    }
    result
}

async fn verify(
    lab: &Lab,
    options: &VerifyOptions,
    progress: &impl Fn(VerifyProgress<'_>),
) -> Result<Verification, VerifyError> {
    let deadline = Instant::now() + options.wait;
    // Read before any node is observed: what is acknowledged by now has to be found.
    let mut ledger = LedgerReader::open(&options.ledger)?;
    let mut history = History::read_given_up(&mut ledger, options.given_up.clone())?;
    for fault in &options.faults {
        history.push_fault(fault.clone());
    }
    let connector = Connector::new(lab, User::Verifier).with_min_limit(ANSWER_LIMIT);
    let verifier = Verifier {
        lab,
        source: Source {
            history: &history,
            ledger: &options.ledger,
            scan: options.scan,
            connector: &connector,
        },
        wait: options.wait,
        deadline,
    };
    let time_is_over = || Instant::now() >= deadline;
    let mut changes: Vec<String> = Vec::new();
    let mut first = true;
    loop {
        let interruption = match verifier.vote().await {
            // At the first attempt this is not a failover in progress: there is no lab.
            Err(none @ NoPrimary::TooFewAnswers { .. }) if first => return Err(none.into()),
            Err(none) if time_is_over() => return Err(none.into()),
            Err(none) => Interruption::NoPrimary(none),
            Ok(elected) => {
                let node = lab
                    .data_node_at(elected.address)
                    .ok_or(VerifyError::Stranger(elected.address))?;
                match verifier.read_all(node, elected, progress).await {
                    Ok(verification) => {
                        return Ok(Verification {
                            changes,
                            ..verification
                        });
                    }
                    Err(ReadAbort::Failed(error)) => return Err(error),
                    Err(ReadAbort::Interrupted(interruption)) if time_is_over() => {
                        return Ok(verifier.inconclusive(node, &interruption, changes));
                    }
                    Err(ReadAbort::Interrupted(interruption)) => interruption,
                }
            }
        };
        first = false;
        progress(VerifyProgress::Restarting(&interruption));
        let text = interruption.to_string();
        if changes.len() < MAX_CHANGES && changes.last() != Some(&text) {
            changes.push(text);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Why a reading ended early.
enum ReadAbort {
    /// It was interrupted: another attempt may succeed.
    Interrupted(Interruption),
    /// No other attempt would succeed.
    Failed(VerifyError),
}

impl From<Interruption> for ReadAbort {
    fn from(interruption: Interruption) -> Self {
        ReadAbort::Interrupted(interruption)
    }
}

/// Why a replica was not read.
struct ReplicaNotRead {
    why: Interruption,
    /// It may be promoted, as far as is known.
    promotable: bool,
    /// Another attempt may succeed.
    retry: bool,
}

/// The primary as observed before the reading.
struct ObservedPrimary<'a> {
    node: &'a Node,
    elected: Elected,
    observed: NodeObservation,
}

struct Verifier<'a> {
    lab: &'a Lab,
    source: Source<'a>,
    wait: Duration,
    deadline: Instant,
}

impl Verifier<'_> {
    async fn vote(&self) -> Result<Elected, NoPrimary> {
        ask::vote(self.lab, self.source.connector).await
    }

    async fn observe(&self, node: &Node) -> Result<NodeObservation, Interruption> {
        ask::observe(node, self.source.connector).await
    }

    /// Observes the primary again. An error if it has not been primary since the earlier
    /// observation.
    async fn still_primary(
        &self,
        primary: &ObservedPrimary<'_>,
    ) -> Result<NodeObservation, Interruption> {
        let observed = self.observe(primary.node).await?;
        observation::stayed_primary(primary.node, &primary.observed, &observed)?;
        observation::same_vote(primary.elected, self.vote().await?, |address| {
            let node = self.lab.data_node_at(address);
            node.map_or_else(|| address.to_string(), |node| node.name.clone())
        })?;
        Ok(observed)
    }

    /// Reads the primary and all replicas.
    async fn read_all(
        &self,
        node: &Node,
        elected: Elected,
        progress: &impl Fn(VerifyProgress<'_>),
    ) -> Result<Verification, ReadAbort> {
        let observed = self.observe(node).await?;
        observation::is_primary(node, &observed)?;
        let primary = ObservedPrimary {
            node,
            elected,
            observed,
        };
        let begun = Instant::now();
        let report = self
            .read(node, &|read| progress(VerifyProgress::Read(read)))
            .await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.still_primary(&primary).await?;
        let mut replicas = Vec::new();
        for replica in self.lab.data_nodes.iter().filter(|n| n.name != node.name) {
            replicas.push(self.read_replica(replica, &primary).await?);
        }
        Ok(Verification {
            verdict: Verdict::worst(
                replicas
                    .iter()
                    .map(ReplicaReport::verdict)
                    .chain([report.verdict]),
            ),
            primary: report,
            replicas,
            records_per_second: self.source.history.invoked() as f64 / seconds.max(1e-9),
            changes: Vec::new(),
        })
    }

    async fn read(&self, node: &Node, progress: &impl Fn(u64)) -> Result<CheckReport, ReadAbort> {
        self.source
            .read(node, progress)
            .await
            .map_err(|error| match error {
                ReadError::Ledger(error) => ReadAbort::Failed(error.into()),
                ReadError::Node(error) => ReadAbort::Interrupted(ask::unanswered(node, &error)),
            })
    }

    /// Reads a replica, again after an interruption of it. An error after one of the primary.
    async fn read_replica(
        &self,
        node: &Node,
        primary: &ObservedPrimary<'_>,
    ) -> Result<ReplicaReport, ReadAbort> {
        loop {
            let not_read = match self.try_replica(node, primary).await? {
                Ok(read) => return Ok(read),
                Err(not_read) => not_read,
            };
            if !not_read.retry || Instant::now() >= self.deadline {
                return Ok(ReplicaReport {
                    node: node.name.clone(),
                    promotable: not_read.promotable,
                    report: None,
                    not_read: Some(not_read.why.to_string()),
                });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn try_replica(
        &self,
        node: &Node,
        primary: &ObservedPrimary<'_>,
    ) -> Result<Result<ReplicaReport, ReplicaNotRead>, ReadAbort> {
        let before = match self.caught_up(node, primary, &primary.observed).await? {
            Ok(observed) => observed,
            Err(not_read) => return Ok(Err(not_read)),
        };
        let promotable = before.promotable();
        let changed = |why| {
            Ok(Err(ReplicaNotRead {
                why,
                promotable,
                retry: true,
            }))
        };
        let report = match self.read(node, &|_| {}).await {
            Ok(report) => report,
            Err(ReadAbort::Interrupted(interruption)) => {
                // The replica may have been promoted.
                self.still_primary(primary).await?;
                return changed(interruption);
            }
            Err(failed) => return Err(failed),
        };
        // That the primary's present offset arrives shows that the link is still up.
        let target = self.still_primary(primary).await?;
        let after = match self.caught_up(node, primary, &target).await? {
            Ok(observed) => observed,
            Err(not_read) => return Ok(Err(not_read)),
        };
        if let Err(interruption) = observation::same(node, &before, &after) {
            return changed(interruption);
        }
        Ok(Ok(ReplicaReport {
            node: node.name.clone(),
            promotable: promotable || after.promotable(),
            report: Some(report),
            not_read: None,
        }))
    }

    /// Waits until the replica has everything up to the observation `target` of the primary. An
    /// error if the primary has not stayed primary: nothing can catch up with it then.
    async fn caught_up(
        &self,
        node: &Node,
        primary: &ObservedPrimary<'_>,
        target: &NodeObservation,
    ) -> Result<Result<NodeObservation, ReplicaNotRead>, Interruption> {
        let deadline = Instant::now() + self.wait;
        loop {
            let (why, promotable, retry) = match self.observe(node).await {
                Ok(observed) => match observation::in_sync(node, &observed, primary.node, target) {
                    Ok(()) => return Ok(Ok(observed)),
                    Err(why) => (why, observed.promotable(), true),
                },
                // It does not answer, so it cannot be promoted.
                Err(why @ Interruption::Unanswered { .. }) => (why, false, false),
                Err(why) => (why, false, true),
            };
            self.still_primary(primary).await?;
            if !retry || Instant::now() >= deadline {
                return Ok(Err(ReplicaNotRead {
                    why,
                    promotable,
                    retry: false,
                }));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The inconclusive result when the time limit is over.
    fn inconclusive(
        &self,
        node: &Node,
        interruption: &Interruption,
        changes: Vec<String>,
    ) -> Verification {
        let mut reading = NodeReading::new(self.source.history, &node.name);
        reading.fail(format!(
            "no reading without an interruption within {:?}, last: {interruption}",
            self.wait
        ));
        let primary = reading.finish();
        Verification {
            verdict: primary.verdict,
            primary,
            replicas: Vec::new(),
            records_per_second: 0.0,
            changes,
        }
    }
}
