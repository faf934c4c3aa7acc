//! A planned handover on a healthy lab.

use super::prelude::*;

pub(super) struct Handover;

impl FaultInjector for Handover {
    const DEFINITION: Definition = Definition {
        does: "a planned handover, as by halab handover",
        must: "a pause shorter than down-after, no failed write",
        requirement: Requirement::Signals,
        failover: Failover::AtLeast(1),
        writes: Writes::ShortPause,
        control: Control::STOCK_TRUSTED,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.hand_over(&primary).await
    }

    fn heal(_: &mut Environment) -> Result<(), EnvironmentError> {
        // A handover leaves a healthy lab.
        Ok(())
    }
}
