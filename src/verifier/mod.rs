//! `halab verify`: reads the records of a ledger back and hands them to the checker.
//!
//! The primary is read, and each replica apart, once it has caught up with what the primary had at the start. What a
//! node gave counts only if it was the primary during the entire reading, or a replica in sync with it: the Sentinels
//! are asked whom they name, and nodes what they are, before and after ([`look`] compares). After a change the reading
//! starts again, until the time for that is over. Then nothing can be said.

mod ask;
pub mod look;
mod read;

use std::fmt;
use std::net::SocketAddrV4;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::checker::{Fault, History, Reading, Report, Verdict};
use crate::client::Connector;
use crate::config::{Lab, Node};
use crate::ledger::{self, LedgerReader};
use crate::protocol::vote::{Elected, NoPrimary};

use look::{Change, Look};
use read::{ReadError, Source};

/// Limit for an answer: a node that was just started may be slow, but not for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long changes are waited out, where nothing else is said. A failover takes some seconds, and a full copy to the
/// node that comes back as a replica some more.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Pause before the lab is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Changes that are listed.
const MAX_CHANGES: usize = 16;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// No primary to read from.
    #[error("no primary to read from: {0}")]
    NoPrimary(#[from] NoPrimary),
    /// The primary that is named is not a node of the lab.
    #[error(
        "the Sentinels name {0}, which is no data node of lab.toml: check --config and --subnet"
    )]
    Stranger(SocketAddrV4),
    /// The run was asked to stop.
    #[error("stopped before everything was read")]
    Stopped,
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct Options {
    /// The writer's ledger.
    pub ledger: PathBuf,
    /// Look also for records of this run that the ledger does not know, by a scan of all keys.
    pub scan: bool,
    /// Faults that the ledger does not name, for losses to be placed in.
    pub faults: Vec<Fault>,
    /// How long after the start a reading may begin again because the lab changed, and how long a replica may take to
    /// catch up.
    pub wait: Duration,
    /// What was acknowledged then may be missing, for the lab went back to a backup: in microseconds since the start of the run.
    pub given_up: Option<Range<u64>>,
}

/// What the checker says of each node.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Whether the claim holds: on the primary, and on every replica that may be promoted.
    pub verdict: Verdict,
    /// The primary as it was read.
    pub primary: Report,
    /// The replicas as they were read.
    pub replicas: Vec<ReplicaReport>,
    /// Records read a second, of the primary.
    pub records_per_second: f64,
    /// The changes of the lab after which the reading started again, each once in a row, the first ones.
    pub changes: Vec<String>,
}

/// A replica as it was read, or why it was not.
#[derive(Debug, Clone, Serialize)]
pub struct ReplicaReport {
    /// Its name.
    pub node: String,
    /// It may be promoted, so it counts for the verdict.
    pub promotable: bool,
    /// What the checker says; `None`: it was not read.
    pub report: Option<Report>,
    /// Why it was not read.
    pub not_read: Option<String>,
}

/// What is told on the way.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// So many records have been read from the primary.
    Read(u64),
    /// It starts again, or waits, because of that.
    Again(&'a Change),
}

/// Reads every record of the ledger back from the primary and its replicas, and tells `progress`.
///
/// # Errors
/// When the ledger can't be read, there is no primary, or `stop` was cancelled before the end.
pub async fn run(
    lab: &Lab,
    options: &Options,
    stop: &CancellationToken,
    progress: impl Fn(Progress<'_>),
) -> Result<Verification, VerifyError> {
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Err(VerifyError::Stopped),
        result = verify(lab, options, &progress) => result,
    };
    // Cancelled while the ledger was read, for which nothing is awaited.
    if stop.is_cancelled() {
        return Err(VerifyError::Stopped);
    }
    result
}

