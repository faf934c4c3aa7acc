//! The primary's disk is replaced by an older snapshot while the lab is stopped.

use std::fs;
use std::io;
use std::path::Path;

use super::definition::REMOVES_FILES;

use super::prelude::*;

pub(super) struct RollBackDiskInStop;

impl FaultInjector for RollBackDiskInStop {
    const DEFINITION: Definition = Definition {
        does: "every node stopped as one act, an older snapshot put in place of the primary's \
             state folder, all started again",
        must: "the other node, which holds more, takes the role; no copy is replaced by the older \
             one",
        requirement: Requirement::OwnNodes,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::STOCK,
        not_in_containers: REMOVES_FILES,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        // A snapshot of a node that was stopped in order: nothing is wrong with it but its age.
        context.stop_all().await?;
        let folder = context.environment.state_of(&primary);
        let snapshot = context.environment.folder().join("snapshot");
        copy_folder(&folder, &snapshot).map_err(EnvironmentError::unavailable)?;
        context.record(format!("a snapshot of the disk of {primary} is taken"));
        context.start_all().await?;
        context.await_recovery().await?;
        if context.observer.named_primary().await.as_ref() != Some(&primary) {
            return Err(InjectionError::Missed(format!(
                "{primary} is not primary after a stop and a start"
            )));
        }
        context.stop_all().await?;
        context.environment.remove_data(&primary)?;
        copy_folder(&snapshot, &folder).map_err(EnvironmentError::unavailable)?;
        context.record(format!(
            "the disk of {primary} is as it was in the snapshot"
        ));
        context.start_all().await
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
