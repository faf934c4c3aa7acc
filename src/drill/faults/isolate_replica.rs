//! The replica is cut off from all other nodes: it is the minority of a partition, without the
//! primary.

use super::prelude::*;

pub(super) struct IsolateReplica;

impl FaultInjector for IsolateReplica {
    const DEFINITION: Definition = Definition {
        does: "the replica's packets to and from every other node are dropped",
        must: "no failover; writes go on; the replica catches up when its links are healed",
        requirement: Requirement::OwnNetwork,
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
        let links = context.links_of(&[&replica]);
        context.begin_fault(format!("{replica} cut off from every other node"));
        context.environment.isolate(&replica, &links)?;
        context.observe_no_failover_from(&primary).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_links()
    }
}
