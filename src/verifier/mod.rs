//! `halab verify`: reads the records of a ledger back and hands them to the checker.
//!
//! The primary is read, and each replica apart, once it has caught up with what the primary had at the
//! start. Memory stays flat: the ledger is streamed, and only some chunks are on their way at a time.

use std::fmt;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::checker::{Fault, History, Reading, Report, Verdict};
use crate::client::{ClientError, Conn, Connector};
use crate::config::{Lab, Node};
use crate::ledger::{self, Entry, LedgerReader};
use crate::protocol::vote::NoPrimary;
use crate::record::{Batch, RunId, Timestamp, parse_key};
use crate::sentinel::Panel;

/// Keys of one `MGET`.
const CHUNK: usize = 256;
/// Chunks on their way at a time, on as many connections.
const IN_FLIGHT: usize = 4;
/// Limit for an answer: a node that was just started may be slow, but not for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long a replica may take to catch up with what the primary had at the start.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);
/// Keys that one `SCAN` looks at.
const SCAN_COUNT: usize = 1000;

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

/// Reads every record of the ledger back from the primary and its replicas. `progress` is told how many
/// records have been read.
///
/// # Errors
/// When the ledger can't be read, or there is no primary.
pub async fn run(
    lab: &Lab,
    options: &Options,
    stop: &CancellationToken,
    progress: impl Fn(u64),
) -> Result<Verification, VerifyError> {
    let mut reader = LedgerReader::open(&options.ledger)?;
    let mut history = History::read(&mut reader)?;
    for fault in &options.faults {
        history.push_fault(fault.clone());
    }
    let connector = Connector::new(lab, User::Verifier, ANSWER_LIMIT);
    let elected = Panel::new(lab, connector.clone()).ask().await.elect()?;
    let node = lab
        .data_node_at(elected.address)
        .ok_or(VerifyError::Stranger(elected.address))?;
    // Before the read: a replica has to show at least this.
    let offset = offset_of(node, &connector).await;
    let job = Job {
        history: &history,
        options,
        connector,
        stop,
    };
    let begun = Instant::now();
    let primary = job.read(node, &progress).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut replicas = Vec::new();
    for replica in lab.data_nodes.iter().filter(|n| n.name != node.name) {
        replicas.push(job.read_replica(replica, offset).await?);
    }
    let counted = replicas
        .iter()
        .filter(|r| r.promotable)
        .filter_map(|r| r.report.as_ref())
        .map(|report| report.verdict);
    Ok(Verification {
        verdict: Verdict::worst(counted.chain([primary.verdict])),
        records_per_second: history.invoked() as f64 / seconds.max(1e-9),
        primary,
        replicas,
    })
}

async fn offset_of(node: &Node, connector: &Connector) -> u64 {
    match connector.open(node.socket()).await {
        // Unknown: the read below says why.
        Err(_) => 0,
        Ok(mut conn) => conn.replication().await.map_or(0, |info| info.offset),
    }
}

struct Job<'a> {
    history: &'a History,
    options: &'a Options,
    connector: Connector,
    stop: &'a CancellationToken,
}