async fn verify(
    lab: &Lab,
    options: &Options,
    progress: &impl Fn(Progress<'_>),
) -> Result<Verification, VerifyError> {
    let deadline = Instant::now() + options.wait;
    // Before any node is looked at: what is acknowledged by now has to be found.
    let mut ledger = LedgerReader::open(&options.ledger)?;
    let mut history = History::read_given_up(&mut ledger, options.given_up.clone())?;
    for fault in &options.faults {
        history.push_fault(fault.clone());
    }
    let connector = Connector::new(lab, User::Verifier, ANSWER_LIMIT);
    let job = Job {
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
    let over = || Instant::now() >= deadline;
    let mut changes: Vec<String> = Vec::new();
    let mut first = true;
    loop {
        let change = match job.vote().await {
            // Not a lab in the middle of a failover, but none.
            Err(none @ NoPrimary::TooFewAnswers { .. }) if first => return Err(none.into()),
            Err(none) if over() => return Err(none.into()),
            Err(none) => Change::NoPrimary(none),
            Ok(elected) => {
                let node = lab
                    .data_node_at(elected.address)
                    .ok_or(VerifyError::Stranger(elected.address))?;
                match job.read_all(node, elected, progress).await {
                    Ok(verification) => {
                        return Ok(Verification {
                            changes,
                            ..verification
                        });
                    }
                    Err(Stop::Over(error)) => return Err(error),
                    Err(Stop::Changed(change)) if over() => {
                        return Ok(job.nothing_read(node, &change, changes));
                    }
                    Err(Stop::Changed(change)) => change,
                }
            }
        };
        first = false;
        progress(Progress::Again(&change));
        let text = change.to_string();
        if changes.len() < MAX_CHANGES && changes.last() != Some(&text) {
            changes.push(text);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Why not everything was read.
enum Stop {
    /// The lab changed: another try may come through.
    Changed(Change),
    /// No other try would.
    Over(VerifyError),
}

impl From<Change> for Stop {
    fn from(change: Change) -> Self {
        Stop::Changed(change)
    }
}

/// Why a replica was not read.
struct NotRead {
    why: Change,
    /// It may be promoted, as far as is known.
    promotable: bool,
    /// It may be there in a moment.
    again: bool,
}

/// The primary as it was before the reading.
struct Primary<'a> {
    node: &'a Node,
    elected: Elected,
    look: Look,
}

struct Job<'a> {
    lab: &'a Lab,
    source: Source<'a>,
    wait: Duration,
    deadline: Instant,
}

impl Job<'_> {
    async fn vote(&self) -> Result<Elected, NoPrimary> {
        ask::vote(self.lab, self.source.connector).await
    }

    async fn look(&self, node: &Node) -> Result<Look, Change> {
        ask::look(node, self.source.connector).await
    }

    /// Looks at the primary again. An error if it has not been the primary since the look before.
    async fn still_primary(&self, primary: &Primary<'_>) -> Result<Look, Change> {
        let look = self.look(primary.node).await?;
        look::stayed_primary(primary.node, &primary.look, &look)?;
        look::same_vote(primary.elected, self.vote().await?, |address| {
            let node = self.lab.data_node_at(address);
            node.map_or_else(|| address.to_string(), |node| node.name.clone())
        })?;
        Ok(look)
    }

    /// Reads the primary and all replicas.
    async fn read_all(
        &self,
        node: &Node,
        elected: Elected,
        progress: &impl Fn(Progress<'_>),
    ) -> Result<Verification, Stop> {
        let look = self.look(node).await?;
        look::is_primary(node, &look)?;
        let primary = Primary {
            node,
            elected,
            look,
        };
        let begun = Instant::now();
        let report = self
            .read(node, &|read| progress(Progress::Read(read)))
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

    async fn read(&self, node: &Node, progress: &impl Fn(u64)) -> Result<Report, Stop> {
        self.source
            .read(node, progress)
            .await
            .map_err(|error| match error {
                ReadError::Ledger(error) => Stop::Over(error.into()),
                ReadError::Node(error) => Stop::Changed(ask::unanswered(node, &error)),
            })
    }

    /// Reads a replica, again if it changed meanwhile. An error if the primary did.
    async fn read_replica(
        &self,
        node: &Node,
        primary: &Primary<'_>,
    ) -> Result<ReplicaReport, Stop> {
        loop {
            let not_read = match self.try_replica(node, primary).await? {
                Ok(read) => return Ok(read),
                Err(not_read) => not_read,
            };
            if !not_read.again || Instant::now() >= self.deadline {
                return Ok(ReplicaReport {
                    node: node.name.clone(),
                    promotable: not_read.promotable,
                    report: None,
                    not_read: Some(not_read.why.to_string()),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn try_replica(
        &self,
        node: &Node,
        primary: &Primary<'_>,
    ) -> Result<Result<ReplicaReport, NotRead>, Stop> {
        let before = match self.caught_up(node, primary, &primary.look).await? {
            Ok(look) => look,
            Err(not_read) => return Ok(Err(not_read)),
        };
        let promotable = before.promotable();
        let changed = |why| {
            Ok(Err(NotRead {
                why,
                promotable,
                again: true,
            }))
        };
        let report = match self.read(node, &|_| {}).await {
            Ok(report) => report,
            Err(Stop::Changed(change)) => {
                // Perhaps because this one was promoted.
                self.still_primary(primary).await?;
                return changed(change);
            }
            Err(over) => return Err(over),
        };
        // What the primary has now: that it arrives shows that the link still stands.
        let mark = self.still_primary(primary).await?;
        let after = match self.caught_up(node, primary, &mark).await? {
            Ok(look) => look,
            Err(not_read) => return Ok(Err(not_read)),
        };
        if let Err(change) = look::same(node, &before, &after) {
            return changed(change);
        }
        Ok(Ok(ReplicaReport {
            node: node.name.clone(),
            promotable: promotable || after.promotable(),
            report: Some(report),
            not_read: None,
        }))
    }

    /// Waits until the replica has all that `mark`, a look at the primary, shows. An error if the primary is not
    /// the primary any more, so that nobody could catch up with it.
    async fn caught_up(
        &self,
        node: &Node,
        primary: &Primary<'_>,
        mark: &Look,
    ) -> Result<Result<Look, NotRead>, Change> {
        let deadline = Instant::now() + self.wait;
        loop {
            let (why, promotable, again) = match self.look(node).await {
                Ok(look) => match look::in_sync(node, &look, primary.node, mark) {
                    Ok(()) => return Ok(Ok(look)),
                    Err(why) => (why, look.promotable(), true),
                },
                // Not there, so nobody can promote it.
                Err(why @ Change::Unanswered { .. }) => (why, false, false),
                Err(why) => (why, false, true),
            };
            self.still_primary(primary).await?;
            if !again || Instant::now() >= deadline {
                return Ok(Err(NotRead {
                    why,
                    promotable,
                    again: false,
                }));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What can be said when the time is over: nothing.
    fn nothing_read(&self, node: &Node, change: &Change, changes: Vec<String>) -> Verification {
        let mut reading = Reading::new(self.source.history, &node.name);
        reading.fail(format!(
            "not one without a change within {:?}, at last: {change}",
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

impl ReplicaReport {
    /// What it adds to the verdict. One that could be promoted and could not be read leaves it open.
    fn verdict(&self) -> Verdict {
        match (&self.report, self.promotable) {
            (_, false) => Verdict::Holds,
            (Some(report), true) => report.verdict,
            (None, true) => Verdict::Inconclusive,
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "primary: {}", self.primary)?;
        for replica in &self.replicas {
            let counted = if replica.promotable {
                ""
            } else {
                " (not promotable: does not count)"
            };
            match (&replica.report, &replica.not_read) {
                (Some(report), _) => write!(f, "\n\nreplica{counted}: {report}")?,
                (None, Some(why)) => write!(
                    f,
                    "\n\nreplica{counted}: {} was not read: {why}",
                    replica.node
                )?,
                (None, None) => {}
            }
        }
        if !self.changes.is_empty() {
            f.write_str("\n\nread again, because the lab changed:")?;
        }
        for change in &self.changes {
            write!(f, "\n  {change}")?;
        }
        Ok(())
    }
}
