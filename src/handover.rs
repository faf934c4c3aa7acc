//! A planned handover: another data node becomes primary without a failed write.
//!
//! A failover called by hand (`SENTINEL FAILOVER`) on a healthy lab loses what is written between the
//! promotion and the demotion of the old primary. So writes are paused one Sentinel tick before the
//! promotion, and the old primary becomes a replica of the new one as soon as that takes writes, long
//! before the Sentinels announce it. Steps and reasons: `docs/protocol.md`.

use std::net::SocketAddrV4;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use crate::client::{ClientError, Conn, Connector, Role};
use crate::config::{Lab, Node};
use crate::protocol::vote::NoPrimary;
use crate::sentinel::{Event, Panel, WAITING, follow_events};

/// The event that comes one tick before the promotion.
const PAUSE_AT: &str = "+failover-state-send-slaveof-noone";
/// How long writes are paused at most: the pause ends by itself should this process die.
const PAUSE_MS: u64 = 3000;
/// How long the promotion may take.
const PROMOTION_LIMIT: Duration = Duration::from_secs(3);
/// How long the Sentinels may take to agree afterwards.
const AGREE_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two looks while writes are paused.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Why there was no handover. In all cases the lab is as safe as before.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Nobody knows who is primary.
    #[error("no primary to hand over from: {0}")]
    NoPrimary(#[from] NoPrimary),
    /// The primary that is named is not of the lab.
    #[error("the Sentinels name {0}, which is no data node of lab.toml")]
    Stranger(SocketAddrV4),
    /// Nobody can take over.
    #[error(
        "no other data node is in sync and promotable: see halab status, and wait until one is"
    )]
    NobodyReady,
    /// The Sentinels refused.
    #[error("no Sentinel takes the failover: {0}")]
    Refused(String),
    /// The promotion did not come.
    #[error("no other node was promoted within {PROMOTION_LIMIT:?}; writes go on where they were")]
    NoPromotion,
    /// A node could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What a handover did and how long it took.
#[derive(Debug, Clone, Serialize)]
pub struct Handover {
    /// The node that was primary.
    pub from: String,
    /// The node that is primary now.
    pub to: String,
    /// From the pause of writes to the moment the old primary followed the new one, in milliseconds.
    pub paused_ms: f64,
    /// From the call to the agreement of all Sentinels, in milliseconds.
    pub total_ms: f64,
    /// All Sentinels that answer name the new primary, and none is busy with a failover.
    pub agreed: bool,
}

/// Hands over from the node that is primary now to one that the Sentinels choose.
///
/// # Errors
/// When nothing was handed over; then writes go on where they were.
pub async fn hand_over(lab: &Lab, connector: &Connector) -> Result<Handover, HandoverError> {
    let panel = Panel::new(lab, connector.clone());
    let answers = panel.ask().await;
    let elected = answers.elect()?;
    let from = lab
        .data_node_at(elected.address)
        .ok_or(HandoverError::Stranger(elected.address))?;
    let ready = answers.views().iter().all(|view| {
        view.replicas
            .iter()
            .any(crate::protocol::vote::ReplicaView::promotable)
    });
    let mut old = connector.open(from.socket()).await?;
    let online =
        matches!(old.role().await?, Role::Primary { replicas, .. } if !replicas.is_empty());
    if !ready || !online {
        return Err(HandoverError::NobodyReady);
    }

    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    let mut events = subscribe(lab, connector, &mut tasks).await;
    let by = panel
        .call_failover(from.socket())
        .await
        .map_err(HandoverError::Refused)?;
    info!(from = %from.name, %by, "handover: failover called");
    let deadline = begun + PROMOTION_LIMIT;
    wait_for_event(&mut events, deadline).await;
    let pause = redis::cmd("CLIENT")
        .arg("PAUSE")
        .arg(PAUSE_MS)
        .arg("WRITE")
        .clone();
    old.query::<redis::Value>(&pause).await?;
    let paused = Instant::now();
    debug!("handover: writes paused");

    let promoted = promoted_node(lab, from, connector, deadline).await;
    let Some(to) = promoted else {
        let resume = redis::cmd("CLIENT").arg("UNPAUSE").clone();
        old.query::<redis::Value>(&resume).await?;
        return Err(HandoverError::NoPromotion);
    };
    demote(&mut old, to.socket()).await?;
    let paused_ms = paused.elapsed().as_secs_f64() * 1000.0;
    info!(from = %from.name, to = %to.name, paused_ms, "handover: the old primary follows the new one");

    let agreed = wait_agreement(&panel, to.socket()).await;
    Ok(Handover {
        from: from.name.clone(),
        to: to.name.clone(),
        paused_ms,
        total_ms: begun.elapsed().as_secs_f64() * 1000.0,
        agreed,
    })
}

