//! How a replica becomes promotable: when it has everything that its primary had at a moment from
//! which no writer relies any more on the replica not being promotable.
//!
//! Writers count a record that this node lacks as acknowledged while the node can't be promoted.
//! They learn that it can't from one of two sources:
//!
//! - The node's *assurance*: the supervisor is subscribed to a channel while the priority is 0 and
//!   no raise is in progress. It ends the subscription, and checks on its server that it has ended,
//!   before it asks the primary for its offset. So the offset includes every write for which the
//!   assurance was counted, whatever the timing.
//! - The INFO that the Sentinels have of the node. It does not show a raise that is in progress. So
//!   a raise may take at most `raise_limit`, from the question for the offset on, and writers count
//!   only a priority of 0 that is later than their write by more than that. Slow steps that do not
//!   affect the offset, such as connecting, come before.
//!
//! The server may still execute a raise whose answer was lost. Until the connection of that raise
//! is known to be closed, there is no assurance.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::client::{ClientError, Conn, Presence, ServerInfo};
use crate::protocol::ack::ASSURANCE_CHANNEL;

use super::super::machine::ServerState;
use super::DataNode;

/// The `replica-priority` of a replica that is in sync. Sentinels prefer the lowest. They assume
/// 100 for a server that has not reported one, and for servers outside the lab: both come after
/// those that are in sync.
const PROMOTABLE: &str = "10";
/// Pause between two checks of this node's offset.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// After so long in sync without a successful raise, the node logs a warning.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before the next such warning.
const WARN_AGAIN: Duration = Duration::from_secs(60);
/// After so long without an attempt, the count of failures starts again: the replica was not in
/// sync meanwhile.
const FORGET: Duration = Duration::from_secs(5);

/// What is kept between two attempts to become promotable.
#[derive(Debug, Default)]
pub(super) struct Raising {
    /// No raise is in progress, and the priority is 0.
    assurance: Option<Presence>,
    /// The connection to the primary.
    primary: Option<Conn>,
    /// The id, on this node's server, of a connection on which a raise may still arrive.
    unsettled: Option<u64>,
    /// The present series of failed attempts.
    failed_attempts: Option<FailedAttempts>,
}

#[derive(Debug)]
struct FailedAttempts {
    since: Instant,
    last: Instant,
    logged_at: Option<Instant>,
}

/// Why a replica was not raised.
#[derive(Debug, thiserror::Error)]
enum NotRaised {
    #[error("it takes {0:?} or longer from asking the primary for its offset to being promotable")]
    Late(Duration),
    #[error("its primary does not answer; the next attempt follows after a pause")]
    OutOfReach,
    #[error("it has not caught up with the primary")]
    Behind,
    #[error("its link to the primary is down")]
    LinkDown,
    #[error("its replication history differs from the primary's")]
    OtherHistory,
    #[error("the list of members does not have it as promotable")]
    NotMember,
    #[error("another client is subscribed to {ASSURANCE_CHANNEL} on its server")]
    Assured,
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
}

impl Raising {
    /// The server is gone, and every connection to it.
    pub(super) fn server_ended(&mut self) {
        *self = Raising::default();
    }

    /// Notes a failed attempt. Returns since when attempts fail, if a warning is due.
    fn failed(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let failed_attempts = match self.failed_attempts.take() {
            Some(failed_attempts) if failed_attempts.last.elapsed() < FORGET => FailedAttempts {
                last: now,
                ..failed_attempts
            },
            _ => FailedAttempts {
                since: now,
                last: now,
                logged_at: None,
            },
        };
        let failed_attempts = self.failed_attempts.insert(failed_attempts);
        let due = failed_attempts.since.elapsed() >= PATIENCE
            && failed_attempts
                .logged_at
                .is_none_or(|logged_at| logged_at.elapsed() >= WARN_AGAIN);
        due.then(|| {
            failed_attempts.logged_at = Some(now);
            failed_attempts.since.elapsed()
        })
    }
}

