//! The primary's disk is replaced by an empty one while the lab is stopped.

use super::definition::REMOVES_FILES;

use super::prelude::*;

pub(super) struct LoseDiskInStop;

impl FaultInjector for LoseDiskInStop {
    const DEFINITION: Definition = Definition {
        does: "every node stopped as one act, the primary's state folder removed, all started \
             again",
        must: "the other node, which has everything, takes the role; no node copies from the empty \
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
        context.stop_all().await?;
        context.environment.remove_data(&primary)?;
        context.record(format!("everything that {primary} had on disk is gone"));
        context.start_all().await
    }
}
