//! The node of the primary is killed in a network with a round-trip time of 50 ms.

use super::definition::CHANGES_SERVERS;
use super::kill_primary_node::KillPrimaryNode;

use super::prelude::*;

pub(super) struct SlowNetwork;

impl FaultInjector for SlowNetwork {
    const DEFINITION: Definition = Definition {
        does: "a round trip between any two nodes, and from the writer to any, takes 50 ms from \
             the start; SIGKILL to the primary's server and its supervisor",
        must: "fails over after down-after; it comes back as a replica, and becomes promotable",
        requirement: Requirement::RoundTrip { ms: 50 },
        not_in_containers: CHANGES_SERVERS,
        ..KillPrimaryNode::DEFINITION
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        KillPrimaryNode::inject(context).await
    }
}