impl DataNode {
    /// Keeps the assurance up while it holds.
    pub(super) async fn assure(&mut self, server: ServerState) {
        match server {
            ServerState::Parked
            | ServerState::Replica {
                promotable: false, ..
            } if !self.copy.promotable() => {
                if let Err(error) = self.try_assure().await {
                    debug!(node = %self.node.name, %error, "no assurance yet");
                }
            }
            // A raise has ended it before; nobody asks a primary for it.
            _ => self.raising.assurance = None,
        }
    }

    async fn try_assure(&mut self) -> Result<(), ClientError> {
        let at = self.node.socket();
        let unsettled = self.raising.unsettled;
        let own = self.own_conn().await?;
        if let Some(id) = unsettled {
            let mut cmd = redis::cmd("CLIENT");
            cmd.arg("KILL").arg("ID").arg(id);
            // Closed before or killed now: nothing arrives on it any more.
            own.query::<u64>(&cmd).await?;
            let raised = own.info().await?.priority > 0;
            self.raising.unsettled = None;
            if raised {
                return Ok(());
            }
        }
        // Sentinels also close subscriptions when they confirm a role.
        let present = self
            .own_conn()
            .await?
            .subscriber_count(ASSURANCE_CHANNEL)
            .await?;
        if present == 0 && !self.connector.is_backing_off(at) {
            let assured = self.connector.attend(at, ASSURANCE_CHANNEL).await;
            self.raising.assurance = assured
                .inspect_err(|error| debug!(node = %self.node.name, %error, "no assurance yet"))
                .ok();
        }
        Ok(())
    }

    /// Makes the replica promotable without being in sync: its copy holds more than that of the
    /// named node.
    pub(super) async fn stand(&mut self) {
        if !self.membership.may_stand() {
            warn!(node = %self.node.name, "not a member of the lab, so it does not stand for primary; see the copies with halab status, \
                and choose one with halab choose");
            return;
        }
        let stood = async {
            let id = self.own_conn().await?.id().await?;
            self.end_assurance().await?;
            self.raising.unsettled = Some(id);
            self.set_priority(PROMOTABLE).await?;
            self.raising.unsettled = None;
            Ok::<_, NotRaised>(())
        };
        if let Err(why) = stood.await {
            // The next observation shows its priority, which is withdrawn if the reason is gone.
            warn!(node = %self.node.name, %why, "cannot become promotable yet");
        }
    }

    /// Makes the replica promotable, if it has everything that its primary had a moment ago.
    pub(super) async fn raise(&mut self) {
        if !self.membership.may_be_promotable() {
            return;
        }
        // The copy is complete. Removing the old files may take long, so they are moved away.
        let unread = self.copy.aside_is_unread();
        let moved = if unread {
            self.state.keep_set_aside()
        } else {
            self.state.discard_aside()
        };
        if let Err(error) = moved {
            warn!(node = %self.node.name, %error, "not promotable, because old data cannot be moved away");
            return;
        }
        if unread {
            warn!(node = %self.node.name, folder = %self.state.data().display(), "the previous data could not be read and may hold what the lab lacks, \
                so it is kept as appendonlydir.kept-N");
        }
        self.copy.forget_aside();
        let limit = self.lab.timing.raise_limit;
        match self.try_raise(limit).await {
            Ok((offset, took)) => {
                self.raising.failed_attempts = None;
                self.machine.raised();
                self.metrics.raised(true, Some(took));
                info!(node = %self.node.name, offset, ?took, "in sync, promotable");
            }
            Err(why) => {
                let took = match &why {
                    NotRaised::Late(took) => Some(*took),
                    _ => None,
                };
                self.metrics.raised(false, took);
                match self.raising.failed() {
                    Some(so_long) => {
                        warn!(node = %self.node.name, %why, ?limit, ?so_long, "in sync but not promotable, so the loss of the primary would \
                        stop all writes; if raises take too long, increase timing.raise_limit_ms in lab.toml on every host, \
                        and restart the writers first")
                    }
                    None => debug!(node = %self.node.name, %why, "not promotable yet"),
                }
            }
        }
    }

