//! The server of the primary and its supervisor are killed, as by a crash of its machine.

use super::prelude::*;

pub(super) struct KillPrimaryNode;

impl FaultInjector for KillPrimaryNode {
    const DEFINITION: Definition = Definition {
        does: "SIGKILL to the primary's server and its supervisor; started again after the \
               failover",
        must: "fails over after down-after; it comes back as a replica",
        requirement: Requirement::OwnNodes,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: None,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGKILL to the node {primary}"));
        context.environment.nodes.kill(&primary)?;
        context.await_failover_from(&primary).await
    }
}
