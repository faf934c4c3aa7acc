//! The node of the primary is killed where every node has a tenth of a processor.

use super::definition::CHANGES_SERVERS;
use super::kill_primary_node::KillPrimaryNode;

use super::prelude::*;

pub(super) struct LittleCpu;

impl FaultInjector for LittleCpu {
    const DEFINITION: Definition = Definition {
        does: "each node, server and parent, has a tenth of a processor from the start; SIGKILL to \
             those of the primary",
        must: "fails over after down-after; it comes back as a replica, and becomes promotable",
        requirement: Requirement::CpuQuota,
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
