//! How a data node ends when it is asked to: another one takes over, and no Sentinel would promote
//! this one any more. Where none can, the copy is marked as complete.
//!
//! An address may end with its node: a container's does, a machine's does. Then nobody refuses a
//! connection there, and a Sentinel that tries one counts the node as connected, with what it said
//! last, until down-after has passed. As long as that could be promoted, or may have become so
//! since, nothing is witnessed and writes wait. So the node takes itself out of the list of
//! candidates first, and ends when the Sentinels have heard it.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::client::ClientError;
use crate::closing::{mark_closed, wait_level};
use crate::handover::hand_over;
use crate::protocol::copy::{Completeness, Copy};
use crate::protocol::vote::SentinelView;

use super::super::machine::ServerState;
use super::DataNode;

/// How long the Sentinels may take to hear it: their period of INFO is a quarter of a second, or
/// one second while something is down.
const RETIRE_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two looks at what they have heard.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl DataNode {
    /// Ends the server in order. Returns its status.
    pub(super) async fn leave(&mut self) -> Option<ExitStatus> {
        // Of a closed lab every node stops: nobody is to take over, and all is marked.
        if !self.is_closed().await {
            self.hand_over_first().await;
            self.retire().await;
            self.close_alone().await;
        }
        self.server.take()?.stop().await
    }

    async fn is_closed(&mut self) -> bool {
        // It only brings up to date what is known of the server.
        let _ = self.observe_server().await;
        let mark = self.copy.held().and_then(Copy::mark);
        mark.is_some_and(|mark| mark.state == Completeness::Closed)
    }

    /// A primary that nobody has taken over from takes no more writes, and says so in its copy:
    /// nothing was acknowledged after it. Replicas that are in sync have that too.
    async fn close_alone(&mut self) {
        if !matches!(self.observe_server().await, Ok(ServerState::Primary { .. }))
            || !self.copy.in_term()
        {
            return;
        }
        let epoch = self.named_epoch();
        let node = self.node.clone();
        let closed = match self.own_conn().await {
            Ok(conn) => mark_closed(conn, &node, epoch).await,
            Err(error) => Err(error.into()),
        };
        match closed {
            Ok(mark) => {
                wait_level(&self.lab, &self.connector, &node, &mark, RETIRE_LIMIT).await;
            }
            Err(error) => {
                warn!(node = %node.name, %error, "stopping without a closing mark: at its next start this node compares its \
                    copy with the others");
            }
        }
    }

    /// Before a primary stops: another node takes over, if one is ready.
    async fn hand_over_first(&mut self) {
        let primary = matches!(self.observe_server().await, Ok(ServerState::Primary { .. }));
        if !primary
            || self
                .observers
                .vote()
                .is_none_or(|v| v.primary != self.node.socket())
        {
            return;
        }
        let handed_over = hand_over(&self.lab, &self.others).await;
        // The demotion has closed it.
        self.conn = None;
        self.metrics.handed_over(handed_over.as_ref().ok());
        match handed_over {
            Ok(done) => info!(node = %self.node.name, to = %done.to, paused_ms = done.paused_ms,
                agreed = done.agreed, "handed over"),
            Err(error) => warn!(node = %self.node.name, %error, "stopping without a handover"),
        }
    }

    /// Before a replica stops: every Sentinel has heard that it is not to be promoted, and not to
    /// be listed (`replica-announced no`). OwnMembership again it is only after its next start, which
    /// is parked, with priority 0; so a Sentinel that does not list it can't promote it, and
    /// that needs no later word of it to hold.
    async fn retire(&mut self) {
        let (me, begun) = (self.node.socket(), Instant::now());
        let heard = |view: &SentinelView| view.primary != me && view.replica(me).is_none();
        while begun.elapsed() < RETIRE_LIMIT {
            let said = match self.observe_server().await.unwrap_or(ServerState::Gone) {
                ServerState::Replica { .. } | ServerState::Parked => {
                    self.say_retired().await.is_ok()
                }
                // Sentinels close its connections as they confirm a role: the next one is good.
                ServerState::Silent(_) => false,
                ServerState::Gone
                | ServerState::Starting
                | ServerState::Loading
                | ServerState::Primary { .. } => return,
            };
            // Each of them could be the one that leads a failover.
            let views = self.panel.ask_each().await.views();
            if views.len() < self.panel.majority() {
                // Nobody could promote anyone.
                return;
            }
            if said && views.len() == self.lab.sentinels.len() && views.iter().all(heard) {
                info!(node = %self.node.name, "no Sentinel would promote this node any more");
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
        warn!(node = %self.node.name, "stopping, though a Sentinel may still promote this node");
    }

    /// In one command: who hears the one has heard the other.
    async fn say_retired(&mut self) -> Result<(), ClientError> {
        let mut both = redis::cmd("CONFIG");
        both.arg("SET").arg("replica-priority").arg("0");
        both.arg("replica-announced").arg("no");
        self.own_conn().await?.query::<redis::Value>(&both).await?;
        Ok(())
    }
}
