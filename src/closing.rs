//! Closing a lab: all its nodes are stopped as one act.
//!
//! A stopped replica cannot know what is acknowledged later. So before all nodes stop, the primary
//! refuses writes, every copy is brought level, and a closing mark is written, which reaches the
//! replicas behind all writes. Each node with that mark has everything, and can take the role at
//! the next start, whichever other node is missing (`docs/protocol.md`, *Marks*).
//!
//! Writes are refused until the servers end. If they do not end, the primary's node accepts writes
//! again after a minute, and begins with a mark that says so.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis::Value;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use crate::client::{ClientError, Conn, Connector, random_ids, set_mark};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Completeness, DataCopy, Mark};
use crate::protocol::vote::NoPrimary;
use crate::sentinel::SentinelClients;

/// How long writes are paused before the mark is written. The pause ends by itself if this process
/// ends.
const PAUSE_LIMIT_MS: u64 = 3000;
/// The number of replicas that a closed primary requires for a write: more than can exist. A pause
/// would also hold up the Sentinels' messages (`PUBLISH`) and the pings behind them, and after
/// `down-after` they would promote another node.
const MORE_REPLICAS_THAN_POSSIBLE: &str = "1000000";
/// Pause between two observations of the replicas.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Why a lab was not closed. Writes continue as before.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// There is no elected primary.
    #[error(
        "nothing was changed: {0}; start the missing Sentinels, or stop the nodes without closing: at the next start they \
         compare their copies"
    )]
    NoPrimary(#[from] NoPrimary),
    /// The named primary is not in the lab.
    #[error(
        "the Sentinels name {0}, which is not a data node of lab.toml; check which servers run there"
    )]
    Stranger(SocketAddrV4),
    /// It has just become primary, or is not primary.
    #[error(
        "{0} has not marked its term as primary: a failover is in progress; wait with halab status --wait 30s"
    )]
    NotInTerm(String),
    /// The lab is not closed.
    #[error("the lab is not closed: nothing to reopen")]
    NotClosed,
    /// A node could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The result of closing a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The primary.
    pub primary: String,
    /// The closing mark.
    pub mark: String,
    /// Nodes that have everything: each of them can take the role at the next start.
    pub complete: Vec<String>,
    /// Nodes that do not have everything, or could not be asked. At the next start they wait for
    /// one of the others.
    pub others: Vec<String>,
}

/// The command by which a primary accepts writes, or refuses them (`NOREPLICAS`).
pub fn accept_writes(accept: bool) -> redis::Cmd {
    let mut cmd = redis::cmd("CONFIG");
    cmd.arg("SET").arg("min-replicas-to-write");
    cmd.arg(if accept {
        "0"
    } else {
        MORE_REPLICAS_THAN_POSSIBLE
    });
    // With 0 here the other setting would have no effect.
    cmd.arg("min-replicas-max-lag").arg("10");
    cmd
}

/// Closes the lab: stops writes, brings all copies level, and marks them. Replicas that are not
/// level within `limit` are listed as such.
///
/// # Errors
/// If nothing was closed; then writes continue.
pub async fn close(
    lab: &Lab,
    connector: &Connector,
    limit: Duration,
) -> Result<Closed, CloseError> {
    let elected = SentinelClients::new(lab, connector.clone())
        .ask()
        .await
        .elect()?;
    let node = lab
        .data_node_at(elected.address)
        .ok_or(CloseError::Stranger(elected.address))?;
    let mut primary = connector.open(node.socket()).await?;
    let mark = match mark_closed(&mut primary, node, Some(elected.epoch)).await {
        Ok(mark) => mark,
        // It may have been written, and only the answer was late.
        Err(error) => match closing_mark(connector, node).await {
            Some(mark) => mark,
            None => return Err(error),
        },
    };
    Ok(wait_level(lab, connector, node, &mark, limit).await)
}

/// The closing mark of the primary `node`, if it has one.
async fn closing_mark(connector: &Connector, node: &Node) -> Option<Mark> {
    let mut primary = connector.open(node.socket()).await.ok()?;
    let (info, copy) = primary.info_and_copy().await.ok()?;
    let mark = copy.as_ref().and_then(DataCopy::mark)?;
    (info.is_primary && mark.state == Completeness::Closed).then(|| mark.clone())
}

