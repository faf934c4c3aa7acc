//! The node of the primary is killed in a network with a round-trip time of 200 ms.

use super::definition::CHANGES_SERVERS;
use super::kill_primary_node::KillPrimaryNode;

use super::prelude::*;

pub(super) struct SlowerNetwork;

impl FaultInjector for SlowerNetwork {
    const DEFINITION: Definition = Definition {
        does: "a round trip between any two nodes, and from the writer to any, takes 200 ms from \
             the start; SIGKILL to the primary's server and its parent",
        must: "fails over after down-after; it comes back as a replica, and becomes promotable",
        requirement: Requirement::RoundTrip { ms: 200 },
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        KillPrimaryNode::inject(context).await
    }
}
