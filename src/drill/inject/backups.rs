//! A backup under load, the loss of everything, and the way back.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::backup::{self, BackupRequest};
use crate::config::Node;
use crate::drill::report::NodesKind;
use crate::node::{RestoreOrder, restore};

use super::host::unavailable;
use super::{GO_ON_LIMIT, Scene, Trouble};

/// How long a backup of what a drill has written may take.
const BACKUP_LIMIT: Duration = Duration::from_secs(60);

impl Scene<'_> {
    pub(super) async fn backup_and_restore(&mut self, p: &str) -> Result<(), Trouble> {
        let stock = self.ground.nodes() == NodesKind::Stock;
        let plain = self.ground.folder().join("copy.rdb");
        let begun = self.observer.now();
        self.did("a backup is begun".into());
        let folder = if stock {
            self.copy_of_replica(p, &plain).await?;
            None
        } else {
            let order = BackupRequest {
                into: self.ground.folder().join("backups"),
                from: None,
                limit: BACKUP_LIMIT,
            };
            let taken = backup::take(&self.ground.lab, &order, self.stop)
                .await
                .map_err(|error| Trouble::Missed(error.to_string()))?;
            Some(taken.folder)
        };
        self.did("the backup is complete".into());
        // What comes after it is to be lost.
        self.writes_go_on(GO_ON_LIMIT).await?;
        self.strike("SIGKILL to every node, and everything that they had on disk is gone".into());
        let lab = self.ground.lab.clone();
        for node in lab.nodes() {
            self.ground.kill_node(&node.name)?;
        }
        for node in lab.nodes() {
            self.ground.remove_data(&node.name)?;
        }
        self.given_up = Some(begun..self.observer.now());
        let state = self.ground.folder().join("state");
        match folder {
            None => {
                let place = state.join(p).join("dump.rdb");
                fs::copy(&plain, place).map_err(unavailable)?;
            }
            Some(backup) => {
                let order = RestoreOrder {
                    root: state,
                    node: None,
                    backup,
                    set_aside: false,
                };
                restore(&lab, &order, self.stop)
                    .await
                    .map_err(|error| Trouble::Missed(error.to_string()))?;
            }
        }
        self.did("the backup is restored".into());
        self.start_all().await
    }

    /// What a first search for a backup of Redis gives: `redis-cli --rdb`, of the replica.
    async fn copy_of_replica(&mut self, p: &str, to: &Path) -> Result<(), Trouble> {
        let failed = |why: String| Trouble::Missed(why);
        let replica = self.replica(p)?;
        let socket = self.ground.lab.node(&replica).map(Node::socket);
        let socket = socket.ok_or_else(|| failed(format!("no node {replica}")))?;
        let connector = &self.observer.connector;
        let copy = connector.snapshot(socket).await;
        let mut copy = copy.map_err(|error| failed(error.to_string()))?;
        let mut file = fs::File::create(to).map_err(unavailable)?;
        while let Some(part) = copy
            .next()
            .await
            .map_err(|error| failed(error.to_string()))?
        {
            file.write_all(&part).map_err(unavailable)?;
        }
        Ok(())
    }
}
