//! The checks before the first step of a change.

use std::slice::from_ref;

use tokio::time::{Instant, sleep};

use crate::client::with_members;
use crate::config::{Node, NodeKind};
use crate::protocol::member_change::Goal;

use super::command::MemberCommand;
use super::listing::nodes_missing_at;
use super::observer::ConditionObserver;
use super::primary::PrimaryView;
use super::{MemberError, POLL_INTERVAL, STATEMENT_LIMIT, kind_of};

impl MemberCommand<'_> {
    /// Refuses if a node that answers runs with a `lab.toml` without `new`, or if `new` runs with
    /// one that lacks a member.
    pub(super) async fn check_lab_toml_everywhere(
        &mut self,
        primary: &PrimaryView,
        new: &Node,
    ) -> Result<(), MemberError> {
        let all = with_members(self.lab, &primary.stored.member_list);
        let others = primary
            .lab
            .data_nodes
            .iter()
            .filter(|n| n.name != primary.node.name);
        let mut alone = true;
        for other in others.filter(|n| n.name != new.name) {
            alone &= self.connector.open(other.socket()).await.is_err();
        }
        // The only copy cannot be stopped for a restart. Until its node is restarted, it neither
        // takes part in a failover to the new node nor follows it.
        let exempt = |n: &Node| alone && n.name == primary.node.name;
        // A Sentinel that is not in this lab.toml is being removed, and keeps its own.
        let listed = |n: &Node| n.kind == NodeKind::Data || self.lab.node(&n.name).is_some();
        let asked = all.nodes().filter(|n| listed(n) && !exempt(n));
        let asked: Vec<Node> = asked.cloned().collect();
        self.check_known_nodes(&asked, from_ref(new)).await?;
        let members: Vec<Node> = primary.lab.nodes().filter(|n| listed(n)).cloned().collect();
        self.check_known_nodes(from_ref(new), &members).await?;
        let missing = nodes_missing_at(&self.connector, &primary.node, from_ref(new));
        if alone && missing.await.is_some() {
            self.note_follow_up(format!(
                "run halab handover, then restart the node of {} with this lab.toml: until then it does not follow {}",
                primary.node.name, new.name
            ));
        }
        Ok(())
    }

    /// Refuses if a remaining node runs with a `lab.toml` without another remaining Sentinel. Such
    /// a node could not reach a majority without the removed Sentinel.
    pub(super) async fn check_remaining_sentinels(
        &self,
        primary: &PrimaryView,
        removed: &Node,
    ) -> Result<(), MemberError> {
        if removed.kind == NodeKind::Data {
            return Ok(());
        }
        let remaining = primary.lab.sentinels.iter();
        let remaining = remaining.filter(|n| n.name != removed.name);
        let remaining: Vec<Node> = remaining.cloned().collect();
        let asked = primary.lab.data_nodes.iter().chain(&remaining);
        let asked: Vec<Node> = asked.cloned().collect();
        self.check_known_nodes(&asked, &remaining).await
    }

    /// Refuses if `old` could not be removed once `new` is a full member.
    pub(super) async fn check_removable_after(
        &self,
        old: &Node,
        new: &str,
    ) -> Result<(), MemberError> {
        let primary = self.primary().await?;
        self.check_remaining_sentinels(&primary, old).await?;
        let goal = Goal::Removed {
            kind: kind_of(old),
            name: old.name.clone(),
        };
        let mut observer = ConditionObserver::assuming(new);
        let conditions = observer
            .observe(&self.connector, &primary, &goal, self.lab.quorum)
            .await;
        conditions.sufficient_without.map_err(MemberError::Refused)
    }

    /// Refuses if one of `asked` runs with a `lab.toml` that lacks one of `required`, or has it at
    /// another address.
    async fn check_known_nodes(
        &self,
        asked: &[Node],
        required: &[Node],
    ) -> Result<(), MemberError> {
        let deadline = Instant::now() + STATEMENT_LIMIT;
        let mut missing;
        loop {
            missing = Vec::new();
            for node in asked {
                missing.extend(nodes_missing_at(&self.connector, node, required).await);
            }
            if missing.is_empty() {
                return Ok(());
            }
            if self.options.stop.is_cancelled() {
                return Err(MemberError::Stopped);
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(MemberError::Refused(format!(
            "{}. Put the new lab.toml on its host and restart its node, one node at a time and the primary's last (it hands over), each \
             when halab status shows no problem but the change; then run this again",
            missing.join("; ")
        )))
    }
}
