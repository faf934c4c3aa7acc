//! What happens to one node while the whole lab is stopped, and what cuts a planned act short.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::closing::close;
use crate::config::{Lab, Node};
use crate::drill::report::NodesKind;
use crate::drill::slow::Held;
use crate::handover::hand_over;

use super::files::Harm;
use super::host::unavailable;
use super::{GO_ON_LIMIT, Scene, Trouble};

/// How long replicas may take to be level when the lab is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);
/// Within that time a server that syncs once a second has begun to.
const SYNC_BEGINS: Duration = Duration::from_secs(2);
/// A planned handover is cut short at a moment within that time after the promotion.
const CUT_SHORT: Duration = Duration::from_millis(500);

impl Scene<'_> {
    /// Stops every node as one act: closed first, where the nodes are ours.
    pub(super) async fn stop_all(&mut self) -> Result<(), Trouble> {
        let lab = self.ground.lab.clone();
        self.stop_all_of(&lab).await
    }

    /// The same, where the nodes are at the addresses of that lab.
    pub(super) async fn stop_all_of(&mut self, lab: &Lab) -> Result<(), Trouble> {
        self.strike("every node stopped, as one act".into());
        if self.ground.nodes() != NodesKind::Stock {
            let closed = close(lab, &self.observer.connector, CLOSE_LIMIT)
                .await
                .map_err(|error| Trouble::Refused(error.to_string()))?;
            if !closed.others.is_empty() {
                let text = format!(
                    "not level when the lab was closed: {}",
                    closed.others.join(", ")
                );
                return Err(Trouble::Missed(text));
            }
        }
        let names = |nodes: &[Node]| nodes.iter().map(|n| n.name.clone()).collect::<Vec<_>>();
        // The Sentinels first: no failover is wanted.
        self.ground.stop_nodes(&names(&lab.sentinels)).await?;
        self.ground.stop_nodes(&names(&lab.data_nodes)).await?;
        Ok(())
    }

    /// Starts everything again, and waits until writes go on.
    pub(super) async fn start_all(&mut self) -> Result<(), Trouble> {
        self.did("all started again".into());
        self.ground.heal()?;
        self.steps.begin("observe");
        self.writes_go_on(GO_ON_LIMIT).await
    }

    pub(super) async fn lose_disk_in_stop(&mut self, p: &str) -> Result<(), Trouble> {
        self.stop_all().await?;
        self.ground.remove_data(p)?;
        self.did(format!("everything that {p} had on disk is gone"));
        self.start_all().await
    }

    pub(super) async fn roll_back_disk_in_stop(&mut self, p: &str) -> Result<(), Trouble> {
        // A snapshot of a node that was stopped in order: nothing is wrong with it but its age.
        self.stop_all().await?;
        let folder = self.ground.folder().join("state").join(p);
        let snapshot = self.ground.folder().join("snapshot");
        copy_folder(&folder, &snapshot).map_err(unavailable)?;
        self.did(format!("a snapshot of the disk of {p} is taken"));
        self.start_all().await?;
        self.recovered().await?;
        let named = self.observer.named().await;
        if named.as_deref() != Some(p) {
            return Err(Trouble::Missed(format!(
                "{p} is not primary after a stop and a start"
            )));
        }
        self.stop_all().await?;
        self.ground.remove_data(p)?;
        copy_folder(&snapshot, &folder).map_err(unavailable)?;
        self.did(format!("the disk of {p} is as it was in the snapshot"));
        self.start_all().await
    }

    pub(super) async fn harm_file_in_stop(&mut self, p: &str, harm: Harm) -> Result<(), Trouble> {
        self.fill_file(p).await?;
        self.stop_all().await?;
        self.harm(p, harm)?;
        self.start_all().await
    }

    pub(super) async fn start_without_primary(&mut self, p: &str) -> Result<(), Trouble> {
        self.stop_all().await?;
        let lab = self.ground.lab.clone();
        let names = lab.sentinels.iter().chain(&lab.data_nodes).map(|n| &n.name);
        for name in names.filter(|name| *name != p) {
            self.ground.start_node(name)?;
        }
        self.did(format!("all started again but {p}"));
        self.failover_from(p).await
    }

    /// Everything ends at one moment, as in a power cut that leaves the disks' caches.
    pub(super) async fn crash_all(&mut self) -> Result<(), Trouble> {
        self.strike("SIGKILL to every node".into());
        let names: Vec<String> = self.ground.lab.nodes().map(|n| n.name.clone()).collect();
        for name in names {
            self.ground.kill_node(&name)?;
        }
        self.start_all().await
    }

    /// The same, while no sync of an append-only file comes to its end: what was written and not synced has to be there.
    pub(super) async fn crash_all_on_slow_disks(&mut self) -> Result<(), Trouble> {
        self.strike("a sync takes 1.5 s on every disk".into());
        let data_nodes = self.ground.lab.data_nodes.clone();
        for node in &data_nodes {
            self.ground.slow_disk(&node.name, Held::Syncs).await?;
        }
        self.writes_go_on(GO_ON_LIMIT).await?;
        self.some_time(SYNC_BEGINS).await?;
        self.crash_all().await
    }

    /// A planned handover, and the new primary is lost before the old one is in sync with it.
    pub(super) async fn handover_then_kill_new(
        &mut self,
        from: &str,
        whole_node: bool,
    ) -> Result<(), Trouble> {
        self.strike(format!("handover from {from}"));
        let mut tasks = JoinSet::new();
        if self.ground.nodes() == NodesKind::Stock {
            let socket = self.ground.lab.node(from).map(Node::socket);
            let socket = socket.ok_or_else(|| Trouble::Refused(format!("no node {from}")))?;
            let called = self.observer.panel.call_failover(socket).await;
            called.map_err(Trouble::Refused)?;
        } else {
            let (lab, connector) = (self.ground.lab.clone(), self.observer.connector.clone());
            // It goes on beside what follows, as the command of an operator would.
            tasks.spawn(async move { hand_over(&lab, &connector).await });
        }
        let other = || {
            self.observer
                .primaries()
                .into_iter()
                .find(|name| name != from)
        };
        let deadline = Instant::now() + GO_ON_LIMIT;
        self.until(deadline, "another node to become primary", || {
            other().is_some()
        })
        .await?;
        let new = other().ok_or_else(|| Trouble::Missed("nobody took over".into()))?;
        if self.outrun_later {
            self.ground.outrun()?;
        }
        let most = u64::try_from(CUT_SHORT.as_millis()).unwrap_or(0);
        let after = Duration::from_millis(self.rng.random_range(0..=most));
        sleep(after).await;
        if whole_node {
            self.strike(format!("SIGKILL to the node {new}"));
            self.ground.kill_node(&new)?;
            // Started again some seconds later, when the Sentinels have given the failover up.
            let long = 2 * self.ground.lab.timing.failover_timeout;
            let away = Duration::from_millis(self.rng.random_range(0..=most)) + long / 2;
            sleep(away).await;
            self.did(format!("{new} started again"));
            self.ground.start_node(&new)?;
        } else {
            self.strike(format!("SIGKILL to the server of {new}"));
            self.ground.kill_server(&new).await?;
            if self.ground.nodes() == NodesKind::Stock {
                self.ground.heal()?;
            }
        }
        self.steps.begin("observe");
        self.writes_go_on(GO_ON_LIMIT).await
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
