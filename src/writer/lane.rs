//! One connection to the primary, with one batch in flight.
//!
//! A batch is sent, and sent again, until it is acknowledged; see [`crate::protocol::ack`] for what
//! that means. The lane leaves its connection as soon as discovery names another primary: a primary that
//! hangs would never break it.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use crate::client::{ClientError, Conn, Connector, Role, classify};
use crate::config::Lab;
use crate::ledger::{self, Invoked, Outcome};
use crate::protocol::ack::{Confirmed, Degraded, NoWitness, Policy, uncovered};
use crate::protocol::vote::Elected;
use crate::protocol::{Fate, WriteError};
use crate::record::Batch;

use super::discovery::{Discovery, Standing, Target};
use super::journal::Journal;
use super::witness::{About, Witness};
use super::work::{Job, Work};
use super::{ANSWER_LIMIT, Options, SHORTEST_WAIT};

/// How much longer than a `WAIT` its answer may take before the connection counts as lost.
const WAIT_SLACK: Duration = Duration::from_secs(2);
/// Pause before asking the Sentinels again while nobody else is online.
const WITNESS_PAUSE: Duration = Duration::from_millis(10);
/// Pause after an error that another primary would not cure.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// One of the writer's connections.
#[derive(Debug)]
pub(super) struct Lane {
    /// All data nodes; whoever is not the target is to confirm.
    nodes: Vec<SocketAddrV4>,
    policy: Policy,
    wait: Duration,
    connector: Connector,
    discovery: Discovery,
    witness: Witness,
    journal: Arc<Journal>,
    end: CancellationToken,
    records: Batch,
    link: Option<Link>,
    /// Round of the last target that was no good.
    bad_round: u64,
}

/// The connection in use.
#[derive(Debug)]
struct Link {
    target: Target,
    conn: Conn,
    /// Other data nodes that were online when last seen; so many are waited for.
    online: usize,
}

/// What became of one attempt to write a batch.
#[derive(Debug)]
enum Attempt {
    Acknowledged(Outcome),
    /// To be sent again; with what became of the batch as a whole.
    Failed(WriteError, Fate),
    /// Another node is primary, or became it while the answer was awaited.
    Superseded,
}

impl Lane {
    pub(super) fn new(
        lab: &Lab,
        options: &Options,
        discovery: Discovery,
        witness: Witness,
        journal: Arc<Journal>,
        end: CancellationToken,
    ) -> Self {
        let wait = options.wait_timeout.max(SHORTEST_WAIT);
        let records = Batch::new(journal.run(), crate::record::Timestamp::default());
        Lane {
            nodes: lab
                .data_nodes
                .iter()
                .map(crate::config::Node::socket)
                .collect(),
            policy: options.policy,
            wait,
            connector: Connector::new(ANSWER_LIMIT).with_answer_limit(wait + WAIT_SLACK),
            discovery,
            witness,
            journal,
            end,
            records,
            link: None,
            bad_round: 0,
        }
    }

