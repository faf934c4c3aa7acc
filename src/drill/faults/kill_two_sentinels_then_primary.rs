//! Two of three Sentinels are down when the primary is lost: there is no majority for a failover.

use super::prelude::*;

pub(super) struct KillTwoSentinelsThenPrimary;

impl FaultInjector for KillTwoSentinelsThenPrimary {
    const DEFINITION: Definition = Definition {
        does: "two Sentinels killed, then the primary's node; all started again",
        must: "no failover while two are down: the writer waits; afterwards writes go on",
        requirement: Requirement::OwnNodes,
        failover: Failover::ForbiddenUntilHealed,
        writes: Writes::MustStop,
        control: Control::STOCK,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.kill_sentinels(2)?;
        context.begin_fault(format!("SIGKILL to the node {primary}"));
        context.environment.nodes.kill(&primary)?;
        context.observe_no_failover_from(&primary).await
    }
}
