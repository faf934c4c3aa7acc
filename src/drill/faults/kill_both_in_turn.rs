//! Two losses in turn: the new primary is killed once the lab has recovered from the first.

use super::prelude::*;

pub(super) struct KillBothInTurn;

impl FaultInjector for KillBothInTurn {
    const DEFINITION: Definition = Definition {
        does: "the primary's server killed; once the lab has recovered, the new primary's",
        must: "fails over twice",
        requirement: Requirement::Signals,
        failover: Failover::AtLeast(2),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGKILL to the server of {primary}"));
        context.environment.nodes.kill_server(&primary).await?;
        context.await_failover_from(&primary).await?;
        context.environment.restore()?;
        let new = context.await_recovery().await?;
        context.begin_fault(format!("SIGKILL to the server of {new}"));
        context.environment.nodes.kill_server(&new).await?;
        context.await_failover_from(&new).await
    }
}
