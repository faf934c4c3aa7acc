//! The primary and the writer together are cut off from all other nodes: a client in the minority
//! of a partition.

use crate::drill::environment::WRITER;

use super::definition::CUTS_SOME_LINKS;

use super::prelude::*;

pub(super) struct IsolatePrimaryWithWriter;

impl FaultInjector for IsolatePrimaryWithWriter {
    const DEFINITION: Definition = Definition {
        does: "the primary and the writer can reach each other and no other node, until after the \
             failover",
        must: "fails over; nothing is acknowledged on the isolated side",
        requirement: Requirement::OwnNetwork,
        failover: Failover::AtLeast(1),
        writes: Writes::MustStop,
        control: Control::TRUSTED,
        not_in_containers: CUTS_SOME_LINKS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let mut links = context.links_of(&[&primary]);
        let others = context.other_addresses(&primary);
        links.extend(others.into_iter().map(|other| (WRITER, other)));
        context.begin_fault(format!(
            "{primary} and the writer cut off from every other node"
        ));
        context.environment.firewall()?.cut(&links)?;
        context.await_failover_from(&primary).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_links()
    }
}
