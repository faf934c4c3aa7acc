//! Closing a lab: the stop of all its nodes as one act.
//!
//! A replica that has stopped can't know what was acknowledged after it. So before all nodes stop, the primary takes no more
//! writes, every copy is brought level, and a closing mark is written, which comes to the replicas behind all writes. Whoever has
//! it has everything, and can take the role at the next start, whichever other node stays away (`docs/protocol.md`, *Marks*).
//!
//! Writes are refused until the servers end. If they don't, the primary's node takes them again after a minute, and marks that
//! first of all.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis::Value;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use crate::client::{ClientError, Conn, Connector, drawn, set_mark};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Completeness, Copy, Mark};
use crate::protocol::vote::NoPrimary;
use crate::sentinel::Panel;

/// How long they are paused before the mark is written: the pause ends by itself should this process end.
const FIRST_PAUSE_MS: u64 = 3000;
/// So many replicas a closed primary asks for before it takes a write: more than there can be. A pause would hold up the
/// messages of the Sentinels too (`PUBLISH`), and the pings behind them: after `down-after` they would have another promoted.
const MORE_THAN_THERE_CAN_BE: &str = "1000000";
/// Pause between two looks at what the replicas have.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why a lab was not closed. In all cases writes go on as before.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Nobody knows who is primary.
    #[error(
        "nothing was changed: {0}; start the Sentinels that are missing, or stop the nodes as they are: at the next start they \
         compare what they hold"
    )]
    NoPrimary(#[from] NoPrimary),
    /// The primary that is named is not of the lab.
    #[error("the Sentinels name {0}, which is no data node of lab.toml")]
    Stranger(SocketAddrV4),
    /// It has only just become primary, or is none.
    #[error(
        "{0} has not marked its term as primary: a failover is under way; wait for halab status --wait 30s"
    )]
    NotInTerm(String),
    /// The lab is not closed.
    #[error("the lab is not closed: nothing to reopen")]
    NotClosed,
    /// A node could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What closing a lab came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The primary.
    pub primary: String,
    /// The closing mark.
    pub mark: String,
    /// Nodes that have everything: each of them can take the role at the next start.
    pub complete: Vec<String>,
    /// Nodes that have not, or could not be asked. They wait at the next start until one of the others is there.
    pub others: Vec<String>,
}

/// Has a primary take writes, or refuse them (`NOREPLICAS`).
pub fn take_writes(take: bool) -> redis::Cmd {
    let mut cmd = redis::cmd("CONFIG");
    cmd.arg("SET").arg("min-replicas-to-write");
    cmd.arg(if take { "0" } else { MORE_THAN_THERE_CAN_BE });
    // Of 0, the other would be without effect.
    cmd.arg("min-replicas-max-lag").arg("10");
    cmd
}

