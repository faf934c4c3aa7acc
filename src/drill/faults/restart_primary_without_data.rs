//! The node of the primary restarts before the Sentinels notice, without its data.

use super::definition::REMOVES_FILES;
use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

pub(super) struct RestartPrimaryWithoutData;

impl FaultInjector for RestartPrimaryWithoutData {
    const DEFINITION: Definition = Definition {
        does: "the primary's node killed, its data removed, and started again at once",
        must: "the empty node does not become primary again",
        requirement: Requirement::OwnNodes,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::STOCK,
        not_in_containers: REMOVES_FILES,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGKILL to the node {primary}"));
        context.environment.nodes.kill(&primary)?;
        context.environment.remove_data(&primary)?;
        context.record(format!("{primary} started again"));
        context.environment.nodes.start(&primary)?;
        context.phases.begin("observe");
        context.await_writes(WRITES_LIMIT).await
    }
}
