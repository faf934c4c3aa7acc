//! The server of the primary and its supervisor hang, and go on after the failover.

use super::prelude::*;

pub(super) struct HangPrimaryNode;

impl FaultInjector for HangPrimaryNode {
    const DEFINITION: Definition = Definition {
        does: "SIGSTOP to the primary's server and its supervisor; SIGCONT after the failover",
        must: "fails over; no write that the old primary accepts is acknowledged; it becomes a \
             replica",
        requirement: Requirement::Signals,
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
        context.begin_fault(format!("SIGSTOP to the node {primary}"));
        context.environment.nodes.hang(&primary, true).await?;
        context.await_failover_from(&primary).await
    }
}
