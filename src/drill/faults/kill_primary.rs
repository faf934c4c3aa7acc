//! The server of the primary is killed; its supervisor, `halab node`, lives.

use super::prelude::*;

pub(super) struct KillPrimary;

impl FaultInjector for KillPrimary {
    const DEFINITION: Definition = Definition {
        does: "SIGKILL to the primary's server",
        must: "its supervisor calls for the failover at once; it comes back as a replica",
        requirement: Requirement::Signals,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGKILL to the server of {primary}"));
        context.environment.nodes.kill_server(&primary).await?;
        context.await_failover_from(&primary).await
    }
}
