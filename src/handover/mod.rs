//! A handover: another data node becomes primary without a failed write.
//!
//! A manual failover (`SENTINEL FAILOVER`) on a healthy lab loses the writes between the promotion
//! and the demotion of the old primary. So a handover pauses writes one Sentinel tick before the
//! promotion, and makes the old primary a replica of the new one as soon as that is primary, long
//! before the Sentinels announce it. `docs/protocol.md` has the steps and the reasons.
//!
//! Once a Sentinel has accepted the failover, it cannot be revoked. From then on no failed command
//! ends the handover: it continues until the old primary follows the promoted node, or until no
//! node was promoted in time and writes are resumed. The limits of the promotion, the pause of
//! writes and the demotion follow from the lab's limit of a failover
//! ([`crate::config::Timing::handover_limit`]).
//!
//! - `candidates`: the nodes that a Sentinel could promote, each asked itself
//! - `error`: why a handover failed
//! - `old_primary`: the commands to the old primary

mod candidates;
mod error;
mod old_primary;

use std::net::SocketAddrV4;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::select_all;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::client::{ClientError, Conn, Connector, Role};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Completeness, DataCopy};
use crate::sentinel::{EVENT_CAPACITY, Event, SentinelClients, follow_events};

use old_primary::{OldPrimary, users_to_disconnect};

pub use error::HandoverError;
pub use old_primary::demote;

/// The event that comes one tick before the promotion.
const PAUSE_AT: &str = "+failover-state-send-slaveof-noone";
/// The prefix of the events of an aborted failover.
const ABORT_PREFIX: &str = "-failover-abort";
/// Time limit of the agreement of the Sentinels after the handover.
const AGREE_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two checks for the agreement.
const AGREE_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two checks for the promotion, while writes are paused.
const PROMOTION_PAUSE: Duration = Duration::from_millis(2);
/// Pause before a failed command is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The result of a handover.
#[derive(Debug, Clone, Serialize)]
pub struct HandoverResult {
    /// The old primary.
    pub from: String,
    /// The new primary.
    pub to: String,
    /// From the pause of writes until the old primary followed the new one, in milliseconds; 0 if
    /// writes could not be paused.
    pub paused_ms: f64,
    /// From the request to the agreement of all Sentinels, in milliseconds.
    pub total_ms: f64,
    /// All Sentinels that answer name the new primary, and none has a failover in progress.
    pub agreed: bool,
}

/// Hands over from the current primary to a node that the Sentinels choose.
///
/// # Errors
/// If no node was promoted, or the old primary does not follow the new one; the error states which
/// node accepts writes.
pub async fn hand_over(lab: &Lab, connector: &Connector) -> Result<HandoverResult, HandoverError> {
    hand_over_unless(lab, connector, &CancellationToken::new()).await
}

/// The same, unless `stop` is cancelled before the failover is requested. Later, the handover is
/// completed nevertheless, with a log line.
///
/// # Errors
/// As [`hand_over`], or if it was stopped.
pub async fn hand_over_unless(
    lab: &Lab,
    connector: &Connector,
    stop: &CancellationToken,
) -> Result<HandoverResult, HandoverError> {
    let sentinels = SentinelClients::new(lab, connector.clone());
    let prepared = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(HandoverError::Stopped),
        prepared = prepare(lab, connector, &sentinels) => prepared?,
    };
    let mut work = pin!(carry_out(lab, connector, &sentinels, prepared));
    tokio::select! {
        done = &mut work => done,
        () = stop.cancelled() => {
            warn!(
                "handover: the failover cannot be revoked; completing it, which takes some seconds \
                 at most"
            );
            work.await
        }
    }
}

/// The state before the failover is requested.
struct Prepared<'a> {
    from: &'a Node,
    conn: Conn,
    users: Option<Vec<String>>,
    events: mpsc::Receiver<Event>,
    /// The subscriptions.
    _tasks: JoinSet<()>,
}

/// The steps before the failover is requested; they change nothing.
async fn prepare<'a>(
    lab: &'a Lab,
    connector: &Connector,
    sentinels: &SentinelClients,
) -> Result<Prepared<'a>, HandoverError> {
    let answers = sentinels.ask().await;
    let elected = answers.elect()?;
    let from = lab
        .data_node_at(elected.address)
        .ok_or(HandoverError::Stranger(elected.address))?;
    let obstacle = |view: &_| sentinels.failover_obstacle(view);
    let mut leading = answers.views().into_iter().filter(|view| !view.passive);
    if let Some(why) = leading.find_map(|view| obstacle(&view)) {
        return Err(HandoverError::StrangerPromotable(why));
    }
    let mut conn = connector.open(from.socket()).await?;
    let (_, copy) = conn.info_and_copy().await?;
    let mark = copy.as_ref().and_then(DataCopy::mark);
    if mark.is_some_and(|mark| mark.state == Completeness::Closed) {
        return Err(HandoverError::Closed);
    }
    let online =
        matches!(conn.role().await?, Role::Primary { replicas, .. } if !replicas.is_empty());
    if !online {
        return Err(HandoverError::NoReplicaReady);
    }
    let users = users_to_disconnect(&mut conn, lab).await;
    let mut tasks = JoinSet::new();
    let events = subscribe(lab, connector, &mut tasks).await;
    // Last: what a candidate reports may change.
    candidates::await_ready(lab, connector, sentinels, from).await?;
    Ok(Prepared {
        from,
        conn,
        users,
        events,
        _tasks: tasks,
    })
}