/// Closes the lab: ends writes, brings all copies level, and marks them. Replicas that are not level within `limit` are left
/// out.
///
/// # Errors
/// When nothing was closed; then writes go on.
pub async fn close(
    lab: &Lab,
    connector: &Connector,
    limit: Duration,
) -> Result<Closed, CloseError> {
    let elected = Panel::new(lab, connector.clone()).ask().await.elect()?;
    let node = lab
        .data_node_at(elected.address)
        .ok_or(CloseError::Stranger(elected.address))?;
    let mut primary = connector.open(node.socket()).await?;
    let mark = match mark_closed(&mut primary, node, Some(elected.epoch)).await {
        Ok(mark) => mark,
        // It may have been done, and only the answer was late.
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
    let (info, copy) = primary.holding().await.ok()?;
    let mark = copy.as_ref().and_then(Copy::mark)?;
    (info.is_primary && mark.state == Completeness::Closed).then(|| mark.clone())
}

/// Ends writes on the primary `node`, and marks its copy as the last of its term.
///
/// # Errors
/// When it is not closed; then writes go on.
pub async fn mark_closed(
    primary: &mut Conn,
    node: &Node,
    epoch: Option<u64>,
) -> Result<Mark, CloseError> {
    // First, so that the mark that is read is the last one.
    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(FIRST_PAUSE_MS).arg("WRITE");
    primary.query::<Value>(&pause).await?;
    let closed = next_mark(primary, node, epoch).await;
    let done = match closed {
        Ok(mark) => {
            // A pause holds up its own client too. No write comes between the two of a transaction.
            let mut pipe = redis::pipe();
            pipe.cmd("CLIENT").arg("UNPAUSE");
            pipe.cmd("MULTI");
            pipe.add_command(set_mark(&mark));
            pipe.add_command(take_writes(false));
            pipe.cmd("EXEC");
            primary
                .all(&pipe)
                .await
                .map(|_| mark)
                .map_err(CloseError::from)
        }
        Err(error) => Err(error),
    };
    if done.is_err() {
        // Where even that fails the server is gone, or the pause ends by itself.
        let mut resume = redis::cmd("CLIENT");
        resume.arg("UNPAUSE");
        if let Err(error) = primary.query::<Value>(&resume).await {
            debug!(%error, "cannot end the pause");
        }
    }
    done
}

async fn next_mark(
    primary: &mut Conn,
    node: &Node,
    epoch: Option<u64>,
) -> Result<Mark, CloseError> {
    let (info, copy) = primary.holding().await?;
    let mark = copy.as_ref().and_then(Copy::mark);
    match mark {
        Some(mark) if info.is_primary && mark.counts_for(&node.name, &info.replication_id) => {
            Ok(mark.next(epoch.or(mark.epoch), Completeness::Closed))
        }
        _ => Err(CloseError::NotInTerm(node.name.clone())),
    }
}

/// Waits until every other data node has `mark`, or has ended, for `limit` at most.
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
        if has(other, connector, mark, deadline).await {
            complete.push(other.name.clone());
        } else {
            others.push(other.name.clone());
        }
    }
    info!(primary = %node.name, complete = complete.join(", "), "closed: no more writes are taken, and these have everything");
    Closed {
        primary: node.name.clone(),
        mark: mark.to_string(),
        complete,
        others,
    }
}

/// Whether the node has the mark, by the deadline. One that can't be asked has not.
async fn has(node: &Node, connector: &Connector, mark: &Mark, deadline: Instant) -> bool {
    let Ok(mut conn) = connector.open(node.socket()).await else {
        return false;
    };
    loop {
        match conn.holding().await {
            Ok((_, copy)) if copy.as_ref().and_then(Copy::mark) == Some(mark) => return true,
            // Without a link to it there is nothing to wait for.
            Ok((info, _)) if info.link_up || info.syncing || info.loading => {}
            Ok(_) | Err(_) => return false,
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Lets a closed lab go on.
///
/// # Errors
/// When it is not closed, or can't be reached.
pub async fn reopen(lab: &Lab, connector: &Connector) -> Result<String, CloseError> {
    let elected = Panel::new(lab, connector.clone()).ask().await.elect()?;
    let node = lab
        .data_node_at(elected.address)
        .ok_or(CloseError::Stranger(elected.address))?;
    let mut primary = connector.open(node.socket()).await?;
    let (info, copy) = primary.holding().await?;
    let mark = copy.as_ref().and_then(Copy::mark);
    let Some(mark) = mark.filter(|m| info.is_primary && m.state == Completeness::Closed) else {
        return Err(CloseError::NotClosed);
    };
    let open = mark.reopen(&info.replication_id, drawn());
    write_reopening(&mut primary, &open).await?;
    Ok(node.name.clone())
}

/// Has a closed primary take writes again and writes the mark with which it goes on, in one go. No transaction: a mark is not
/// queued while writes are refused.
///
/// # Errors
/// When the primary can't be reached, or refuses.
pub async fn write_reopening(primary: &mut Conn, mark: &Mark) -> Result<(), ClientError> {
    let mut pipe = redis::pipe();
    pipe.add_command(take_writes(true));
    pipe.add_command(set_mark(mark));
    primary.all(&pipe).await.map(drop)
}
