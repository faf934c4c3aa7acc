//! The node of the primary restarts before the Sentinels notice, with its data.

use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

pub(super) struct RestartPrimaryInDownAfter;

impl FaultInjector for RestartPrimaryInDownAfter {
    const DEFINITION: Definition = Definition {
        does: "the primary's node killed, and started again at once with its data",
        must: "no replica takes over an older state of the data",
        requirement: Requirement::OwnNodes,
        failover: Failover::Allowed,
        writes: Writes::Continue,
        control: Control::STOCK,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGKILL to the node {primary}"));
        context.environment.nodes.kill(&primary)?;
        context.record(format!("{primary} started again"));
        context.environment.nodes.start(&primary)?;
        context.phases.begin("observe");
        context.await_writes(WRITES_LIMIT).await
    }
}