/// Requests the failover, and completes the handover.
async fn carry_out(
    lab: &Lab,
    connector: &Connector,
    sentinels: &SentinelClients,
    prepared: Prepared<'_>,
) -> Result<HandoverResult, HandoverError> {
    let Prepared {
        from,
        conn,
        users,
        mut events,
        _tasks,
    } = prepared;
    let begun = Instant::now();
    let limit = lab.timing.handover_limit();
    let by = request_failover(sentinels, from).await?;
    info!(from = %from.name, %by, "handover: failover called");

    let mut old = OldPrimary {
        node: from,
        connector,
        limit,
        conn: Some(conn),
        users,
        history: None,
        pause_error: None,
    };
    let (promoted, paused) =
        await_promotion((lab, sentinels), &mut events, &mut old, begun + limit).await;
    let Some(to) = promoted else {
        let resumed = old.resume().await;
        let by = is_in_progress(sentinels, from).await.then_some(by);
        return Err(HandoverError::NoPromotion {
            from: from.name.clone(),
            limit,
            resumed,
            by,
        });
    };
    if paused.is_none() {
        let error = old.pause_error.take().map(|error| error.to_string());
        let reason = error.as_deref().unwrap_or("the promotion came first");
        let from = &from.name;
        warn!(%from, reason, "handover: writes were not paused; unconfirmed ones may be lost");
    }
    old.follow(to.socket())
        .await
        .map_err(|source| HandoverError::NotDemoted {
            from: from.name.clone(),
            to: to.name.clone(),
            source,
        })?;
    let paused_ms = paused.map_or(0.0, |at| at.elapsed().as_secs_f64() * 1000.0);
    info!(
        from = %from.name,
        to = %to.name,
        paused_ms,
        "handover: the old primary follows the new one"
    );

    let agreed = wait_agreement(sentinels, to.socket()).await;
    Ok(HandoverResult {
        from: from.name.clone(),
        to: to.name.clone(),
        paused_ms,
        total_ms: begun.elapsed().as_secs_f64() * 1000.0,
        agreed,
    })
}

/// Requests the failover. Returns the Sentinel that leads it.
async fn request_failover(
    sentinels: &SentinelClients,
    from: &Node,
) -> Result<String, HandoverError> {
    match sentinels.call_failover(from.socket()).await {
        Ok(by) => Ok(by),
        // The Sentinel may have accepted although its answer was lost.
        Err(_) if is_in_progress(sentinels, from).await => Ok("a Sentinel".to_owned()),
        Err(error) => Err(HandoverError::Refused(error)),
    }
}

/// Pauses writes on the old primary at the event before the promotion, and waits for the promotion
/// until `deadline`. Returns the promoted node, if there is one that continues the replication
/// history, and the time of the pause.
async fn await_promotion<'a>(
    (lab, sentinels): (&'a Lab, &SentinelClients),
    events: &mut mpsc::Receiver<Event>,
    old: &mut OldPrimary<'_>,
    deadline: Instant,
) -> (Option<&'a Node>, Option<Instant>) {
    let (from, connector, limit) = (old.node, old.connector, old.limit);
    let mut paused = None;
    let promoted = {
        let promotion = async {
            let promoted = promoted_node(lab, from, connector);
            timeout_at(deadline, promoted).await.ok()
        };
        let pause = async {
            wait_for_event(events, sentinels, (lab, connector), (from, limit)).await;
            old.pause().await
        };
        let (mut promotion, mut pause) = (pin!(promotion), pin!(pause));
        tokio::select! {
            // The event was missed, or writes can't be paused.
            promoted = &mut promotion => promoted,
            at = &mut pause => {
                debug!("handover: writes paused");
                paused = Some(at);
                promotion.await
            }
        }
    };
    match (promoted, &old.history) {
        (Some(to), Some(history)) if !continues_history(to, history, (connector, limit)).await => {
            (None, paused)
        }
        _ => (promoted, paused),
    }
}

