//! All nodes restart after a failover: the promoted node is remembered.

use super::kill_primary_node::KillPrimaryNode;

use super::prelude::*;

pub(super) struct RestartAllAfterFailover;

impl FaultInjector for RestartAllAfterFailover {
    const DEFINITION: Definition = Definition {
        does: "the primary's node killed; after failover and recovery every node stopped, then all \
             started",
        must: "the promoted node is still primary",
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
        KillPrimaryNode::inject(context).await?;
        context.environment.restore()?;
        let promoted = context.await_recovery().await?;
        context.begin_fault("SIGTERM to every node");
        let lab = context.environment.lab.clone();
        context.terminate_all(&lab).await?;
        context.findings.expected_primary = Some(promoted);
        context.start_all().await
    }
}
