//! A backup under load, the loss of all data, and the restore of the backup.
//!
//! Stock nodes have no backup of their own: there it is a copy as by `redis-cli --rdb`, of the
//! replica, without a look at what the primary has.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backup::{self, BackupRequest};
use crate::node::{RestoreOrder, restore};

use super::definition::REMOVES_FILES;
use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

/// Time limit of the backup.
const BACKUP_LIMIT: Duration = Duration::from_secs(60);

/// A backup, by the kind of nodes.
enum Backup {
    /// Folder of a backup by `halab backup`.
    Folder(PathBuf),
    /// Copy of the data of a stock replica.
    Rdb(PathBuf),
}

pub(super) struct BackupAndRestore;

impl FaultInjector for BackupAndRestore {
    const DEFINITION: Definition = Definition {
        does: "a backup under load; then SIGKILL to every node, all that they had on disk is \
             removed, and the backup is restored",
        must: "what was acknowledged before the backup was begun, or after the restore, is there; \
             writes go on",
        requirement: Requirement::OwnNodes,
        failover: Failover::Allowed,
        writes: Writes::Continue,
        control: Control::STOCK_OUTRUN,
        not_in_containers: REMOVES_FILES,
        properties: Properties {
            discards_records: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let begun = context.observer.now();
        context.record("a backup is begun");
        let backup = take_backup(context).await?;
        context.record("the backup is complete");
        // These records are lost with the data.
        context.await_writes(WRITES_LIMIT).await?;
        context.begin_fault("SIGKILL to every node, and everything that they had on disk is gone");
        let lab = context.environment.lab.clone();
        for node in lab.nodes() {
            context.environment.nodes.kill(&node.name)?;
        }
        for node in lab.nodes() {
            context.environment.remove_data(&node.name)?;
        }
        context.findings.discarded = Some(begun..context.observer.now());
        restore_backup(context, backup).await?;
        context.record("the backup is restored");
        context.start_all().await
    }
}

async fn take_backup(context: &mut FaultContext<'_>) -> Result<Backup, InjectionError> {
    if context.environment.nodes.are_stock() {
        let path = context.environment.folder().join("copy.rdb");
        copy_replica(context, &path).await?;
        return Ok(Backup::Rdb(path));
    }
    let order = BackupRequest {
        into: context.environment.folder().join("backups"),
        from: None,
        limit: BACKUP_LIMIT,
    };
    let taken = backup::take(&context.environment.lab, &order, context.stop).await;
    let taken = taken.map_err(InjectionError::missed)?;
    Ok(Backup::Folder(taken.folder))
}

async fn copy_replica(context: &FaultContext<'_>, to: &Path) -> Result<(), InjectionError> {
    let replica = context.replica_of(&context.primary)?;
    let socket = context.node(&replica)?.socket();
    let copy = context.observer.connector.snapshot(socket).await;
    let mut copy = copy.map_err(InjectionError::missed)?;
    let mut file = fs::File::create(to).map_err(EnvironmentError::unavailable)?;
    while let Some(part) = copy.next().await.map_err(InjectionError::missed)? {
        file.write_all(&part)
            .map_err(EnvironmentError::unavailable)?;
    }
    Ok(())
}

async fn restore_backup(
    context: &mut FaultContext<'_>,
    backup: Backup,
) -> Result<(), InjectionError> {
    let environment = &context.environment;
    match backup {
        Backup::Rdb(path) => {
            let place = environment.state_of(&context.primary).join("dump.rdb");
            fs::copy(path, place).map_err(EnvironmentError::unavailable)?;
        }
        Backup::Folder(backup) => {
            let order = RestoreOrder {
                root: environment.folder().join("state"),
                node: None,
                backup,
                set_aside: false,
            };
            let restored = restore(&environment.lab, &order, context.stop).await;
            restored.map_err(InjectionError::missed)?;
        }
    }
    Ok(())
}
