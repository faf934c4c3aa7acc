//! Little bandwidth between the primary and all other nodes.

use crate::drill::environment::network::SLOW_BYTES;

use super::definition::CUTS_SOME_LINKS;

use super::prelude::*;

pub(super) struct SlowLink;

impl FaultInjector for SlowLink {
    const DEFINITION: Definition = Definition {
        does: "2 MB/s, with up to 150 ms of delay, between the primary and every other node",
        must: "no failover; writes go on",
        requirement: Requirement::OwnNetwork,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: CUTS_SOME_LINKS,
        properties: Properties {
            limits_bandwidth: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let links = context.links_of(&[&primary]);
        context.begin_fault(format!("a slow link between {primary} and the other nodes"));
        context.environment.firewall()?.slow(&links, SLOW_BYTES)?;
        context.observe_no_failover_from(&primary).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_links()
    }
}
