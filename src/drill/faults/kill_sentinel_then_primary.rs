//! One Sentinel is down when the primary is lost: a majority remains.

use super::kill_primary_node::KillPrimaryNode;

use super::prelude::*;

pub(super) struct KillSentinelThenPrimary;

impl FaultInjector for KillSentinelThenPrimary {
    const DEFINITION: Definition = Definition {
        does: "one Sentinel killed, then the primary's node",
        must: "fails over",
        requirement: Requirement::OwnNodes,
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
        context.kill_sentinels(1)?;
        KillPrimaryNode::inject(context).await
    }
}
