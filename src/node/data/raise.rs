//! How a replica becomes promotable: when it has all that its primary had at a moment at which
//! nobody counted any more on its not being promotable.
//!
//! Who writes counts a record that this node lacks as acknowledged while the node can't be
//! promoted. Two things tell:
//!
//! - The node's *assurance*, to those who can ask it: the parent is subscribed to a channel while
//!   the priority is 0 and no raise is under way. It ends that, and sees on its server that it has
//!   ended, before it asks the primary for its offset. So the offset includes every write for which
//!   the assurance was counted. No time is involved.
//! - The INFO that the Sentinels have of it, to everyone else. It does not tell a raise that is
//!   under way. So a raise may take `raise_limit` at most, from sending the question for the
//!   offset, and writers count a 0 that is later than their write by more. What takes time and says
//!   nothing of the offset, connecting above all, is done before.
//!
//! A raise whose answer did not come may still be executed by the server. Until its connection is
//! known to be gone there is no assurance.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::client::{ClientError, Conn, Presence, ReplicationInfo};
use crate::protocol::ack::ASSURANCE_CHANNEL;

use super::super::machine::ServerState;
use super::DataNode;

/// The `replica-priority` of a replica that is in sync. Sentinels prefer the lowest, and take 100
/// of one that has not said any as well as of a server that is not of the lab: both come after
/// those that are in sync.
const PROMOTABLE: &str = "10";
/// Pause between two looks at the own offset.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// A replica that is in sync and could not be raised for so long says so.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before it says so again.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// After so long without an attempt a new one is the first again: the replica was not in sync
/// meanwhile.
const FORGET: Duration = Duration::from_secs(5);

/// What is kept between two attempts.
#[derive(Debug, Default)]
pub(super) struct Raising {
    /// No raise is under way, and the priority is 0.
    assurance: Option<Presence>,
    /// The connection to the primary.
    primary: Option<Conn>,
    /// The connection to the own server that may still bring a raise, by the server's number of
    /// it.
    unsettled: Option<u64>,
    /// Attempts that came to nothing, one after the other.
    failed_attempts: Option<FailedAttempts>,
}

#[derive(Debug)]
struct FailedAttempts {
    since: Instant,
    last: Instant,
    said: Option<Instant>,
}

/// Why a replica was not raised.
#[derive(Debug, thiserror::Error)]
enum NotRaised {
    #[error("it takes {0:?} or longer from asking the primary for its offset to being promotable")]
    Late(Duration),
    #[error("its primary does not answer this node, which asks again after a pause")]
    OutOfReach,
    #[error("it has not what the primary has")]
    Behind,
    #[error("its link to the primary is down")]
    LinkDown,
    #[error("it has another history than the primary")]
    OtherHistory,
    #[error("the list of members does not have it as promotable")]
    NotMember,
    #[error("someone else is subscribed to {ASSURANCE_CHANNEL} on its server")]
    Assured,
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
}

impl Raising {
    /// The server is gone, and every connection to it.
    pub(super) fn server_ended(&mut self) {
        *self = Raising::default();
    }

    /// Says since when attempts have failed, when it is time to say so.
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
                said: None,
            },
        };
        let failed_attempts = self.failed_attempts.insert(failed_attempts);
        let due = failed_attempts.since.elapsed() >= PATIENCE
            && failed_attempts
                .said
                .is_none_or(|said| said.elapsed() >= SAY_AGAIN);
        due.then(|| {
            failed_attempts.said = Some(now);
            failed_attempts.since.elapsed()
        })
    }
}

