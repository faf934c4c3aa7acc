//! The server of the replica and its supervisor are killed.

use super::prelude::*;

pub(super) struct KillReplica;

impl FaultInjector for KillReplica {
    const DEFINITION: Definition = Definition {
        does: "SIGKILL to the replica's server and its supervisor",
        must: "no failover; writes go on",
        requirement: Requirement::OwnNodes,
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
        context.begin_fault(format!("SIGKILL to the node {replica}"));
        context.environment.nodes.kill(&replica)?;
        context.observe_no_failover_from(&primary).await
    }
}
