//! `halab backup`: a copy of all that the lab holds, with its mark and checksums, of a lab that serves.
//!
//! What it promises: *everything that was acknowledged before the moment that the backup names is in it*. How that is known:
//!
//! 1. The primary says, at that moment, that it is one whose term counts, and at which offset of its history it is. A majority of the
//!    Sentinels, asked after that, names it at the same epoch as before. So it was the primary at that moment, and has
//!    everything that was acknowledged by then.
//! 2. A data node, a replica if one is in sync, gives a copy of what it holds at an offset of that same history. The copy counts when that
//!    offset is no less than the primary's.
//! 3. The mark in the copy is of the primary's term, and no earlier than the one that was read.
//!
//! Where one of these does not hold, as in a failover, all is asked again. Nothing on the nodes is changed, and the backup is made where the
//! command runs: [`folder`] has how it appears in one step.

pub mod folder;
pub mod manifest;
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
use crate::protocol::copy::{Copy, Mark};
use crate::protocol::vote::NoPrimary;
use crate::sentinel::Panel;

use folder::{Copied, DATA, Draft, FolderError};
use manifest::{DataFile, Manifest, SCHEMA};
use rdb::{Content, Damage};

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Pause before all is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// So many attempts are made with one node before the next one is asked.
const TURNS: usize = 5;
/// Parts that wait to be written. A slow disk holds up the server's child, not its memory here.
const WAITING: usize = 16;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No node of that name holds data.
    #[error("no data node \"{asked}\" in lab.toml; there are: {known}")]
    Unknown {
        /// The name asked for.
        asked: String,
        /// The names that exist.
        known: String,
    },
    /// It did not come about in time.
    #[error("no backup within {limit:?}: {last}")]
    NotInTime {
        /// The time that it had.
        limit: Duration,
        /// What stood in the way last.
        last: Obstacle,
    },
    /// A node's copy is of no use, and the next one would be none either.
    #[error("the copy of {node} is of no use: {damage}")]
    Useless {
        /// The node.
        node: String,
        /// Why.
        damage: Damage,
    },
    /// It can't be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A signal.
    #[error("stopped before the backup was complete: there is none")]
    Stopped,
    /// A part of this program failed.
    #[error("a part of the backup failed: {0}")]
    Task(#[from] JoinError),
}

/// What stands in the way of a backup, for a moment or for good.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// It took longer than it might.
    #[error("the copy was not complete yet; give it more time with --limit")]
    Time,
    /// Nobody knows who is primary.
    #[error("{0}; see halab status")]
    NoPrimary(#[from] NoPrimary),
    /// The primary that is named is not of the lab.
    #[error("the Sentinels name {0}, which is no data node of lab.toml")]
    Stranger(SocketAddrV4),
    /// It has only just become primary, or is none.
    #[error("{0} has not marked its term as primary: a failover is under way")]
    NotInTerm(String),
    /// The primary was replaced meanwhile.
    #[error("the primary changed while it was asked")]
    Changed,
    /// A node can't be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node gives no copy, or not all of it.
    #[error("{0}; see halab status")]
    Snapshot(#[from] SnapshotError),
    /// The node is not in sync.
    #[error("{node} has not all that was acknowledged: its link to the primary is slow or down")]
    Behind {
        /// The node.
        node: String,
    },
    /// What came is not what the node has to hold.
    #[error("the copy of {node} is of no use: {why}")]
    Useless {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
}

/// What is to be backed up, and where to.
#[derive(Debug, Clone)]
pub struct Order {
    /// The folder in which the backup's own folder is made.
    pub into: PathBuf,
    /// The data node to copy from; otherwise a replica in sync, or the primary where there is none.
    pub from: Option<String>,
    /// How long it may take.
    pub limit: Duration,
}

/// A backup that was made.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is.
    pub manifest: Manifest,
}

/// What the primary had at a moment.
#[derive(Debug)]
struct Boundary {
    at: DateTime<Utc>,
    primary: Node,
    history: String,
    offset: u64,
    mark: Mark,
    /// Replicas whose link is online, the most advanced one first.
    replicas: Vec<Node>,
}

/// Makes a backup of the lab.
///
/// # Errors
/// Why there is none; what was begun is removed.
pub async fn take(
    lab: &Lab,
    order: &Order,
    stop: &CancellationToken,
) -> Result<Taken, BackupError> {
    let given = match &order.from {
        None => None,
        Some(name) => Some(data_node(lab, name)?),
    };
    let taking = Taking {
        lab,
        reader: Connector::new(lab, User::Verifier, ANSWER_LIMIT),
        // The rights of a replica: it may read all that there is, and nothing else.
        copier: Connector::new(lab, User::Replication, ANSWER_LIMIT),
        given,
    };
    let panel = Panel::new(lab, taking.reader.clone());
    let draft = Draft::begin(&order.into, &lab.primary_name, Utc::now())?;
    let deadline = Instant::now() + order.limit;
    let mut last = Obstacle::Time;
    let mut attempts = 0..;
    loop {
        // There is less time than numbers.
        let number = attempts.next().unwrap_or_default();
        let attempt = timeout_at(deadline, taking.attempt(&panel, &draft, number));
        let result = tokio::select! {
            result = attempt => result,
            () = stop.cancelled() => return Err(BackupError::Stopped),
        };
        match result {
            Ok(Ok(manifest)) => {
                let folder = draft.finish(&manifest)?;
                return Ok(Taken { folder, manifest });
            }
            Ok(Err(Failed::For(error))) => return Err(error),
            Ok(Err(Failed::Yet(obstacle))) => {
                debug!(%obstacle, "no copy yet");
                last = obstacle;
            }
            Err(_) => {}
        }
        if Instant::now() + AGAIN >= deadline {
            let limit = order.limit;
            return Err(BackupError::NotInTime { limit, last });
        }
        sleep(AGAIN).await;
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
enum Failed {
    /// For good.
    For(BackupError),
    /// The next one may succeed.
    Yet(Obstacle),
}

impl<E: Into<Obstacle>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed::Yet(error.into())
    }
}

struct Taking<'a> {
    lab: &'a Lab,
    reader: Connector,
    copier: Connector,
    given: Option<Node>,
}

