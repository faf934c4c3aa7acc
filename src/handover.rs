//! A planned handover: another data node becomes primary without a failed write.
//!
//! A failover called by hand (`SENTINEL FAILOVER`) on a healthy lab loses what is written between
//! the promotion and the demotion of the old primary. So writes are paused one Sentinel tick before
//! the promotion, and the old primary becomes a replica of the new one as soon as that takes
//! writes, long before the Sentinels announce it. Steps and reasons: `docs/protocol.md`.
//!
//! Once a Sentinel has taken the call, a failover is under way that nobody can call back. From
//! there on no failed command ends the handover: it goes on until the old primary follows the
//! promoted node, or until nobody was promoted in time and writes go on. How long the promotion,
//! the pause of writes and the demotion may take follows from the lab's limit of a
//! failover ([`crate::config::Timing::handover_limit`]).

use std::net::SocketAddrV4;
use std::pin::pin;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::client::{ClientError, Conn, Connector, Role, set_mark};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Completeness, Copy};
use crate::protocol::vote::NoPrimary;
use crate::sentinel::{Event, Panel, EVENT_CAPACITY, follow_events};

/// The event that comes one tick before the promotion.
const PAUSE_AT: &str = "+failover-state-send-slaveof-noone";
/// The events by which a Sentinel says that it gives a failover up begin so.
const GIVEN_UP: &str = "-failover-abort";
/// How long the old primary may take to go on with writes.
const RESUME_LIMIT: Duration = Duration::from_secs(1);
/// How long the Sentinels may take to agree afterwards.
const AGREE_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two looks while writes are paused.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Pause before a command that failed is sent again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Why there was no handover, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Nobody knows who is primary; nothing was changed.
    #[error("no primary to hand over from: {0}")]
    NoPrimary(#[from] NoPrimary),
    /// The primary that is named is not of the lab; nothing was changed.
    #[error("the Sentinels name {0}, which is no data node of lab.toml")]
    Stranger(SocketAddrV4),
    /// A server that is not of the lab could take over.
    #[error("a Sentinel cannot be asked for a handover: {0}")]
    StrangerPromotable(String),
    /// The lab is closed, to be stopped; nothing was changed.
    #[error("the lab is closed: stop its nodes, or have it go on with halab close --reopen")]
    Closed,
    /// Nobody can take over; nothing was changed.
    #[error(
        "no other data node is in sync and promotable: see halab status, and wait until one is"
    )]
    NobodyReady,
    /// The Sentinels refused; nothing was changed.
    #[error("no Sentinel takes the failover: {0}")]
    Refused(String),
    /// The primary does not answer; nothing was changed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It was asked to end before the call; nothing was changed.
    #[error("stopped; nothing was changed")]
    Stopped,
    /// The promotion did not come in time.
    #[error("no other node was promoted within {limit:?}; {}{}", writes(from, resumed, *limit), rest(by.as_deref()))]
    NoPromotion {
        /// The primary, which still is.
        from: String,
        /// How long it was waited for; a pause of writes lasts as long at most.
        limit: Duration,
        /// Whether it said that it takes writes again; if not, its pause ends by itself.
        resumed: Result<(), ClientError>,
        /// Who leads the failover, where it is still under way.
        by: Option<String>,
    },
    /// Another node is primary, and the old one did not follow it in time.
    #[error(
        "{to} is primary now, but {from} could not be made its replica: {source}; until its halab node or the Sentinels do \
         that, {from} may answer +OK to writes that are lost: see halab status"
    )]
    NotDemoted {
        /// The old primary.
        from: String,
        /// The new one.
        to: String,
        /// What the old one said last.
        source: ClientError,
    },
}

/// What happens to writes after a promotion that did not come.
fn writes(from: &str, resumed: &Result<(), ClientError>, limit: Duration) -> String {
    match resumed {
        Ok(()) => format!("writes go on at {from}"),
        Err(error) => format!(
            "{from} could not be told to go on with writes ({error}), a pause ends by itself after {limit:?}"
        ),
    }
}

/// What happens to a failover after a promotion that did not come.
fn rest(by: Option<&str>) -> String {
    by.map_or_else(String::new, |by| {
        format!("; the failover that {by} took is still under way and may yet promote one: see halab status")
    })
}