/// Whether a Sentinel has a failover from `from` in progress, or has completed it.
async fn is_in_progress(sentinels: &SentinelClients, from: &Node) -> bool {
    let views = sentinels.ask_each().await.views();
    views
        .iter()
        .any(|view| view.failover_in_progress || view.primary != from.socket())
}

/// Subscribes to all Sentinels, and waits until the subscriptions have begun, within a limit:
/// earlier events are missed.
async fn subscribe(
    lab: &Lab,
    connector: &Connector,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Event> {
    let (to, mut events) = mpsc::channel(EVENT_CAPACITY);
    follow_events(lab, connector, &to, tasks);
    let deadline = Instant::now() + connector.answer_limit();
    let mut subscribed = 0;
    while subscribed < lab.sentinels.len() {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(event)) if event.name == "+subscribed" => subscribed += 1,
            Ok(Some(_)) => {}
            // A Sentinel that is down does not delay the handover further.
            Ok(None) | Err(_) => break,
        }
    }
    events
}

/// Waits for the event before the promotion, without a limit, because it may have been missed. A
/// Sentinel that was delayed, for example by its disk, aborts the failover, because its information
/// about the replicas is too old. Then the failover is requested again.
async fn wait_for_event(
    events: &mut mpsc::Receiver<Event>,
    sentinels: &SentinelClients,
    (lab, connector): (&Lab, &Connector),
    (from, limit): (&Node, Duration),
) {
    while let Some(event) = events.recv().await {
        debug!(event = %event.name, text = %event.text, "handover");
        if event.name == PAUSE_AT {
            return;
        }
        if event.name.starts_with(ABORT_PREFIX) {
            let again = async {
                loop {
                    let refused = match candidates::check(lab, connector, sentinels, from).await {
                        Ok(()) => sentinels.call_failover(from.socket()).await.err(),
                        Err(error) => Some(error.to_string()),
                    };
                    let Some(why) = refused else { break };
                    debug!(why, "handover: the failover cannot be requested yet");
                    sleep(RETRY_PAUSE).await;
                }
            };
            let (from, by) = (&from.name, &event.sentinel);
            info!(%from, %by, "handover: the failover was aborted; requesting it again");
            if timeout_at(Instant::now() + limit, again).await.is_err() {
                debug!("handover: no Sentinel has accepted the failover again");
            }
        }
    }
}

/// Waits for another data node that reports that it is primary. All are asked at the same time: one
/// that hangs delays none of the others.
async fn promoted_node<'a>(lab: &'a Lab, from: &Node, connector: &Connector) -> &'a Node {
    let others = lab.data_nodes.iter().filter(|n| n.name != from.name);
    let asked = others.map(|node| Box::pin(until_primary(node, connector)));
    select_all(asked).await.0
}

/// Waits until the node reports that it is primary.
async fn until_primary<'a>(node: &'a Node, connector: &Connector) -> &'a Node {
    let mut conn: Option<Conn> = None;
    loop {
        // A promotion closes the connections of clients; a broken one is opened again.
        let open = match conn.take() {
            Some(open) => Ok(open),
            None => connector.open(node.socket()).await,
        };
        if let Ok(mut open) = open {
            match open.role().await {
                Ok(Role::Primary { .. }) => return node,
                Ok(_) => conn = Some(open),
                Err(_) => {}
            }
        }
        sleep(PROMOTION_PAUSE).await;
    }
}

/// Whether the promoted node continues this replication history. A node that was selected, stopped
/// and restarted may be promoted nevertheless, with less data; its history is another one. A
/// promotion closes connections, so a failed connection or a timeout is no evidence against it.
async fn continues_history(
    to: &Node,
    history: &str,
    (connector, limit): (&Connector, Duration),
) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let ask = async { connector.open(to.socket()).await?.info().await };
        match ask.await {
            Ok(info) => return info.previous_replication_id.as_deref() == Some(history),
            Err(error) if Instant::now() < deadline => {
                debug!(%error, "handover: the promoted node does not answer yet");
                sleep(RETRY_PAUSE).await;
            }
            Err::<_, ClientError>(_) => return true,
        }
    }
}

/// Waits until every Sentinel that answers names `new` and has no failover in progress. A Sentinel
/// that is stopped before, while it leads the failover, would leave replicas without a primary.
async fn wait_agreement(sentinels: &SentinelClients, new: SocketAddrV4) -> bool {
    let deadline = Instant::now() + AGREE_LIMIT;
    while Instant::now() < deadline {
        let answers = sentinels.ask().await;
        let views = answers.views();
        let all = views
            .iter()
            .all(|v| v.primary == new && !v.failover_in_progress);
        if all && views.len() >= sentinels.majority() {
            return true;
        }
        sleep(AGREE_PAUSE).await;
    }
    false
}
