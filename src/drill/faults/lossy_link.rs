//! Packet loss between all nodes.

use super::definition::CUTS_SOME_LINKS;

use super::prelude::*;

pub(super) struct LossyLink;

impl FaultInjector for LossyLink {
    const DEFINITION: Definition = Definition {
        does: "2 % of the packets between the nodes are dropped",
        must: "no failover; writes go on",
        requirement: Requirement::OwnNetwork,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: CUTS_SOME_LINKS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let lab = &context.environment.lab;
        let names: Vec<&str> = lab.nodes().map(|node| node.name.as_str()).collect();
        let links = context.links_of(&names);
        context.begin_fault("packets lost between all nodes");
        context.environment.firewall()?.lose(&links)?;
        context.observe_no_failover_from(&primary).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_links()
    }
}