/// What a handover did and how long it took.
#[derive(Debug, Clone, Serialize)]
pub struct Handover {
    /// The node that was primary.
    pub from: String,
    /// The node that is primary now.
    pub to: String,
    /// From the pause of writes to the moment the old primary followed the new one, in
    /// milliseconds; 0 where writes could not be paused.
    pub paused_ms: f64,
    /// From the call to the agreement of all Sentinels, in milliseconds.
    pub total_ms: f64,
    /// All Sentinels that answer name the new primary, and none is busy with a failover.
    pub agreed: bool,
}

/// Hands over from the node that is primary now to one that the Sentinels choose.
///
/// # Errors
/// When nothing was handed over, or the old primary does not follow the new one; the error says
/// where writes go.
pub async fn hand_over(lab: &Lab, connector: &Connector) -> Result<Handover, HandoverError> {
    hand_over_unless(lab, connector, &CancellationToken::new()).await
}

/// The same, unless `stop` is cancelled before the call: afterwards it is finished all the same,
/// and that is said.
///
/// # Errors
/// As [`hand_over`], and when it is stopped.
pub async fn hand_over_unless(
    lab: &Lab,
    connector: &Connector,
    stop: &CancellationToken,
) -> Result<Handover, HandoverError> {
    let panel = Panel::new(lab, connector.clone());
    let ready = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(HandoverError::Stopped),
        ready = prepare(lab, connector, &panel) => ready?,
    };
    let mut work = pin!(carry_out(lab, connector, &panel, ready));
    tokio::select! {
        done = &mut work => done,
        () = stop.cancelled() => {
            warn!("handover: the failover is called and can't be called back; finishing, which takes some seconds at most");
            work.await
        }
    }
}

/// What is there before the call.
struct Ready<'a> {
    from: &'a Node,
    conn: Conn,
    events: mpsc::Receiver<Event>,
    /// Of the events.
    _tasks: JoinSet<()>,
}

/// Everything that changes nothing.
async fn prepare<'a>(
    lab: &'a Lab,
    connector: &Connector,
    panel: &Panel,
) -> Result<Ready<'a>, HandoverError> {
    let answers = panel.ask().await;
    let elected = answers.elect()?;
    let from = lab
        .data_node_at(elected.address)
        .ok_or(HandoverError::Stranger(elected.address))?;
    let strange = |view: &_| panel.failover_obstacle(view);
    let mut leading = answers.views().into_iter().filter(|view| !view.passive);
    if let Some(why) = leading.find_map(|view| strange(&view)) {
        return Err(HandoverError::StrangerPromotable(why));
    }
    let ready = answers.views().iter().all(|view| {
        view.replicas
            .iter()
            .any(crate::protocol::vote::ReplicaView::promotable)
    });
    let mut conn = connector.open(from.socket()).await?;
    let (_, copy) = conn.holding().await?;
    let mark = copy.as_ref().and_then(Copy::mark);
    if mark.is_some_and(|mark| mark.state == Completeness::Closed) {
        return Err(HandoverError::Closed);
    }
    let online =
        matches!(conn.role().await?, Role::Primary { replicas, .. } if !replicas.is_empty());
    if !ready || !online {
        return Err(HandoverError::NobodyReady);
    }
    let mut tasks = JoinSet::new();
    let events = subscribe(lab, connector, &mut tasks).await;
    Ok(Ready {
        from,
        conn,
        events,
        _tasks: tasks,
    })
}