/// Subscribes to all Sentinels, and waits until most subscriptions stand: an event that comes before
/// that is missed.
async fn subscribe(
    lab: &Lab,
    connector: &Connector,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Event> {
    let (to, mut events) = mpsc::channel(WAITING);
    follow_events(lab, connector, &to, tasks);
    let deadline = Instant::now() + Duration::from_millis(500);
    let mut standing = 0;
    while standing < lab.sentinels.len() {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(event)) if event.name == "+subscribed" => standing += 1,
            Ok(Some(_)) => {}
            // A Sentinel that is down does not hold up the others.
            Ok(None) | Err(_) => break,
        }
    }
    events
}

async fn wait_for_event(events: &mut mpsc::Receiver<Event>, deadline: Instant) {
    while let Ok(Some(event)) = timeout_at(deadline, events.recv()).await {
        debug!(event = %event.name, text = %event.text, "handover");
        if event.name == PAUSE_AT {
            return;
        }
    }
    // Missed or never sent: writes are paused all the same, and the promotion is looked for.
}

/// The first other data node that says it is primary.
async fn promoted_node<'a>(
    lab: &'a Lab,
    from: &Node,
    connector: &Connector,
    deadline: Instant,
) -> Option<&'a Node> {
    let mut conns: Vec<(&Node, Option<Conn>)> = lab
        .data_nodes
        .iter()
        .filter(|n| n.name != from.name)
        .map(|n| (n, None))
        .collect();
    while Instant::now() < deadline {
        for (node, slot) in &mut conns {
            // A promotion closes the connections of clients, so a broken one is made anew.
            let mut conn = match slot.take() {
                Some(conn) => conn,
                None => match connector.open(node.socket()).await {
                    Ok(conn) => conn,
                    Err(_) => continue,
                },
            };
            match conn.role().await {
                Ok(Role::Primary { .. }) => return Some(node),
                Ok(_) => *slot = Some(conn),
                Err(_) => {}
            }
        }
        sleep(LOOK_AGAIN).await;
    }
    None
}

/// Turns the old primary into a replica of `new`, in one step: whoever still waits for it is sent away
/// before a write could go on there.
///
/// # Errors
/// When it can't be reached.
pub async fn demote(old: &mut Conn, new: SocketAddrV4) -> Result<(), ClientError> {
    let mut pipe = redis::pipe();
    pipe.cmd("MULTI");
    pipe.cmd("REPLICAOF")
        .arg(new.ip().to_string())
        .arg(new.port());
    pipe.cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes");
    pipe.cmd("CLIENT").arg("UNPAUSE");
    pipe.cmd("EXEC");
    let to = old.peer();
    let answers = old
        .pipeline(&pipe)
        .await
        .map_err(|source| ClientError::Redis { to, source })?;
    for answer in answers {
        answer
            .extract_error()
            .map_err(|source| ClientError::Redis { to, source })?;
    }
    Ok(())
}

/// Waits until every Sentinel that answers names `new` and is done: one that is stopped, or that leads
/// the failover still, would leave replicas without a primary.
async fn wait_agreement(panel: &Panel, new: SocketAddrV4) -> bool {
    let deadline = Instant::now() + AGREE_LIMIT;
    while Instant::now() < deadline {
        let answers = panel.ask().await;
        let views = answers.views();
        let all = views
            .iter()
            .all(|v| v.primary == new && !v.failover_in_progress);
        if all && views.len() >= panel.majority() {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}
