//! `halab backup`: a copy of all data of a running lab, with its mark and checksums.
//!
//! The guarantee: *everything acknowledged before the time that the backup states is in it*. The
//! reasons:
//!
//! 1. At that time the primary reports that its term is confirmed, and its offset. A majority of
//!    the Sentinels, asked afterwards, names it at the same epoch as before. So it was the primary
//!    at that time, and has everything acknowledged by then.
//! 2. A data node, a replica if one is in sync, sends a copy at an offset of the same history. The
//!    copy counts if its offset is not lower than the primary's.
//! 3. The mark in the copy is of the primary's term, and not earlier than the one that was read.
//!
//! If one of these does not hold, as during a failover, everything is asked again. Nothing on the
//! nodes is changed. The backup is written where the command runs, and appears in one step (see
//! [`folder`]).

pub mod folder;
pub mod manifest;
pub mod mark_finder;
pub mod rdb;

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::access::User;
use crate::client::{ClientError, Connector, SnapshotError};
use crate::config::{Lab, Node};
use crate::protocol::copy::{DataCopy, Mark};
use crate::protocol::vote::NoPrimary;
use crate::sentinel::SentinelClients;

use folder::{DATA, DataWriter, FolderError, PartialBackup};
use manifest::{DataFile, Manifest, SCHEMA};
use rdb::{Content, Damage};

/// Shortest limit of a connect or an answer; the lab's own may be longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The number of attempts with one node before the next one is used.
const ATTEMPTS_PER_NODE: usize = 5;
/// The number of parts that wait to be written. A slow disk thus slows the server's child process,
/// and uses no memory here.
const QUEUED_PARTS: usize = 16;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is not a data node with that name.
    #[error("no data node \"{asked}\" in lab.toml; its data nodes are {known}")]
    Unknown {
        /// The given name.
        asked: String,
        /// The existing names.
        known: String,
    },
    /// The time limit is over.
    #[error("no backup within {limit:?}: {last}")]
    NotInTime {
        /// The limit.
        limit: Duration,
        /// The last obstacle.
        last: Obstacle,
    },
    /// A node's copy is unusable, and another copy would be as well.
    #[error("the copy of {node} cannot be used: {damage}")]
    Unusable {
        /// The node.
        node: String,
        /// Why.
        damage: Damage,
    },
    /// The backup cannot be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A signal stopped the command.
    #[error("stopped before the backup was complete; partial files were removed")]
    Stopped,
    /// A task of this program failed.
    #[error("a task of the backup failed: {0}")]
    Task(#[from] JoinError),
}

/// The reason that prevents a backup, temporarily or permanently.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// The copy took too long.
    #[error("the copy was not complete; allow more time with --timeout")]
    Time,
    /// There is no elected primary.
    #[error("{0}; see halab status")]
    NoPrimary(#[from] NoPrimary),
    /// The named primary is not in the lab.
    #[error("the Sentinels name {0}, which is not a data node of lab.toml")]
    Stranger(SocketAddrV4),
    /// It has just become primary, or is not primary.
    #[error("{0} has not marked its term as primary: a failover is in progress")]
    NotInTerm(String),
    /// The primary was replaced meanwhile.
    #[error("the primary changed during the question")]
    Changed,
    /// A node cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node does not send a complete copy.
    #[error("{0}; see halab status")]
    Snapshot(#[from] SnapshotError),
    /// The node is not in sync.
    #[error(
        "{node} does not have everything acknowledged: its link to the primary is slow or down"
    )]
    Behind {
        /// The node.
        node: String,
    },
    /// The copy does not contain what it should.
    #[error("the copy of {node} cannot be used: {why}")]
    Unusable {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
}

/// The source and the target of a backup.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// The folder in which the backup's folder is created.
    pub into: PathBuf,
    /// The data node to copy from; by default a replica in sync, or the primary if there is none.
    pub from: Option<String>,
    /// The time limit.
    pub limit: Duration,
}

/// A completed backup.
#[derive(Debug, Clone)]
pub struct FinishedBackup {
    /// Its folder.
    pub folder: PathBuf,
    /// Its description.
    pub manifest: Manifest,
}

