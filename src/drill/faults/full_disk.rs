//! The file system of the primary's state folder is full.

use super::definition::CHANGES_SERVERS;

use super::prelude::*;

pub(super) struct FullDisk;

impl FaultInjector for FullDisk {
    const DEFINITION: Definition = Definition {
        does: "no space is left on the disk of the primary's state folder, until after the \
             failover",
        must: "its node names the remedy, and has the other one take over; it comes back as a \
             replica when there is space",
        requirement: Requirement::OwnDisks,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let before = context.environment.log_of(&primary).len();
        context.begin_fault(format!("the disk of {primary} is full"));
        context.environment.disk_of(&primary)?.fill()?;
        context.await_failover_from(&primary).await?;
        context.await_message(&primary, before, "free space").await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        let disks = environment.heal_disks();
        disks.and(environment.nodes.heal())
    }
}
