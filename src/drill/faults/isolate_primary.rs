//! The primary is cut off from all other nodes and from the writer.

use crate::drill::environment::WRITER;

use super::prelude::*;

pub(super) struct IsolatePrimary;

impl FaultInjector for IsolatePrimary {
    const DEFINITION: Definition = Definition {
        does: "the primary's packets to and from every other node and the writer are dropped, \
             until after the failover",
        must: "fails over; the old primary becomes a replica when its links are healed",
        requirement: Requirement::OwnNetwork,
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
        let mut links = context.links_of(&[&primary]);
        links.push((context.address(&primary), WRITER));
        context.begin_fault(format!("{primary} cut off from every node and the writer"));
        context.environment.isolate(&primary, &links)?;
        context.await_failover_from(&primary).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_links()
    }
}
