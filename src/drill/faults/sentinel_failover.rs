//! A failover called by an operator, without a pause of writes.

use super::prelude::*;

pub(super) struct SentinelFailover;

impl FaultInjector for SentinelFailover {
    const DEFINITION: Definition = Definition {
        does: "SENTINEL FAILOVER on a healthy lab, without a pause of writes",
        must: "the other node becomes primary; no write that the old one accepts in between is \
             acknowledged",
        requirement: Requirement::Signals,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::TRUSTED,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SENTINEL FAILOVER from {primary}"));
        context.call_failover(&primary).await
    }

    fn heal(_: &mut Environment) -> Result<(), EnvironmentError> {
        // The Sentinels make the old primary a replica.
        Ok(())
    }
}