    /// Writes batch after batch until there is no more work.
    ///
    /// # Errors
    /// The ledger can't be written.
    pub(super) async fn run(mut self, work: Arc<Work>) -> Result<(), ledger::Error> {
        while let Some(job) = work.next().await? {
            self.write(job).await?;
            if self.end.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Writes one batch until it is acknowledged or the run is ended.
    async fn write(&mut self, mut job: Job) -> Result<(), ledger::Error> {
        let first_sent = Instant::now();
        let seqs = job.batch.seqs;
        let mut attempts = 0_u32;
        loop {
            let end = self.end.clone();
            let attempt = tokio::select! {
                biased;
                attempt = self.attempt(&mut job, &mut attempts) => attempt,
                () = end.cancelled() => {
                    // Unknown is what has no end in the ledger.
                    if !job.in_doubt {
                        self.journal.settled(seqs, Outcome::Failed, first_sent)?;
                    }
                    return Ok(());
                }
            };
            match attempt {
                Attempt::Acknowledged(outcome) => {
                    return self.journal.settled(seqs, outcome, first_sent);
                }
                Attempt::Failed(error, _) => {
                    debug!(%error, records = %seqs, "to be sent again");
                    if !error.wants_rediscovery() {
                        warn!(%error, "the primary refuses the write; trying again");
                        sleep(REFUSED_PAUSE).await;
                    }
                }
                Attempt::Superseded => {}
            }
            if attempts == 1 {
                self.journal.sent_again(seqs.len());
            }
        }
    }

    /// Sends the batch to the primary once and waits until it is acknowledged or can't be any more.
    async fn attempt(&mut self, job: &mut Job, attempts: &mut u32) -> Attempt {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => match self.connect().await {
                Ok(link) => link,
                // Nothing was sent.
                Err(error) => return Attempt::Failed(error, Fate::FailedForCertain),
            },
        };
        *attempts += 1;
        // Before it is sent: whatever ends this, it may have been written, unless the server says no.
        let doubted = std::mem::replace(&mut job.in_doubt, true);
        let mut discovery = self.discovery.clone();
        let target = link.target;
        let attempt = tokio::select! {
            biased;
            attempt = self.send(&mut link, &job.batch) => attempt,
            () = discovery.superseded(target) => Attempt::Superseded,
        };
        match &attempt {
            Attempt::Acknowledged(_) => self.link = Some(link),
            Attempt::Failed(error, fate) => {
                if *fate == Fate::FailedForCertain {
                    job.in_doubt = doubted;
                }
                if error.wants_rediscovery() {
                    self.bad_round = self.discovery.now().map_or(target.round, |t| t.round);
                    self.discovery.report();
                } else {
                    self.link = Some(link);
                }
            }
            Attempt::Superseded => {}
        }
        attempt
    }

    async fn connect(&mut self) -> Result<Link, WriteError> {
        let Some(target) = self.discovery.target_after(self.bad_round).await else {
            return Err(WriteError::ConnectionLost);
        };
        match self.open(target).await {
            Ok(link) => Ok(link),
            Err(error) => {
                debug!(%error, "cannot connect to the primary");
                self.bad_round = target.round;
                self.discovery.report();
                // Nothing was sent on it.
                Err(WriteError::Refused)
            }
        }
    }

    /// Connects, and looks who would confirm: a `WAIT` for nobody would only take time.
    async fn open(&self, target: Target) -> Result<Link, ClientError> {
        let mut conn = self.connector.open(target.address).await?;
        let online = match conn.role().await? {
            Role::Primary { replicas, .. } => self.count_others(target, &replicas),
            // The first write finds out.
            Role::Replica { .. } | Role::Sentinel => 0,
        };
        Ok(Link {
            target,
            conn,
            online,
        })
    }

    fn others(&self, target: Target) -> impl Iterator<Item = SocketAddrV4> {
        self.nodes
            .iter()
            .copied()
            .filter(move |n| *n != target.address)
    }

    /// How many other data nodes of the lab are among the online replicas.
    fn count_others(&self, target: Target, online: &[Confirmed]) -> usize {
        self.others(target)
            .filter(|n| online.iter().any(|c| c.address == *n))
            .count()
    }

    async fn send(&mut self, link: &mut Link, batch: &Invoked) -> Attempt {
        let sets = usize::try_from(batch.seqs.end - batch.seqs.start).unwrap_or(usize::MAX);
        let mut pipe = redis::Pipeline::with_capacity(sets + 3);
        self.push_sets(batch, &mut pipe);
        if self.policy != Policy::None {
            pipe.cmd("ROLE");
            if link.online > 0 {
                self.push_wait(link.online, &mut pipe);
                pipe.cmd("ROLE");
            }
        }
        let values = match link.conn.pipeline(&pipe).await {
            Ok(values) => values,
            Err(error) => return unknown(classify(&error)),
        };
        let (written, rest) = values.split_at(sets.min(values.len()));
        if let Some(error) = first_error(written) {
            return Attempt::Failed(error, fate_of(written));
        }
        if self.policy == Policy::None {
            return Attempt::Acknowledged(Outcome::Sent);
        }
        let since = Instant::now();
        let Some((offset, _)) = rest.first().and_then(as_primary) else {
            return unknown(WriteError::Unblocked);
        };
        if let Some(error) = first_error(rest) {
            return unknown(error);
        }
        let Some((_, confirmed)) = rest.last().and_then(as_primary) else {
            return unknown(WriteError::Unblocked);
        };
        self.await_confirmation(link, offset, confirmed, since)
            .await
    }

    fn push_sets(&mut self, batch: &Invoked, pipe: &mut redis::Pipeline) {
        self.records.at(batch.created);
        let mut key = Vec::with_capacity(64);
        for seq in batch.seqs.iter() {
            key.clear();
            self.records.push_key(seq, &mut key);
            let value = self.records.value(seq);
            pipe.cmd("SET").arg(key.as_slice()).arg(value.as_slice());
        }
    }

    fn push_wait(&self, replicas: usize, pipe: &mut redis::Pipeline) {
        let ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        pipe.cmd("WAIT").arg(replicas).arg(ms);
    }

    /// Waits until every other data node has confirmed `offset` or, by the policy, the Sentinels bear
    /// witness that those who have not can't be promoted. `since`: when the writes were done.
    async fn await_confirmation(
        &mut self,
        link: &mut Link,
        offset: u64,
        mut confirmed: Vec<Confirmed>,
        since: Instant,
    ) -> Attempt {
        loop {
            let others: Vec<SocketAddrV4> = self.others(link.target).collect();
            link.online = self.count_others(link.target, &confirmed);
            let missing = uncovered(&others, offset, &confirmed);
            if missing.is_empty() {
                return Attempt::Acknowledged(Outcome::Replicated);
            }
            if self.policy == Policy::Available {
                // Announced meanwhile, perhaps; the connection is to the same node.
                if let Some(now) = self
                    .discovery
                    .now()
                    .filter(|t| t.address == link.target.address)
                {
                    link.target = now;
                }
                match self.ask_witness(link.target, missing, since).await {
                    Ok(()) => return witnessed_by_a_primary(link).await,
                    Err(NoWitness::OtherPrimary) => {
                        self.discovery.report();
                        return unknown(WriteError::Unblocked);
                    }
                    Err(why) => trace!(?why, "no witness"),
                }
            }
            let mut pipe = redis::pipe();
            if link.online > 0 {
                self.push_wait(link.online, &mut pipe);
            } else {
                sleep(WITNESS_PAUSE).await;
            }
            pipe.cmd("ROLE");
            let values = match link.conn.pipeline(&pipe).await {
                Ok(values) => values,
                Err(error) => return unknown(classify(&error)),
            };
            if let Some(error) = first_error(&values) {
                return unknown(error);
            }
            match values.last().and_then(as_primary) {
                Some((_, now)) => confirmed = now,
                None => return unknown(WriteError::Unblocked),
            }
        }
    }

    async fn ask_witness(
        &self,
        target: Target,
        uncovered: Vec<SocketAddrV4>,
        since: Instant,
    ) -> Result<(), NoWitness> {
        let about = match target.standing {
            Standing::Elected(epoch) => {
                let primary = Elected {
                    address: target.address,
                    epoch,
                };
                About::Elected(Degraded { primary, uncovered })
            }
            Standing::Promoted { over } if uncovered == [over.address] => About::Promoted {
                old: over,
                new: target.address,
            },
            // A node that is neither could be promoted as well as this one was.
            Standing::Promoted { over } => return Err(NoWitness::Promotable(over.address)),
        };
        self.witness.ask(about, since).await
    }
}

/// The testimony was about the primary at the other end of this connection: it has to be one still.
async fn witnessed_by_a_primary(link: &mut Link) -> Attempt {
    match link.conn.role().await {
        Ok(Role::Primary { .. }) => Attempt::Acknowledged(Outcome::Witnessed),
        Ok(_) => unknown(WriteError::Unblocked),
        Err(ClientError::Redis { source, .. }) => unknown(classify(&source)),
        Err(_) => unknown(WriteError::ConnectionLost),
    }
}

/// An attempt that failed after its writes were sent, or had been answered.
fn unknown(error: WriteError) -> Attempt {
    Attempt::Failed(error, Fate::Unknown)
}

/// What became of a batch with an error among its answers: refused as a whole, or perhaps written in part.
fn fate_of(answers: &[Value]) -> Fate {
    let refused = |answer: &Value| match answer {
        Value::ServerError(error) => {
            WriteError::from_code(error.code()).fate() == Fate::FailedForCertain
        }
        _ => false,
    };
    if answers.iter().all(refused) {
        Fate::FailedForCertain
    } else {
        Fate::Unknown
    }
}

/// The first error reply among the answers, as its kind.
fn first_error(values: &[Value]) -> Option<WriteError> {
    values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(WriteError::from_code(error.code())),
        _ => None,
    })
}

/// The offset and the online replicas of a primary; `None` when the answer is not a primary's.
fn as_primary(value: &Value) -> Option<(u64, Vec<Confirmed>)> {
    match Role::from_value(value) {
        Ok(Role::Primary { offset, replicas }) => Some((offset, replicas)),
        _ => None,
    }
}
