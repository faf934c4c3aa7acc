//! After the last step of a removal: the node is stopped, and the Sentinels forget it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::with_members;
use crate::config::Node;
use crate::forget::{ForgetError, forget};

use super::{LOOK_AGAIN, MemberError, STATE_LIMIT, Work};

/// How long a node has to be silent to count as stopped.
const QUIET: Duration = Duration::from_secs(1);

impl Work<'_> {
    /// Waits until nobody answers where the node is: an operator is to stop it.
    pub(super) async fn stopped(&mut self, node: &Node) -> Result<(), MemberError> {
        let connector = self.connector.clone();
        let answers = async || connector.open(node.socket()).await.is_ok();
        let deadline = Instant::now() + self.how.patience;
        let mut told = false;
        let mut quiet_since = None;
        loop {
            if !answers().await {
                let since = *quiet_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= QUIET {
                    return Ok(());
                }
            } else {
                quiet_since = None;
                if !told {
                    told = true;
                    self.did(format!(
                        "{} is not a member any more: stop its node now, and keep it from starting with its host (this waits)",
                        node.name
                    ));
                }
            }
            if self.how.stop.is_cancelled() {
                return Err(MemberError::Stopped);
            }
            if Instant::now() >= deadline {
                return Err(MemberError::TimedOut {
                    limit: self.how.patience,
                    missing: format!("{} still answers: stop its node", node.name),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Has all Sentinels forget the node. What keeps them from it is not of this change: it is left to the operator.
    pub(super) async fn forgotten(&mut self, node: &Node) -> Result<(), MemberError> {
        let roster = self.leading().await?.held.roster;
        let mut lab = with_members(self.lab, &roster);
        lab.data_nodes.retain(|n| n.name != node.name);
        lab.sentinels.retain(|n| n.name != node.name);
        // The Sentinels call it down only then.
        let deadline = Instant::now() + lab.timing.down_after + STATE_LIMIT;
        let forgotten = loop {
            match forget(&lab, self.how.stop).await {
                Err(ForgetError::Running(_) | ForgetError::NotHealthy(_))
                    if Instant::now() < deadline =>
                {
                    sleep(LOOK_AGAIN).await;
                }
                other => break other,
            }
        };
        match forgotten {
            Ok(done) => {
                if !done.reset.is_empty() {
                    self.did(format!("no Sentinel knows {} any more", node.name));
                }
            }
            Err(ForgetError::Stopped(_)) => return Err(MemberError::Stopped),
            Err(error) => self.left(format!(
                "have the Sentinels forget {}, with halab forget, when this is mended: {error}",
                node.name
            )),
        }
        Ok(())
    }
}
