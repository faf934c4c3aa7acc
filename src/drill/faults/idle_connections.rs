//! Thousands of idle connections to the primary.

use crate::client::ensure_open_files;

use super::definition::CHANGES_SERVERS;

use super::prelude::*;

const CONNECTIONS: usize = 5000;

pub(super) struct IdleConnections;

impl FaultInjector for IdleConnections {
    const DEFINITION: Definition = Definition {
        does: "5000 idle connections to the primary",
        must: "no failover; writes go on",
        requirement: Requirement::OwnNodes,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        ensure_open_files(CONNECTIONS).map_err(EnvironmentError::unavailable)?;
        context.begin_fault(format!("{CONNECTIONS} idle connections to {primary}"));
        let open = context.open_idle(&primary, CONNECTIONS).await?;
        let observed = context.observe_no_failover_from(&primary).await;
        drop(open);
        observed
    }

    fn heal(_: &mut Environment) -> Result<(), EnvironmentError> {
        // `inject` has closed the connections.
        Ok(())
    }
}
