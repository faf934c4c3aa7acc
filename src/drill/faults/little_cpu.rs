//! The node of the primary is killed where every node has a tenth of a processor.

use super::definition::CHANGES_SERVERS;
use super::kill_primary_node::KillPrimaryNode;

use super::prelude::*;

pub(super) struct LittleCpu;

impl FaultInjector for LittleCpu {
    const DEFINITION: Definition = Definition {
        does: "each node, server and supervisor, has a tenth of a processor from the start; SIGKILL \
             to those of the primary",
        must: "fails over after down-after; it comes back as a replica, and becomes promotable",
        requirement: Requirement::CpuQuota,
        not_in_containers: CHANGES_SERVERS,
        ..KillPrimaryNode::DEFINITION
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        KillPrimaryNode::inject(context).await
    }
}