impl DataNode {
    /// Keeps the assurance up while it is true.
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
            // Before it was raised it was ended; a primary is asked by nobody.
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
            // Gone already or killed now: nothing comes from there any more.
            own.query::<u64>(&cmd).await?;
            let raised = own.replication().await?.priority > 0;
            self.raising.unsettled = None;
            if raised {
                return Ok(());
            }
        }
        // Sentinels end subscriptions, too, when they confirm a role.
        let present = self.own_conn().await?.present(ASSURANCE_CHANNEL).await?;
        if present == 0 && !self.connector.pauses(at) {
            let assured = self.connector.attend(at, ASSURANCE_CHANNEL).await;
            self.raising.assurance = assured
                .inspect_err(|error| debug!(node = %self.node.name, %error, "no assurance yet"))
                .ok();
        }
        Ok(())
    }

    /// Becomes promotable though it is in sync with nobody: it holds more than the node that is
    /// named.
    pub(super) async fn stand(&mut self) {
        if !self.membership.may_stand() {
            warn!(node = %self.node.name, "does not stand for the role, for it is not a member of the lab: halab status shows who holds \
                what, and halab choose decides");
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
            // Its priority is seen at the next look; it is withdrawn where the reason is gone.
            warn!(node = %self.node.name, %why, "cannot become promotable yet");
        }
    }

    /// Becomes promotable, if this replica has all that its primary had a moment ago.
    pub(super) async fn raise(&mut self) {
        if !self.membership.may_be_promotable() {
            return;
        }
        // The copy is complete, and removing files may take long.
        let unread = self.copy.aside_is_unread();
        let moved = if unread {
            self.state.keep_set_aside()
        } else {
            self.state.discard_aside()
        };
        if let Err(error) = moved {
            warn!(node = %self.node.name, %error, "not promotable while old data can't be moved away");
            return;
        }
        if unread {
            warn!(node = %self.node.name, folder = %self.state.data().display(), "the data that was here before could not be read, \
                so nobody can say that this copy has all of it: it is kept there, as appendonlydir.kept-N, and may hold what \
                the lab lacks");
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
                        warn!(node = %self.node.name, %why, ?limit, ?so_long, "in sync, and could not be made \
                        promotable: while this is so, the loss of the primary stops all writes; where it takes too \
                        long, raise timing.raise_limit_ms in lab.toml on every host; restart the writers first")
                    }
                    None => debug!(node = %self.node.name, %why, "not promotable yet"),
                }
            }
        }
    }

    /// The offset and the time that counts.
    async fn try_raise(&mut self, limit: Duration) -> Result<(u64, Duration), NotRaised> {
        let own = self.own_conn().await?.replication().await?;
        let (true, Some(primary)) = (in_sync(&own), own.primary) else {
            return Err(NotRaised::LinkDown);
        };
        // Both connections stand, and have been used, before time counts.
        let id = self.own_conn().await?.id().await?;
        let mut there = match self.raising.primary.take() {
            Some(conn) if conn.peer() == primary => conn,
            // This node has its own server to look at meanwhile.
            _ if self.others.pauses(primary) => return Err(NotRaised::OutOfReach),
            _ => {
                let mut conn = self.others.open(primary).await?;
                conn.role().await?;
                conn
            }
        };
        self.end_assurance().await?;

        let begun = Instant::now();
        let deadline = begun + limit;
        let Ok(asked) = timeout_at(deadline, there.replication()).await else {
            return Err(NotRaised::Late(begun.elapsed()));
        };
        let asked = asked?;
        self.raising.primary = Some(there);
        let offset = self.caught_up(primary, &asked, deadline).await?;
        if Instant::now() >= deadline {
            return Err(NotRaised::Late(begun.elapsed()));
        }
        // It may have been said a moment ago that it is not to be promotable any more.
        if !self.still_listed().await? {
            return Err(NotRaised::NotMember);
        }
        self.raising.unsettled = Some(id);
        self.set_priority(PROMOTABLE).await?;
        let took = begun.elapsed();
        if took >= limit {
            // It may have been a moment later than the writers count on: not this time.
            self.set_priority("0").await?;
            self.raising.unsettled = None;
            return Err(NotRaised::Late(took));
        }
        self.raising.unsettled = None;
        Ok((offset, took))
    }

    /// Ends the assurance, and sees that it has ended.
    async fn end_assurance(&mut self) -> Result<(), NotRaised> {
        if let Some(assurance) = self.raising.assurance.take()
            && let Err(error) = assurance.end().await
        {
            debug!(node = %self.node.name, %error, "the assurance ended with its connection");
        }
        match self.own_conn().await?.present(ASSURANCE_CHANNEL).await? {
            0 => Ok(()),
            _ => Err(NotRaised::Assured),
        }
    }

    /// The own offset, once it has reached what the primary had when it was asked.
    async fn caught_up(
        &mut self,
        primary: SocketAddrV4,
        asked: &ReplicationInfo,
        deadline: Instant,
    ) -> Result<u64, NotRaised> {
        loop {
            let own = self.own_conn().await?.replication().await?;
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

    /// On the connection that the server knows by the number in `unsettled`. One that gives no
    /// answer is left: what was sent on it may still come.
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

fn in_sync(own: &ReplicationInfo) -> bool {
    !own.is_primary && own.link_up && !own.syncing
}