/// The call, and all that follows from it.
async fn carry_out(
    lab: &Lab,
    connector: &Connector,
    panel: &Panel,
    ready: Ready<'_>,
) -> Result<Handover, HandoverError> {
    let Ready {
        from,
        conn,
        mut events,
        _tasks,
    } = ready;
    let begun = Instant::now();
    let limit = lab.timing.handover_limit();
    let by = match panel.call_failover(from.socket()).await {
        Ok(by) => by,
        // An answer can be lost, and the call taken all the same.
        Err(_) if is_under_way(panel, from).await => "a Sentinel".to_owned(),
        Err(error) => return Err(HandoverError::Refused(error)),
    };
    info!(from = %from.name, %by, "handover: failover called");

    let mut old = OldPrimary {
        node: from,
        connector,
        limit,
        conn: Some(conn),
        history: None,
        trouble: None,
    };
    let mut paused = None;
    let promoted = {
        let look = async {
            // A node that hangs does not prolong it.
            let look = promoted_node(lab, from, connector);
            timeout_at(begun + limit, look).await.ok()
        };
        let pause = async {
            wait_for_event(&mut events, panel, (from, limit)).await;
            old.pause().await
        };
        let (mut look, mut pause) = (pin!(look), pin!(pause));
        tokio::select! {
            // The event was missed, or the pause can't be made.
            promoted = &mut look => promoted,
            at = &mut pause => {
                debug!("handover: writes paused");
                paused = Some(at);
                look.await
            }
        }
    };
    let promoted = match (promoted, &old.history) {
        (Some(to), Some(history)) if !went_on(to, history, (connector, limit)).await => None,
        (promoted, _) => promoted,
    };
    let Some(to) = promoted else {
        let resumed = old.resume().await;
        let by = is_under_way(panel, from).await.then_some(by);
        return Err(HandoverError::NoPromotion {
            from: from.name.clone(),
            limit,
            resumed,
            by,
        });
    };
    if paused.is_none() {
        let why = old.trouble.take().map(|error| error.to_string());
        warn!(from = %from.name, why = why.as_deref().unwrap_or("the promotion came first"),
            "handover: writes were not paused; what clients wrote meanwhile on +OK alone may be lost");
    }
    old.follow(to.socket())
        .await
        .map_err(|source| HandoverError::NotDemoted {
            from: from.name.clone(),
            to: to.name.clone(),
            source,
        })?;
    let paused_ms = paused.map_or(0.0, |at| at.elapsed().as_secs_f64() * 1000.0);
    info!(from = %from.name, to = %to.name, paused_ms, "handover: the old primary follows the new one");

    let agreed = wait_agreement(panel, to.socket()).await;
    Ok(Handover {
        from: from.name.clone(),
        to: to.name.clone(),
        paused_ms,
        total_ms: begun.elapsed().as_secs_f64() * 1000.0,
        agreed,
    })
}

/// The primary that is to be one no more. A connection that fails is made anew.
struct OldPrimary<'a> {
    node: &'a Node,
    connector: &'a Connector,
    /// How long writes are paused at most, should this process die, and how long it may take to
    /// follow the promoted node.
    limit: Duration,
    conn: Option<Conn>,
    /// The history in which it was primary when writes were paused.
    history: Option<String>,
    /// Why it was not paused.
    trouble: Option<ClientError>,
}

impl OldPrimary<'_> {
    /// Marks the copy and pauses writes; goes on trying for as long as it is polled.
    async fn pause(&mut self) -> Instant {
        while let Err(error) = self.mark_and_pause().await {
            debug!(%error, "handover: writes are not paused yet");
            self.trouble = Some(error);
            sleep(TRY_AGAIN).await;
        }
        Instant::now()
    }

    /// With no write in between: a copy that lacks one that came before lacks the mark too.
    async fn mark_and_pause(&mut self) -> Result<(), ClientError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open(self.node.socket()).await?,
        };
        let (info, held) = conn.holding().await?;
        let mut pipe = redis::pipe();
        // The mark would wait for the end of a pause, and this one with it.
        pipe.cmd("CLIENT").arg("UNPAUSE");
        if let Some(mark) = held.as_ref().and_then(Copy::mark) {
            pipe.add_command(set_mark(&mark.next(mark.epoch, mark.state)));
        }
        let most = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        pipe.cmd("CLIENT").arg("PAUSE").arg(most).arg("WRITE");
        conn.all(&pipe).await?;
        self.history = Some(info.replication_id);
        self.conn = Some(conn);
        Ok(())
    }

    /// Ends the pause of writes.
    async fn resume(&mut self) -> Result<(), ClientError> {
        let cmd = redis::cmd("CLIENT").arg("UNPAUSE").clone();
        let deadline = Instant::now() + RESUME_LIMIT;
        loop {
            match self.send(&cmd).await {
                Err(_) if Instant::now() < deadline => sleep(TRY_AGAIN).await,
                done => return done,
            }
        }
    }

    async fn send(&mut self, cmd: &redis::Cmd) -> Result<(), ClientError> {
        // Taken out while in use: what fails, or is not waited for, is not used again.
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open(self.node.socket()).await?,
        };
        conn.query::<redis::Value>(cmd).await?;
        self.conn = Some(conn);
        Ok(())
    }

    /// Makes it a replica of `new`.
    async fn follow(&mut self, new: SocketAddrV4) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.limit;
        loop {
            match self.try_to_follow(new).await {
                Err(error) if Instant::now() < deadline => {
                    debug!(%error, "handover: the old primary does not follow yet");
                    sleep(TRY_AGAIN).await;
                }
                done => return done,
            }
        }
    }

    async fn try_to_follow(&mut self, new: SocketAddrV4) -> Result<(), ClientError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let mut conn = self.connector.open(self.node.socket()).await?;
                // An answer was lost, or its parent or a Sentinel was first.
                if matches!(conn.role().await?, Role::Replica { .. }) {
                    return Ok(());
                }
                conn
            }
        };
        demote(&mut conn, new, None).await
    }
}

