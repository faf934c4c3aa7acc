//! The node of the primary is stopped as by systemd or an operator.

use super::prelude::*;

pub(super) struct StopPrimary;

impl FaultInjector for StopPrimary {
    const DEFINITION: Definition = Definition {
        does: "SIGTERM to the primary's node; started again after the failover",
        must: "hands over before it ends: a pause shorter than down-after, no failed write",
        requirement: Requirement::OwnNodes,
        failover: Failover::AtLeast(1),
        writes: Writes::ShortPause,
        control: Control::STOCK_OUTRUN,
        not_in_containers: None,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGTERM to the node {primary}"));
        let nodes = &mut context.environment.nodes;
        nodes.terminate(std::slice::from_ref(&primary)).await?;
        context.await_failover_from(&primary).await
    }
}
