//! No fault beside the load, which alone must not cause a failover.

use super::prelude::*;

pub(super) struct FullLoad;

impl FaultInjector for FullLoad {
    const DEFINITION: Definition = Definition {
        does: "nothing: the writer alone, as fast as possible",
        must: "no failover; writes go on",
        requirement: Requirement::Signals,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault("none but the load");
        context.observe_no_failover_from(&primary).await
    }

    fn heal(_: &mut Environment) -> Result<(), EnvironmentError> {
        // Nothing was changed.
        Ok(())
    }
}