/// Stops writes on the primary `node`, and writes the last mark of its term.
///
/// # Errors
/// If it is not closed; then writes continue.
pub async fn mark_closed(
    primary: &mut Conn,
    node: &Node,
    epoch: Option<u64>,
) -> Result<Mark, CloseError> {
    // First, so that the mark that is read is the last one.
    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(PAUSE_LIMIT_MS).arg("WRITE");
    primary.query::<Value>(&pause).await?;
    let closed = next_mark(primary, node, epoch).await;
    let result = match closed {
        Ok(mark) => {
            // A pause also holds up this client. No write can come between the commands of a
            // transaction.
            let mut pipe = redis::pipe();
            pipe.cmd("CLIENT").arg("UNPAUSE");
            pipe.cmd("MULTI");
            pipe.add_command(set_mark(&mark));
            pipe.add_command(accept_writes(false));
            pipe.cmd("EXEC");
            primary
                .all(&pipe)
                .await
                .map(|_| mark)
                .map_err(CloseError::from)
        }
        Err(error) => Err(error),
    };
    if result.is_err() {
        // If this fails too, the server is gone, or the pause ends by itself.
        let mut resume = redis::cmd("CLIENT");
        resume.arg("UNPAUSE");
        if let Err(error) = primary.query::<Value>(&resume).await {
            debug!(%error, "cannot end the pause");
        }
    }
    result
}

async fn next_mark(
    primary: &mut Conn,
    node: &Node,
    epoch: Option<u64>,
) -> Result<Mark, CloseError> {
    let (info, copy) = primary.info_and_copy().await?;
    let mark = copy.as_ref().and_then(DataCopy::mark);
    match mark {
        Some(mark) if info.is_primary && mark.counts_for(&node.name, &info.replication_id) => {
            Ok(mark.next(epoch.or(mark.epoch), Completeness::Closed))
        }
        _ => Err(CloseError::NotInTerm(node.name.clone())),
    }
}

/// Waits until every other data node has `mark` or has ended, at most for `limit`.
pub async fn wait_level(
    lab: &Lab,
    connector: &Connector,
    node: &Node,
    mark: &Mark,
    limit: Duration,
) -> Closed {
    let deadline = Instant::now() + limit;
    let mut complete = vec![node.name.clone()];
    let mut others = Vec::new();
    for other in lab.data_nodes.iter().filter(|n| n.name != node.name) {
        if has_mark(other, connector, mark, deadline).await {
            complete.push(other.name.clone());
        } else {
            others.push(other.name.clone());
        }
    }
    info!(primary = %node.name, complete = complete.join(", "), "closed: writes are refused, and these nodes have everything");
    Closed {
        primary: node.name.clone(),
        mark: mark.to_string(),
        complete,
        others,
    }
}

/// Whether the node has the mark by the deadline. A node that cannot be asked does not.
async fn has_mark(node: &Node, connector: &Connector, mark: &Mark, deadline: Instant) -> bool {
    let Ok(mut conn) = connector.open(node.socket()).await else {
        return false;
    };
    loop {
        match conn.info_and_copy().await {
            Ok((_, copy)) if copy.as_ref().and_then(DataCopy::mark) == Some(mark) => return true,
            // Without a link it cannot receive the mark.
            Ok((info, _)) if info.link_up || info.syncing || info.loading => {}
            Ok(_) | Err(_) => return false,
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Reopens a closed lab.
///
/// # Errors
/// If it is not closed, or cannot be reached.
pub async fn reopen(lab: &Lab, connector: &Connector) -> Result<String, CloseError> {
    let elected = SentinelClients::new(lab, connector.clone())
        .ask()
        .await
        .elect()?;
    let node = lab
        .data_node_at(elected.address)
        .ok_or(CloseError::Stranger(elected.address))?;
    let mut primary = connector.open(node.socket()).await?;
    let (info, copy) = primary.info_and_copy().await?;
    let mark = copy.as_ref().and_then(DataCopy::mark);
    let Some(mark) = mark.filter(|m| info.is_primary && m.state == Completeness::Closed) else {
        return Err(CloseError::NotClosed);
    };
    let open = mark.reopen(&info.replication_id, random_ids());
    write_reopening(&mut primary, &open).await?;
    Ok(node.name.clone())
}

/// Makes a closed primary accept writes again and writes its next mark, in one batch. This is no
/// transaction: a transaction with a write is rejected while writes are refused.
///
/// # Errors
/// If the primary cannot be reached, or refuses.
pub async fn write_reopening(primary: &mut Conn, mark: &Mark) -> Result<(), ClientError> {
    let mut pipe = redis::pipe();
    pipe.add_command(accept_writes(true));
    pipe.add_command(set_mark(mark));
    primary.all(&pipe).await.map(drop)
}
