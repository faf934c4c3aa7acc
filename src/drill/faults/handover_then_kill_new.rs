//! The new primary is lost before the old one is in sync with it.

use super::support::planned::KILL_WINDOW;
use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

pub(super) struct HandoverThenKillNew;

impl FaultInjector for HandoverThenKillNew {
    const DEFINITION: Definition = Definition {
        does: "a planned handover, and SIGKILL to the new primary's server within 0.5 s",
        must: "one of the two is primary again, and the other follows it",
        requirement: Requirement::Signals,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: None,
        properties: Properties {
            begins_with_handover: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let (new, _handover) = context.begin_handover().await?;
        context.random_pause(KILL_WINDOW).await?;
        context.begin_fault(format!("SIGKILL to the server of {new}"));
        context.environment.nodes.kill_server(&new).await?;
        if context.environment.nodes.are_stock() {
            context.environment.nodes.heal()?;
        }
        context.phases.begin("observe");
        context.await_writes(WRITES_LIMIT).await
    }
}
