//! All connections that the primary may have are in use.

use crate::drill::environment::OPEN_FILES;

use super::definition::CHANGES_SERVERS;

use super::prelude::*;

pub(super) struct NoConnectionsLeft;

impl FaultInjector for NoConnectionsLeft {
    const DEFINITION: Definition = Definition {
        does: "servers that may have 256 open files (ulimit -n): idle connections use all that the \
             primary has for them",
        must: "no failover; writes go on; the node names the remedy",
        requirement: Requirement::OpenFileLimit,
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let before = context.environment.log_of(&primary).len();
        context.begin_fault(format!("all connections of {primary} are taken"));
        let open = context.open_idle(&primary, OPEN_FILES).await?;
        check_refused(context, &primary).await?;
        let observed = context.observe_no_failover_from(&primary).await;
        context.await_message(&primary, before, "ulimit -n").await?;
        drop(open);
        observed
    }

    fn heal(_: &mut Environment) -> Result<(), EnvironmentError> {
        // `inject` has closed the connections.
        Ok(())
    }
}

/// The node accepts no more connections. Its error message may be lost: Redis closes such a
/// connection without reading the client's command.
async fn check_refused(context: &FaultContext<'_>, node: &str) -> Result<(), InjectionError> {
    let accepted = match context.open(node).await {
        Ok(mut conn) => conn.role().await.is_ok(),
        Err(_) => false,
    };
    if accepted {
        return Err(InjectionError::Missed(format!(
            "{node} accepts one more connection"
        )));
    }
    Ok(())
}