impl Job<'_> {
    async fn read_replica(&self, node: &Node, offset: u64) -> Result<ReplicaReport, VerifyError> {
        let mut result = ReplicaReport {
            node: node.name.clone(),
            promotable: false,
            report: None,
            not_read: None,
        };
        match self.caught_up(node, offset).await {
            Ok(promotable) => {
                result.promotable = promotable;
                result.report = Some(self.read(node, &|_| {}).await?);
            }
            Err(why) => result.not_read = Some(why),
        }
        Ok(result)
    }

    /// Waits until the replica has processed `offset`; says whether it may be promoted.
    async fn caught_up(&self, node: &Node, offset: u64) -> Result<bool, String> {
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        let mut conn = self
            .connector
            .open(node.socket())
            .await
            .map_err(|e| e.to_string())?;
        loop {
            let info = conn.replication().await.map_err(|e| e.to_string())?;
            if info.link_up && !info.syncing && info.offset >= offset {
                return Ok(info.priority > 0);
            }
            if Instant::now() >= deadline || self.stop.is_cancelled() {
                return Err(format!(
                    "it did not catch up: at offset {} of {offset}, link {}",
                    info.offset,
                    if info.link_up { "up" } else { "down" }
                ));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn read(&self, node: &Node, progress: &impl Fn(u64)) -> Result<Report, VerifyError> {
        let mut reading = Reading::new(self.history, &node.name);
        if let Err(error) = self.read_into(node, &mut reading, progress).await? {
            reading.fail(format!("{}: {error}", node.name));
        }
        Ok(reading.finish())
    }

    /// The outer error ends the verification, the inner one only this reading.
    async fn read_into(
        &self,
        node: &Node,
        reading: &mut Reading<'_>,
        progress: &impl Fn(u64),
    ) -> Result<Result<(), ClientError>, VerifyError> {
        let mut conns = Vec::new();
        for _ in 0..IN_FLIGHT {
            match self.connector.open(node.socket()).await {
                Ok(conn) => conns.push(conn),
                Err(error) => return Ok(Err(error)),
            }
        }
        let conns = &conns;
        let chunks = Chunks::open(&self.options.ledger, self.history.header().run)?;
        let fetched = stream::iter(chunks.enumerate()).map(|(i, chunk)| async move {
            let chunk = chunk?;
            // `i % n` is within the list.
            let values = conns[i % conns.len()]
                .shared_query::<Vec<Option<Vec<u8>>>>(&chunk.command)
                .await;
            Ok::<_, ledger::Error>((chunk.records, values))
        });
        let mut fetched = std::pin::pin!(fetched.buffered(IN_FLIGHT));
        let mut read = 0;
        while let Some(next) = fetched.next().await {
            let (records, values) = next?;
            let values = match values {
                Ok(values) => values,
                Err(error) => return Ok(Err(error)),
            };
            for ((seq, created), value) in records.iter().zip(&values) {
                reading.observe(*seq, *created, value.as_deref());
            }
            read += records.len() as u64;
            progress(read);
            if self.stop.is_cancelled() {
                return Err(VerifyError::Stopped);
            }
        }
        if self.options.scan
            && let Some(conn) = conns.first()
        {
            return Ok(self.scan(conn, reading).await);
        }
        Ok(Ok(()))
    }

    /// Looks at every key of this run for records that the ledger does not know.
    async fn scan(&self, conn: &Conn, reading: &mut Reading<'_>) -> Result<(), ClientError> {
        let run = self.history.header().run;
        let mut cursor = 0_u64;
        loop {
            let mut cmd = redis::cmd("SCAN");
            cmd.arg(cursor)
                .arg("MATCH")
                .arg(run.key_pattern())
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<Vec<u8>>) = conn.shared_query(&cmd).await?;
            for (_, seq) in keys
                .iter()
                .filter_map(|key| parse_key(key))
                .filter(|(r, _)| *r == run)
            {
                if seq >= self.history.invoked() {
                    reading.observe_stray(seq);
                }
            }
            cursor = next;
            if cursor == 0 || self.stop.is_cancelled() {
                return Ok(());
            }
        }
    }
}

/// The records of a ledger in pieces of one `MGET`.
struct Chunks {
    reader: LedgerReader<std::fs::File>,
    records: Batch,
    current: Option<(std::ops::Range<u64>, Timestamp)>,
}

struct Chunk {
    records: Vec<(u64, Timestamp)>,
    command: redis::Cmd,
}

impl Chunks {
    fn open(path: &Path, run: RunId) -> Result<Self, ledger::Error> {
        Ok(Chunks {
            reader: LedgerReader::open(path)?,
            records: Batch::new(run, Timestamp::default()),
            current: None,
        })
    }

    /// The next record, with the time of its creation.
    fn next_record(&mut self) -> Result<Option<(u64, Timestamp)>, ledger::Error> {
        loop {
            if let Some((range, created)) = &mut self.current
                && let Some(seq) = range.next()
            {
                return Ok(Some((seq, *created)));
            }
            match self.reader.next().transpose()? {
                None => return Ok(None),
                Some(Entry::Invoked(batch)) => {
                    self.current = Some((batch.seqs.iter(), batch.created));
                }
                Some(_) => {}
            }
        }
    }
}

impl Iterator for Chunks {
    type Item = Result<Chunk, ledger::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = Chunk {
            records: Vec::with_capacity(CHUNK),
            command: redis::cmd("MGET"),
        };
        let mut key = Vec::with_capacity(64);
        while chunk.records.len() < CHUNK {
            match self.next_record() {
                Ok(Some((seq, created))) => {
                    key.clear();
                    self.records.push_key(seq, &mut key);
                    chunk.command.arg(key.as_slice());
                    chunk.records.push((seq, created));
                }
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!chunk.records.is_empty()).then_some(Ok(chunk))
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
                (None, Some(why)) => write!(f, "\n\nreplica {} was not read: {why}", replica.node)?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}
