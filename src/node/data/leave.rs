//! How a data node stops: a primary hands over, and a replica waits until no Sentinel would promote
//! it. A primary that can't hand over marks its copy as complete.
//!
//! The address of a node may disappear with it, as that of a container or a machine does. Then no
//! connection to it is refused, and a Sentinel counts the node as connected, with its last INFO,
//! until down-after has passed. As long as the node could be promoted, or may have become
//! promotable since, nothing is witnessed and writes wait. So the node first withdraws as a
//! candidate, and ends when all Sentinels have seen that.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::client::ClientError;
use crate::closing::{mark_closed, wait_level};
use crate::handover::hand_over;
use crate::protocol::copy::{Completeness, DataCopy};
use crate::protocol::vote::SentinelView;

use super::super::machine::ServerState;
use super::DataNode;

/// How long the Sentinels may take to see it: their INFO period is 250 ms, or 1 s while something
/// is down.
const RETIRE_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two questions to the Sentinels.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl DataNode {
    /// Stops the server in order. Returns its exit status.
    pub(super) async fn leave(&mut self) -> Option<ExitStatus> {
        // In a closed lab every node stops: no node takes over, and all copies are marked.
        if !self.is_closed().await {
            self.hand_over_first().await;
            self.retire().await;
            self.close_alone().await;
        }
        self.server.take()?.stop().await
    }

    async fn is_closed(&mut self) -> bool {
        // For its update of this node's copy.
        let _ = self.observe_server().await;
        let mark = self.copy.held().and_then(DataCopy::mark);
        mark.is_some_and(|mark| mark.state == Completeness::Closed)
    }

    /// A primary that no node takes over from refuses writes and marks its copy as closed: nothing
    /// was acknowledged after the mark. Replicas in sync receive the mark too.
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
                warn!(node = %node.name, %error, "stopping without a closing mark, so the next start compares this copy with the others");
            }
        }
    }

    /// Hands over before a primary stops, if another node is ready.
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
        // The demotion has closed the connection.
        self.conn = None;
        self.metrics.handed_over(handed_over.as_ref().ok());
        match handed_over {
            Ok(done) => info!(node = %self.node.name, to = %done.to, paused_ms = done.paused_ms,
                agreed = done.agreed, "handed over"),
            Err(error) => warn!(node = %self.node.name, %error, "stopping without a handover"),
        }
    }

    /// Waits, before a replica stops, until every Sentinel has seen that it is not promotable and
    /// not to be listed (`replica-announced no`). It is listed again only after its next start,
    /// which is parked, with priority 0. So a Sentinel that does not list it can't promote it.
    async fn retire(&mut self) {
        let (me, begun) = (self.node.socket(), Instant::now());
        let heard = |view: &SentinelView| view.primary != me && view.replica(me).is_none();
        while begun.elapsed() < RETIRE_LIMIT {
            let is_announced = match self.observe_server().await.unwrap_or(ServerState::Gone) {
                ServerState::Replica { .. } | ServerState::Parked => {
                    self.announce_retirement().await.is_ok()
                }
                // Sentinels close connections when they confirm a role; the next one works.
                ServerState::Silent(_) => false,
                ServerState::Gone
                | ServerState::Starting
                | ServerState::Loading
                | ServerState::Primary { .. } => return,
            };
            // Each of them could lead a failover.
            let views = self.sentinels.ask_each().await.views();
            if views.len() < self.sentinels.majority() {
                // No failover is possible.
                return;
            }
            if is_announced && views.len() == self.lab.sentinels.len() && views.iter().all(heard) {
                info!(node = %self.node.name, "no Sentinel would promote this node any more");
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
        warn!(node = %self.node.name, "stopping, though a Sentinel may still promote this node");
    }

    /// In one command, so that a Sentinel sees both at once.
    async fn announce_retirement(&mut self) -> Result<(), ClientError> {
        let mut both = redis::cmd("CONFIG");
        both.arg("SET").arg("replica-priority").arg("0");
        both.arg("replica-announced").arg("no");
        self.own_conn().await?.query::<redis::Value>(&both).await?;
        Ok(())
    }
}
