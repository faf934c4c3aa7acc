//! The clocks of the primary and of a Sentinel are stepped, as by an administrator or NTP.

use super::definition::CHANGES_SERVERS;

use super::prelude::*;

pub(super) struct ClockSteps;

impl FaultInjector for ClockSteps {
    const DEFINITION: Definition = Definition {
        does: "the clocks of the primary and of one Sentinel step an hour ahead, then an hour \
             behind",
        must: "no failover; writes go on; the Sentinel is restarted, as it would detect nothing \
             for an hour",
        requirement: Requirement::OwnClocks,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let sentinel = context.first_sentinel()?;
        let before = context.environment.log_of(&sentinel).len();
        for (offset, direction) in [("+1h", "ahead"), ("-1h", "behind")] {
            context.begin_fault(format!(
                "the clocks of {sentinel} and {primary} an hour {direction}"
            ));
            for name in [&sentinel, &primary] {
                context.environment.step_clock(name, offset)?;
            }
            context.observe_no_failover_from(&primary).await?;
        }
        context
            .await_message(&sentinel, before, "slewed, not stepped")
            .await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_clocks()
    }
}
