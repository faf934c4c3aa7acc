//! The server of the primary hangs; its supervisor lives.

use super::prelude::*;

pub(super) struct HangPrimary;

impl FaultInjector for HangPrimary {
    const DEFINITION: Definition = Definition {
        does: "SIGSTOP to the primary's server",
        must: "its supervisor kills it after hang-timeout, then as kill-primary",
        requirement: Requirement::Signals,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGSTOP to the server of {primary}"));
        context.environment.nodes.hang(&primary, false).await?;
        context.await_failover_from(&primary).await
    }
}
