//! The node of the new primary is lost before the old one is in sync with it, and restarts later.

use super::support::planned::KILL_WINDOW;
use super::support::waiting::{WRITES_LIMIT, stoppable_sleep};

use super::prelude::*;

pub(super) struct HandoverThenKillNewNode;

impl FaultInjector for HandoverThenKillNewNode {
    const DEFINITION: Definition = Definition {
        does: "a planned handover, SIGKILL to the new primary's node within 0.5 s, and started \
             again some seconds later",
        must: "one of the two is primary again, and the other follows it",
        requirement: Requirement::OwnNodes,
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
        context.begin_fault(format!("SIGKILL to the node {new}"));
        context.environment.nodes.kill(&new)?;
        // The Sentinels have given the failover up by then.
        let failover_timeout = context.environment.lab.timing.failover_timeout;
        let away = context.random_up_to(KILL_WINDOW) + failover_timeout;
        stoppable_sleep(away, context.stop).await?;
        context.record(format!("{new} started again"));
        context.environment.nodes.start(&new)?;
        context.phases.begin("observe");
        context.await_writes(WRITES_LIMIT).await
    }
}