impl Taking<'_> {
    /// What the primary has now.
    async fn boundary(&self, panel: &Panel) -> Result<Boundary, Obstacle> {
        let before = panel.ask().await.elect()?;
        let primary = self.lab.data_node_at(before.address);
        let primary = primary.ok_or(Obstacle::Stranger(before.address))?;
        let mut conn = self.reader.open(primary.socket()).await?;
        let at = Utc::now();
        let (info, copy) = conn.holding().await?;
        // One that was deposed unseen says that it is primary all the same; the Sentinels, asked after it, don't.
        if panel.ask().await.elect()? != before {
            return Err(Obstacle::Changed);
        }
        let mark = copy.as_ref().and_then(Copy::mark);
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

    /// The node to copy: a replica, so that the primary's memory and processor are left to those who write. One that can't give a copy,
    /// for it is not in sync or loads its data, has its turns.
    fn source<'n>(&'n self, boundary: &'n Boundary, attempt: usize) -> &'n Node {
        if let Some(given) = &self.given {
            return given;
        }
        let mut candidates = boundary.replicas.iter().chain([&boundary.primary]);
        let count = boundary.replicas.len() + 1;
        let turn = attempt / TURNS % count;
        candidates.nth(turn).unwrap_or(&boundary.primary)
    }

    async fn attempt(
        &self,
        panel: &Panel,
        draft: &Draft,
        attempt: usize,
    ) -> Result<Manifest, Failed> {
        let boundary = self.boundary(panel).await?;
        let node = self.source(&boundary, attempt);
        let (info, _) = self.reader.open(node.socket()).await?.holding().await?;
        let mut snapshot = self.copier.snapshot(node.socket()).await?;
        let (history, offset) = (snapshot.history.clone(), snapshot.offset);
        if history != boundary.history || offset < boundary.offset {
            let node = node.name.clone();
            return Err(Obstacle::Behind { node }.into());
        }
        info!(node = %node.name, offset, "copying");
        let (to, parts) = mpsc::channel(WAITING);
        let data = draft.data().map_err(|error| Failed::For(error.into()))?;
        let writing = spawn_blocking(move || write(data, parts));
        let mut received = Ok(());
        loop {
            match snapshot.next().await {
                // Whoever writes has ended; why, it says itself.
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
        let written = writing.await.map_err(|error| Failed::For(error.into()))?;
        let (file, content) = written.map_err(|error| Failed::For(error.into()))?;
        received?;
        let useless = |why: String| Obstacle::Useless {
            node: node.name.clone(),
            why,
        };
        let content = content.map_err(|damage| {
            if damage.stays() {
                let node = node.name.clone();
                Failed::For(BackupError::Useless { node, damage })
            } else {
                useless(damage.to_string()).into()
            }
        })?;
        let mark = &content.mark;
        if mark.term != boundary.mark.term || mark.count < boundary.mark.count {
            return Err(useless(format!(
                "it holds {mark}, and the primary held {}",
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

type Written = Result<(DataFile, Result<Content, Damage>), FolderError>;

/// Writes what comes, in a thread of its own.
fn write(mut data: Copied, mut parts: mpsc::Receiver<Bytes>) -> Written {
    while let Some(part) = parts.blocking_recv() {
        data.push(&part)?;
    }
    data.finish(DATA)
}

/// Checks a backup: that it is whole, by its checksums and by the data's own.
///
/// # Errors
/// When it can't be read, or is damaged.
pub fn check(folder: &Path) -> Result<Manifest, FolderError> {
    folder::check(folder)
}