/// The state of the primary at one time.
#[derive(Debug)]
struct Boundary {
    at: DateTime<Utc>,
    primary: Node,
    history: String,
    offset: u64,
    mark: Mark,
    /// Replicas with an online link, the most advanced first.
    replicas: Vec<Node>,
}

/// Makes a backup of the lab.
///
/// # Errors
/// Why there is none. Partial files are removed.
pub async fn take(
    lab: &Lab,
    request: &BackupRequest,
    stop: &CancellationToken,
) -> Result<FinishedBackup, BackupError> {
    let given = match &request.from {
        None => None,
        Some(name) => Some(data_node(lab, name)?),
    };
    let run = BackupRun {
        lab,
        reader: Connector::new(lab, User::Verifier).with_min_limit(ANSWER_LIMIT),
        // With the rights of a replica, which may read everything and do nothing else.
        copier: Connector::new(lab, User::Replication).with_min_limit(ANSWER_LIMIT),
        given,
    };
    let sentinels = SentinelClients::new(lab, run.reader.clone());
    let partial = PartialBackup::begin(&request.into, &lab.primary_name, Utc::now())?;
    let deadline = Instant::now() + request.limit;
    let mut last = Obstacle::Time;
    let mut attempts = 0..;
    loop {
        // The time limit ends before the numbers do.
        let number = attempts.next().unwrap_or_default();
        let attempt = timeout_at(deadline, run.attempt(&sentinels, &partial, number));
        let result = tokio::select! {
            result = attempt => result,
            () = stop.cancelled() => return Err(BackupError::Stopped),
        };
        match result {
            Ok(Ok(manifest)) => {
                let folder = partial.finish(&manifest)?;
                return Ok(FinishedBackup { folder, manifest });
            }
            Ok(Err(AttemptError::Final(error))) => return Err(error),
            Ok(Err(AttemptError::Retry(obstacle))) => {
                debug!(%obstacle, "no copy yet");
                last = obstacle;
            }
            Err(_) => {}
        }
        if Instant::now() + RETRY_PAUSE >= deadline {
            let limit = request.limit;
            return Err(BackupError::NotInTime { limit, last });
        }
        sleep(RETRY_PAUSE).await;
    }
}

