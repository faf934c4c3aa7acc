//! The server of the replica and its supervisor hang.

use super::prelude::*;

pub(super) struct HangReplica;

impl FaultInjector for HangReplica {
    const DEFINITION: Definition = Definition {
        does: "SIGSTOP to the replica's server and its supervisor",
        must: "no failover; writes go on",
        requirement: Requirement::Signals,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: None,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let replica = context.replica_of(&primary)?;
        context.begin_fault(format!("SIGSTOP to the node {replica}"));
        context.environment.nodes.hang(&replica, true).await?;
        context.observe_no_failover_from(&primary).await
    }
}
