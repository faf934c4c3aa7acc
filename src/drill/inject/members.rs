//! Nodes that come and go: an operation, not a loss. What is done ends with the members that it began with.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Lab, Node, NodeKind};
use crate::drill::lab_toml::{free_octets, restated};
use crate::drill::report::NodesKind;
use crate::membership::{ChangeOptions, MemberChange, change};
use crate::recovery::Recovery;
use crate::sentinel::Panel;

use super::{ASK_AGAIN, RECOVERY_LIMIT, Scene, Trouble};

/// ChangeOptions long a copy or a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Scene<'_> {
    /// A third data node comes, every node is told, and it goes.
    pub(super) async fn add_and_remove_data_node(&mut self) -> Result<(), Trouble> {
        let before = self.ground.lab.clone();
        let new = self.new_node(NodeKind::Data, "redis-new")?;
        let mut with = before.clone();
        with.data_nodes.push(new.clone());
        self.restate(Some(&new), None)?;
        self.strike(format!("{} is started", new.name));
        self.ground.take_in(&new)?;
        self.restart_members(&before, &before).await?;
        self.done(&with, MemberChange::Add(new.name.clone()))
            .await?;
        self.recovered_as(&with).await?;
        // It is what it says: the next loss is a first one.
        self.did(format!(
            "{} is stopped when no writer asks for it",
            new.name
        ));
        let remove = MemberChange::Remove(new.name.clone());
        self.done_and_stopped(&with, remove, &new.name).await?;
        self.restate(None, None)?;
        self.restart_members(&before, &before).await
    }

    /// A Sentinel is replaced by one at another address, and then that one by the first.
    pub(super) async fn replace_sentinel(&mut self) -> Result<(), Trouble> {
        let before = self.ground.lab.clone();
        let new = self.new_node(NodeKind::Sentinel, "sentinel-new")?;
        let old = before.sentinels.last().cloned();
        let old = old.ok_or_else(|| Trouble::Missed("there is no Sentinel".into()))?;
        let mut after = before.clone();
        after.sentinels.retain(|n| n.name != old.name);
        after.sentinels.push(new.clone());
        let mut both = before.clone();
        both.sentinels.push(new.clone());

        self.restate(Some(&new), Some(&old))?;
        self.strike(format!("{} is started, to replace {}", new.name, old.name));
        self.ground.take_in(&new)?;
        self.swap(&after, &both, (&old, &new)).await?;
        self.restate(None, None)?;
        self.did(format!("{} is started, to replace {}", old.name, new.name));
        self.ground.start_node(&old.name)?;
        self.swap(&before, &both, (&new, &old)).await
    }

    async fn swap(
        &mut self,
        lab: &Lab,
        both: &Lab,
        (old, new): (&Node, &Node),
    ) -> Result<(), Trouble> {
        let mut restarted = lab.clone();
        restarted.sentinels.retain(|n| n.name != new.name);
        self.restart_members(&restarted, both).await?;
        let replace = MemberChange::Replace(old.name.clone(), new.name.clone());
        self.done_and_stopped(lab, replace, &old.name).await?;
        self.recovered_as(lab).await.map(drop)
    }

    fn new_node(&self, kind: NodeKind, name: &str) -> Result<Node, Trouble> {
        if self.ground.nodes() != NodesKind::Ours {
            return Err(Trouble::Refused(
                "only nodes of this program know how others come and go".into(),
            ));
        }
        let lab = &self.ground.lab;
        let like = match kind {
            NodeKind::Data => lab.data_nodes.first(),
            NodeKind::Sentinel => lab.sentinels.first(),
        };
        let (Some(like), Some(free)) = (like, free_octets(lab).next()) else {
            return Err(Trouble::Refused("no address is free".into()));
        };
        let [a, b, c, _] = like.address.octets();
        Ok(Node {
            name: name.to_owned(),
            kind,
            address: [a, b, c, free].into(),
            port: like.port,
        })
    }

    /// Every node that is started from now on reads a `lab.toml` with the one node and without the other.
    fn restate(&mut self, with: Option<&Node>, without: Option<&Node>) -> Result<PathBuf, Trouble> {
        Ok(self.ground.restate(|text| restated(text, with, without))?)
    }

    /// Starts every node of `lab` again, one at a time, the primary's last; each time until `all` has recovered.
    async fn restart_members(&mut self, lab: &Lab, all: &Lab) -> Result<(), Trouble> {
        let primary = self.recovered_as(all).await?;
        let mut names: Vec<String> = lab.nodes().map(|n| n.name.clone()).collect();
        names.sort_by_key(|name| *name == primary);
        for name in names {
            self.did(format!("SIGTERM to the node {name}; started again"));
            self.ground.stop_nodes(std::slice::from_ref(&name)).await?;
            self.ground.start_node(&name)?;
            self.recovered_as(all).await?;
        }
        Ok(())
    }

    async fn done(&mut self, lab: &Lab, what: MemberChange) -> Result<(), Trouble> {
        let observer = self.observer;
        let tell = |step: &str| observer.note(super::What::Did(step.to_owned()));
        let how = ChangeOptions {
            dry_run: false,
            step_limit: PATIENCE,
            stop: self.stop,
            on_step: &tell,
        };
        let done = change(lab, &what, &how).await;
        done.map(drop)
            .map_err(|error| Trouble::Refused(error.to_string()))
    }

    /// The same, and stops the node when it is no part of the lab any more.
    async fn done_and_stopped(
        &mut self,
        lab: &Lab,
        what: MemberChange,
        node: &str,
    ) -> Result<(), Trouble> {
        let observer = self.observer;
        let (ready, is_ready) = tokio::sync::watch::channel(false);
        let tell = |step: &str| {
            observer.note(super::What::Did(step.to_owned()));
            if step.contains("stop its node now") {
                ready.send_replace(true);
            }
        };
        let how = ChangeOptions {
            dry_run: false,
            step_limit: PATIENCE,
            stop: self.stop,
            on_step: &tell,
        };
        let mut is_ready = is_ready;
        let names = [node.to_owned()];
        let ground = &mut *self.ground;
        let stopped = async {
            if is_ready.wait_for(|ready| *ready).await.is_ok() {
                ground.stop_nodes(&names).await?;
                ground.let_go(&names[0]);
            }
            Ok::<_, Trouble>(())
        };
        let changed = async {
            let done = change(lab, &what, &how).await;
            done.map(drop)
                .map_err(|error| Trouble::Refused(error.to_string()))
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

    /// Waits until the lab has recovered, with these nodes.
    pub(super) async fn recovered_as(&self, lab: &Lab) -> Result<String, Trouble> {
        let deadline = Instant::now() + RECOVERY_LIMIT;
        let connector = &self.observer.connector;
        let panel = Panel::new(lab, connector.clone());
        let mut recovery = Recovery::default();
        loop {
            match recovery.observe(lab, &panel, connector).await {
                Ok(primary) => return Ok(primary),
                Err(missing) => {
                    let what = format!("the lab to recover: {missing}");
                    self.pause(deadline, &what, ASK_AGAIN).await?;
                }
            }
        }
    }
}
