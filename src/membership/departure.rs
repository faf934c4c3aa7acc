//! After the last step of a removal: the node is stopped, and the Sentinels forget it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::with_members;
use crate::config::Node;
use crate::forget::{ForgetError, forget};

use super::{ChangeStep, MemberCommand, MemberError, POLL_INTERVAL, STATEMENT_LIMIT};

/// How long a node has to be silent to count as stopped.
const SILENCE: Duration = Duration::from_secs(1);

impl MemberCommand<'_> {
    /// Waits until nothing answers at the node's address. The operator stops the node.
    pub(super) async fn wait_until_stopped(&mut self, node: &Node) -> Result<(), MemberError> {
        let connector = self.connector.clone();
        let answers = async || connector.open(node.socket()).await.is_ok();
        let deadline = Instant::now() + self.options.step_limit;
        let mut reported = false;
        let mut silent_since = None;
        loop {
            if !answers().await {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SILENCE {
                    return Ok(());
                }
            } else {
                silent_since = None;
                if !reported {
                    reported = true;
                    self.record(&ChangeStep::StopNode(node.name.clone()));
                }
            }
            if self.options.stop.is_cancelled() {
                return Err(MemberError::Stopped);
            }
            if Instant::now() >= deadline {
                return Err(MemberError::TimedOut {
                    limit: self.options.step_limit,
                    missing: format!("{} still answers: stop its node", node.name),
                });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Makes all Sentinels forget the node. If something else prevents that, it is left to the
    /// operator.
    pub(super) async fn forget_node(&mut self, node: &Node) -> Result<(), MemberError> {
        let member_list = self.primary().await?.stored.member_list;
        let mut lab = with_members(self.lab, &member_list);
        lab.data_nodes.retain(|n| n.name != node.name);
        lab.sentinels.retain(|n| n.name != node.name);
        // Only then do the Sentinels consider the node down.
        let deadline = Instant::now() + lab.timing.down_after + STATEMENT_LIMIT;
        let forgotten = loop {
            match forget(&lab, self.options.stop).await {
                Err(ForgetError::Running(_) | ForgetError::NotHealthy(_))
                    if Instant::now() < deadline =>
                {
                    sleep(POLL_INTERVAL).await;
                }
                other => break other,
            }
        };
        match forgotten {
            Ok(done) => {
                if !done.reset.is_empty() {
                    self.record_step(format!("all Sentinels have forgotten {}", node.name));
                }
            }
            Err(ForgetError::Stopped(_)) => return Err(MemberError::Stopped),
            Err(error) => self.note_follow_up(format!(
                "run halab forget, so that the Sentinels forget {}, once this is fixed: {error}",
                node.name
            )),
        }
        Ok(())
    }
}