    /// Returns the offset, and the time from the question for it.
    async fn try_raise(&mut self, limit: Duration) -> Result<(u64, Duration), NotRaised> {
        let own = self.own_conn().await?.info().await?;
        let (true, Some(primary)) = (in_sync(&own), own.primary) else {
            return Err(NotRaised::LinkDown);
        };
        // Both connections are open and have been used before the limit begins.
        let id = self.own_conn().await?.id().await?;
        let mut there = match self.raising.primary.take() {
            Some(conn) if conn.peer() == primary => conn,
            // This node must go on observing its own server meanwhile.
            _ if self.others.is_backing_off(primary) => return Err(NotRaised::OutOfReach),
            _ => {
                let mut conn = self.others.open(primary).await?;
                conn.role().await?;
                conn
            }
        };
        self.end_assurance().await?;

        let begun = Instant::now();
        let deadline = begun + limit;
        let Ok(asked) = timeout_at(deadline, there.info()).await else {
            return Err(NotRaised::Late(begun.elapsed()));
        };
        let asked = asked?;
        self.raising.primary = Some(there);
        let offset = self.caught_up(primary, &asked, deadline).await?;
        if Instant::now() >= deadline {
            return Err(NotRaised::Late(begun.elapsed()));
        }
        // The list of members may have changed a moment ago.
        if !self.still_listed().await? {
            return Err(NotRaised::NotMember);
        }
        self.raising.unsettled = Some(id);
        self.set_priority(PROMOTABLE).await?;
        let took = begun.elapsed();
        if took >= limit {
            // Possibly later than the writers allow for, so it is taken back.
            self.set_priority("0").await?;
            self.raising.unsettled = None;
            return Err(NotRaised::Late(took));
        }
        self.raising.unsettled = None;
        Ok((offset, took))
    }

    /// Ends the assurance, and checks that it has ended.
    async fn end_assurance(&mut self) -> Result<(), NotRaised> {
        if let Some(assurance) = self.raising.assurance.take()
            && let Err(error) = assurance.end().await
        {
            debug!(node = %self.node.name, %error, "the assurance ended with its connection");
        }
        match self
            .own_conn()
            .await?
            .subscriber_count(ASSURANCE_CHANNEL)
            .await?
        {
            0 => Ok(()),
            _ => Err(NotRaised::Assured),
        }
    }

    /// This node's offset, once it has reached what the primary had when it was asked.
    async fn caught_up(
        &mut self,
        primary: SocketAddrV4,
        asked: &ServerInfo,
        deadline: Instant,
    ) -> Result<u64, NotRaised> {
        loop {
            let own = self.own_conn().await?.info().await?;
            if !in_sync(&own) || own.primary != Some(primary) {
                return Err(NotRaised::LinkDown);
            }
            if !asked.is_primary || asked.replication_id != own.replication_id {
                return Err(NotRaised::OtherHistory);
            }
            if own.offset >= asked.offset {
                return Ok(own.offset);
            }
            if Instant::now() >= deadline {
                return Err(NotRaised::Behind);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Uses the connection with the id in `unsettled`. A connection without an answer is dropped:
    /// its command may still arrive.
    async fn set_priority(&mut self, priority: &str) -> Result<(), ClientError> {
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("SET").arg("replica-priority").arg(priority);
        let set = self.own_conn().await?.query::<redis::Value>(&cmd).await;
        if set.is_err() {
            self.conn = None;
        }
        set.map(drop)
    }
}

fn in_sync(own: &ServerInfo) -> bool {
    !own.is_primary && own.link_up && !own.syncing
}
