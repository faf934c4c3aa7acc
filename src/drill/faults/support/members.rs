//! Changes of the members of the lab, as by `halab member`.

use std::pin::pin;
use std::time::Duration;

use crate::config::{Lab, Node, NodeKind};
use crate::drill::environment::lab_toml::{free_octets, with_members};
use crate::drill::faults::{FaultContext, InjectionError};
use crate::drill::judging::LabEventKind;
use crate::membership::{ChangeOptions, ChangeStep, MemberChange, change};

/// Time limit of a copy or a start.
const STEP_LIMIT: Duration = Duration::from_secs(60);

impl FaultContext<'_> {
    /// A node that the lab does not have, at a free address.
    pub(in crate::drill::faults) fn new_node(
        &self,
        kind: NodeKind,
        name: &str,
    ) -> Result<Node, InjectionError> {
        if !self.environment.nodes.are_ours() {
            return Err(InjectionError::refused(
                "only nodes of this program support changes of the members",
            ));
        }
        let lab = &self.environment.lab;
        let like = match kind {
            NodeKind::Data => lab.data_nodes.first(),
            NodeKind::Sentinel => lab.sentinels.first(),
        };
        let (Some(like), Some(free)) = (like, free_octets(lab).next()) else {
            return Err(InjectionError::refused("no address is free"));
        };
        let [a, b, c, _] = like.address.octets();
        Ok(Node {
            name: name.to_owned(),
            kind,
            address: [a, b, c, free].into(),
            port: like.port,
        })
    }

    /// Nodes that start from now on read a `lab.toml` with one node added and one removed.
    pub(in crate::drill::faults) fn edit_members(
        &mut self,
        added: Option<&Node>,
        removed: Option<&Node>,
    ) -> Result<(), InjectionError> {
        let edit = |text: &str| with_members(text, added, removed);
        Ok(self.environment.edit_config(edit)?)
    }

    /// Restarts every node of `lab`, one at a time, the primary's last; after each, waits until
    /// `all` has recovered.
    pub(in crate::drill::faults) async fn restart_members(
        &mut self,
        lab: &Lab,
        all: &Lab,
    ) -> Result<(), InjectionError> {
        let primary = self.await_recovery_of(all).await?;
        let mut names: Vec<String> = lab.nodes().map(|n| n.name.clone()).collect();
        names.sort_by_key(|name| *name == primary);
        for name in names {
            self.record(format!("SIGTERM to the node {name}; started again"));
            let nodes = &mut self.environment.nodes;
            nodes.terminate(std::slice::from_ref(&name)).await?;
            nodes.start(&name)?;
            self.await_recovery_of(all).await?;
        }
        Ok(())
    }

    /// Carries out a change of the members.
    pub(in crate::drill::faults) async fn change_members(
        &mut self,
        lab: &Lab,
        what: MemberChange,
    ) -> Result<(), InjectionError> {
        let observer = self.observer;
        let tell = |step: &ChangeStep| observer.record(LabEventKind::Action(step.to_string()));
        let options = ChangeOptions {
            dry_run: false,
            step_limit: STEP_LIMIT,
            stop: self.stop,
            on_step: &tell,
        };
        let done = change(lab, &what, &options).await;
        done.map(drop).map_err(InjectionError::refused)
    }

    /// The same, and stops the node when it is no member any more.
    pub(in crate::drill::faults) async fn change_members_and_stop(
        &mut self,
        lab: &Lab,
        what: MemberChange,
        node: &str,
    ) -> Result<(), InjectionError> {
        let observer = self.observer;
        let (ready, mut is_ready) = tokio::sync::watch::channel(false);
        let tell = |step: &ChangeStep| {
            observer.record(LabEventKind::Action(step.to_string()));
            if matches!(step, ChangeStep::StopNode(_)) {
                ready.send_replace(true);
            }
        };
        let options = ChangeOptions {
            dry_run: false,
            step_limit: STEP_LIMIT,
            stop: self.stop,
            on_step: &tell,
        };
        let names = [node.to_owned()];
        let nodes = &mut self.environment.nodes;
        let stopped = async {
            if is_ready.wait_for(|ready| *ready).await.is_ok() {
                nodes.terminate(&names).await?;
                nodes.leave_stopped(node);
            }
            Ok::<_, InjectionError>(())
        };
        let changed = async {
            let done = change(lab, &what, &options).await;
            done.map(drop).map_err(InjectionError::refused)
        };
        let (mut changed, mut stopped) = (pin!(changed), pin!(stopped));
        tokio::select! {
            // The node may have been silent already.
            done = &mut changed => done,
            done = &mut stopped => {
                done?;
                changed.await
            }
        }
    }
}
