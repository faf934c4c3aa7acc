//! The data nodes are cut off from each other, and the Sentinels see both.

use super::definition::CUTS_SOME_LINKS;

use super::prelude::*;

pub(super) struct CutReplicationLink;

impl FaultInjector for CutReplicationLink {
    const DEFINITION: Definition = Definition {
        does: "packets between the two data nodes are dropped, and nothing else",
        must: "no failover; writes go on",
        requirement: Requirement::OwnNetwork,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: CUTS_SOME_LINKS,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let from = context.address(&primary);
        let data_nodes = context.environment.lab.data_nodes.iter();
        let replicas = data_nodes.filter(|node| node.name != primary);
        let links: Vec<_> = replicas.map(|node| (from, node.address)).collect();
        context.begin_fault(format!("{primary} cut off from its replicas"));
        context.environment.firewall()?.cut(&links)?;
        context.observe_no_failover_from(&primary).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_links()
    }
}