fn data_node(lab: &Lab, name: &str) -> Result<Node, BackupError> {
    let found = lab.data_nodes.iter().find(|node| node.name == name);
    found.cloned().ok_or_else(|| BackupError::Unknown {
        asked: name.to_owned(),
        known: lab
            .data_nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// How an attempt failed.
enum AttemptError {
    /// No other attempt would succeed.
    Final(BackupError),
    /// Another attempt may succeed.
    Retry(Obstacle),
}

impl<E: Into<Obstacle>> From<E> for AttemptError {
    fn from(error: E) -> Self {
        AttemptError::Retry(error.into())
    }
}

struct BackupRun<'a> {
    lab: &'a Lab,
    reader: Connector,
    copier: Connector,
    given: Option<Node>,
}

impl BackupRun<'_> {
    /// The state of the primary now.
    async fn boundary(&self, sentinels: &SentinelClients) -> Result<Boundary, Obstacle> {
        let before = sentinels.ask().await.elect()?;
        let primary = self.lab.data_node_at(before.address);
        let primary = primary.ok_or(Obstacle::Stranger(before.address))?;
        let mut conn = self.reader.open(primary.socket()).await?;
        let at = Utc::now();
        let (info, copy) = conn.info_and_copy().await?;
        // A primary that was deposed unnoticed still reports to be primary; the Sentinels, asked
        // after it, do not name it.
        if sentinels.ask().await.elect()? != before {
            return Err(Obstacle::Changed);
        }
        let mark = copy.as_ref().and_then(DataCopy::mark);
        let mark =
            mark.filter(|m| info.is_primary && m.counts_for(&primary.name, &info.replication_id));
        let mark = mark.ok_or_else(|| Obstacle::NotInTerm(primary.name.clone()))?;
        let mut online = info.online.clone();
        online.sort_by_key(|replica| std::cmp::Reverse(replica.offset));
        let replicas = online
            .iter()
            .filter_map(|r| self.lab.data_node_at(r.address));
        Ok(Boundary {
            at,
            primary: primary.clone(),
            offset: info.offset,
            mark: mark.clone(),
            replicas: replicas.cloned().collect(),
            history: info.replication_id,
        })
    }

    /// The node to copy: a replica, which spares the memory and processor of the primary. If it
    /// cannot send a copy, because it is not in sync or is loading its data, the next node is
    /// used after a few attempts.
    fn source<'n>(&'n self, boundary: &'n Boundary, attempt: usize) -> &'n Node {
        if let Some(given) = &self.given {
            return given;
        }
        let mut candidates = boundary.replicas.iter().chain([&boundary.primary]);
        let count = boundary.replicas.len() + 1;
        let turn = attempt / ATTEMPTS_PER_NODE % count;
        candidates.nth(turn).unwrap_or(&boundary.primary)
    }

    async fn attempt(
        &self,
        sentinels: &SentinelClients,
        partial: &PartialBackup,
        attempt: usize,
    ) -> Result<Manifest, AttemptError> {
        let boundary = self.boundary(sentinels).await?;
        let node = self.source(&boundary, attempt);
        let (info, _) = self
            .reader
            .open(node.socket())
            .await?
            .info_and_copy()
            .await?;
        let mut snapshot = self.copier.snapshot(node.socket()).await?;
        let (history, offset) = (snapshot.history.clone(), snapshot.offset);
        if history != boundary.history || offset < boundary.offset {
            let node = node.name.clone();
            return Err(Obstacle::Behind { node }.into());
        }
        info!(node = %node.name, offset, "copying");
        let (to, parts) = mpsc::channel(QUEUED_PARTS);
        let data = partial
            .data()
            .map_err(|error| AttemptError::Final(error.into()))?;
        let writing = spawn_blocking(move || write(data, parts));
        let mut received = Ok(());
        loop {
            match snapshot.next().await {
                // The writing task has ended; its result states the reason.
                Ok(Some(part)) => {
                    if to.send(part).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    received = Err(error);
                    break;
                }
            }
        }
        drop(to);
        let written = writing
            .await
            .map_err(|error| AttemptError::Final(error.into()))?;
        let (file, content) = written.map_err(|error| AttemptError::Final(error.into()))?;
        received?;
        let unusable = |why: String| Obstacle::Unusable {
            node: node.name.clone(),
            why,
        };
        let content = content.map_err(|damage| {
            if damage.is_permanent() {
                let node = node.name.clone();
                AttemptError::Final(BackupError::Unusable { node, damage })
            } else {
                unusable(damage.to_string()).into()
            }
        })?;
        let mark = &content.mark;
        if mark.term != boundary.mark.term || mark.count < boundary.mark.count {
            return Err(unusable(format!(
                "it has {mark}, but the primary had {}",
                boundary.mark
            ))
            .into());
        }
        Ok(Manifest {
            schema: SCHEMA,
            made_by: concat!("halab ", env!("CARGO_PKG_VERSION")).into(),
            lab: mark.lab.clone(),
            primary_name: self.lab.primary_name.clone(),
            complete_before: boundary.at,
            ended: Utc::now(),
            node: node.name.clone(),
            from_primary: node.name == boundary.primary.name,
            primary: boundary.primary.name,
            history,
            offset_before: boundary.offset,
            offset,
            holds: mark.to_string(),
            mark: content.mark,
            server: info.version,
            rdb_version: content.version,
            files: vec![file],
        })
    }
}

type WriteResult = Result<(DataFile, Result<Content, Damage>), FolderError>;

/// Writes the parts, in a separate thread.
fn write(mut data: DataWriter, mut parts: mpsc::Receiver<Bytes>) -> WriteResult {
    while let Some(part) = parts.blocking_recv() {
        data.push(&part)?;
    }
    data.finish(DATA)
}

/// Checks that a backup is complete, by its checksums and by that of the data.
///
/// # Errors
/// If it cannot be read, or is damaged.
pub fn check(folder: &Path) -> Result<Manifest, FolderError> {
    folder::check(folder)
}
