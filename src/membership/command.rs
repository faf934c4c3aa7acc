//! One `halab member` command.

use tokio::time::{Instant, sleep};

use crate::client::{Connector, with_members};
use crate::config::{Lab, Node, NodeKind};
use crate::protocol::member_change::Goal;
use crate::protocol::member_list::MemberKind;

use super::primary::{PrimaryView, find_primary};
use super::{
    ChangeOptions, ChangeReport, ChangeStep, MemberChange, MemberError, POLL_INTERVAL,
    STATEMENT_LIMIT, is_primary, kind_of,
};

/// A running command.
pub(super) struct MemberCommand<'a> {
    pub(super) lab: &'a Lab,
    pub(super) options: &'a ChangeOptions<'a>,
    pub(super) connector: Connector,
    steps: Vec<String>,
    follow_ups: Vec<String>,
}

impl<'a> MemberCommand<'a> {
    pub(super) fn new(lab: &'a Lab, options: &'a ChangeOptions<'a>, connector: Connector) -> Self {
        MemberCommand {
            lab,
            options,
            connector,
            steps: Vec::new(),
            follow_ups: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, change: &MemberChange) -> Result<ChangeReport, MemberError> {
        match change {
            MemberChange::Add(name) => self.add(name).await?,
            MemberChange::Remove(name) => self.remove(name).await?,
            MemberChange::Replace(old, new) => self.replace(old, new).await?,
        }
        let member_list = self.primary().await?.stored.member_list;
        let names = |kind| {
            member_list
                .of(kind)
                .iter()
                .map(|m| m.name.clone())
                .collect()
        };
        Ok(ChangeReport {
            dry_run: self.options.dry_run,
            steps: self.steps,
            data_nodes: names(MemberKind::Data),
            sentinels: names(MemberKind::Sentinel),
            next: self.follow_ups,
        })
    }

    /// The primary. A failover or another change may be in progress, so a failure is tried again.
    pub(super) async fn primary(&self) -> Result<PrimaryView, MemberError> {
        let deadline = Instant::now() + STATEMENT_LIMIT;
        loop {
            match find_primary(self.lab, &self.connector).await {
                Err(_) if Instant::now() < deadline && !self.options.stop.is_cancelled() => {
                    sleep(POLL_INTERVAL).await;
                }
                other => return other,
            }
        }
    }

    fn node_of_lab_toml(&self, name: &str) -> Result<Node, MemberError> {
        let node = self.lab.nodes().find(|n| n.name == name).cloned();
        node.ok_or_else(|| {
            MemberError::Refused(format!(
                "{name} is not in this lab.toml: add its name and address, and pass that file with --config"
            ))
        })
    }

    async fn add(&mut self, name: &str) -> Result<(), MemberError> {
        let node = self.node_of_lab_toml(name)?;
        let primary = self.primary().await?;
        let goal = Goal::Added {
            kind: kind_of(&node),
            name: node.name.clone(),
            address: node.socket(),
        };
        // Checked first: a new lab.toml would not help.
        if let Some(why) = goal.conflict_with(&primary.stored.member_list) {
            return Err(MemberError::Refused(why));
        }
        self.check_lab_toml_everywhere(&primary, &node).await?;
        self.run_steps(&goal).await?;
        if !self.options.dry_run {
            self.record_step(format!("{name} is a full member"));
        }
        Ok(())
    }

    async fn remove(&mut self, name: &str) -> Result<(), MemberError> {
        let primary = self.primary().await?;
        let all = with_members(self.lab, &primary.stored.member_list);
        let Some(node) = all.nodes().find(|n| n.name == name).cloned() else {
            return Err(MemberError::Refused(format!(
                "{name} is not a member and not in lab.toml: see halab member list; for a stranger that halab status shows, use halab \
                 forget"
            )));
        };
        self.check_remaining_sentinels(&primary, &node).await?;
        let goal = Goal::Removed {
            kind: kind_of(&node),
            name: name.to_owned(),
        };
        self.run_steps(&goal).await?;
        if self.options.dry_run {
            return Ok(());
        }
        self.wait_until_stopped(&node).await?;
        let member_list = self.primary().await?.stored.member_list;
        if member_list.member(kind_of(&node), name).is_some() {
            return Err(MemberError::Refused(format!(
                "{name} was made a member again meanwhile: start its node"
            )));
        }
        self.forget_node(&node).await?;
        self.note_follow_up(format!(
            "remove {name} from lab.toml on every host, then restart the nodes one at a time, the primary's last; until then, if all \
             nodes are stopped together, they wait for {name} at the next start"
        ));
        Ok(())
    }

    async fn replace(&mut self, old: &str, new: &str) -> Result<(), MemberError> {
        let new_node = self.node_of_lab_toml(new)?;
        let primary = self.primary().await?;
        let all = with_members(self.lab, &primary.stored.member_list);
        let Some(old_node) = &all.nodes().find(|n| n.name == old).cloned() else {
            return Err(MemberError::Refused(format!(
                "{old} is not a member: see halab member list; to add {new} alone, use halab member add {new}"
            )));
        };
        if old == new {
            return Err(MemberError::Refused(
                "a node cannot replace itself: if it has lost its disk, just start it again; if it moves to another address, give it \
                 another name"
                    .into(),
            ));
        }
        if old_node.kind != new_node.kind {
            return Err(MemberError::Refused(format!(
                "{old} and {new} are of different kinds: a data node replaces a data node, a Sentinel replaces a Sentinel"
            )));
        }
        if primary.node.name == old {
            return Err(MemberError::Refused(is_primary(old)));
        }
        if old_node.kind == NodeKind::Data && self.lab.node(old).is_none() {
            return Err(MemberError::Refused(format!(
                "{old} is not in this lab.toml: keep it there beside {new}, on every host, until this command has removed it"
            )));
        }
        self.add(new).await?;
        if self.options.dry_run {
            self.check_removable_after(old_node, new).await?;
            self.record_step(format!("after that, {old} would be removed"));
            return Ok(());
        }
        self.remove(old).await
    }

    pub(super) fn record_step(&mut self, what: String) {
        self.record(&ChangeStep::Done(what));
    }

    pub(super) fn record(&mut self, step: &ChangeStep) {
        (self.options.on_step)(step);
        self.steps.push(step.to_string());
    }

    /// Notes what the operator has to do next.
    pub(super) fn note_follow_up(&mut self, what: String) {
        if !self.follow_ups.contains(&what) {
            self.follow_ups.push(what);
        }
    }
}
