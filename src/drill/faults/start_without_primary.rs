//! The primary's node does not start again after a stop of the whole lab.

use super::prelude::*;

pub(super) struct StartWithoutPrimary;

impl FaultInjector for StartWithoutPrimary {
    const DEFINITION: Definition = Definition {
        does: "every node stopped as one act, all started again but the primary's",
        must: "the other node has everything and knows it: it takes the role without an operator",
        requirement: Requirement::OwnNodes,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::STOCK_OUTRUN,
        not_in_containers: None,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.stop_all().await?;
        let lab = context.environment.lab.clone();
        let nodes = lab.sentinels.iter().chain(&lab.data_nodes);
        for node in nodes.filter(|node| node.name != primary) {
            context.environment.nodes.start(&node.name)?;
        }
        context.record(format!("all started again but {primary}"));
        context.await_failover_from(&primary).await
    }
}