/// Whether a Sentinel is busy with a failover from `from`, or has done it already.
async fn is_under_way(panel: &Panel, from: &Node) -> bool {
    let views = panel.ask_each().await.views();
    views
        .iter()
        .any(|view| view.failover_in_progress || view.primary != from.socket())
}

/// Subscribes to all Sentinels, and waits until most subscriptions stand: an event that comes
/// before that is missed.
async fn subscribe(
    lab: &Lab,
    connector: &Connector,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Event> {
    let (to, mut events) = mpsc::channel(EVENT_CAPACITY);
    follow_events(lab, connector, &to, tasks);
    let deadline = Instant::now() + connector.answer_limit();
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

/// Waits for the event that comes before the promotion, without a limit: it may have been missed. A
/// Sentinel that was held up, by its disk say, finds what it knows of the replicas too old and
/// gives the failover up: then it is called for again.
async fn wait_for_event(
    events: &mut mpsc::Receiver<Event>,
    panel: &Panel,
    (from, limit): (&Node, Duration),
) {
    while let Some(event) = events.recv().await {
        debug!(event = %event.name, text = %event.text, "handover");
        if event.name == PAUSE_AT {
            return;
        }
        if event.name.starts_with(GIVEN_UP) {
            let again = async {
                while let Err(why) = panel.call_failover(from.socket()).await {
                    debug!(why, "handover: no Sentinel takes the failover again yet");
                    sleep(TRY_AGAIN).await;
                }
            };
            info!(from = %from.name, by = %event.sentinel, "handover: the failover was given up, and is called for again");
            if timeout_at(Instant::now() + limit, again).await.is_err() {
                debug!("handover: no Sentinel has taken the failover again");
            }
        }
    }
}

/// The first other data node that says it is primary; waits for it.
async fn promoted_node<'a>(lab: &'a Lab, from: &Node, connector: &Connector) -> &'a Node {
    let mut conns: Vec<(&Node, Option<Conn>)> = lab
        .data_nodes
        .iter()
        .filter(|n| n.name != from.name)
        .map(|n| (n, None))
        .collect();
    loop {
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
                Ok(Role::Primary { .. }) => return node,
                Ok(_) => *slot = Some(conn),
                Err(_) => {}
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether the promoted node went on from that history. One that was selected, ended, and came back
/// may be promoted all the same, with less; its history is another. A promotion closes connections,
/// so one that fails says nothing; nor does silence.
async fn went_on(to: &Node, history: &str, (connector, limit): (&Connector, Duration)) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let ask = async { connector.open(to.socket()).await?.replication().await };
        match ask.await {
            Ok(info) => return info.before.as_deref() == Some(history),
            Err(error) if Instant::now() < deadline => {
                debug!(%error, "handover: the promoted node does not answer yet");
                sleep(TRY_AGAIN).await;
            }
            Err::<_, ClientError>(_) => return true,
        }
    }
}

/// Turns the old primary into a replica of `new`, in one step: whoever still waits for it is sent
/// away before a write could go on there. `first` is executed in the same transaction, before.
///
/// # Errors
/// When it can't be reached.
pub async fn demote(
    old: &mut Conn,
    new: SocketAddrV4,
    first: Option<redis::Cmd>,
) -> Result<(), ClientError> {
    let mut pipe = redis::pipe();
    pipe.cmd("MULTI");
    if let Some(first) = first {
        pipe.add_command(first);
    }
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
    old.all(&pipe).await?;
    Ok(())
}

/// Waits until every Sentinel that answers names `new` and is done: one that is stopped, or that
/// leads the failover still, would leave replicas without a primary.
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
