//! The primary hangs, and goes on while a Sentinel promotes the replica: there are two primaries
//! for a moment.

use tokio::time::Instant;

use super::support::waiting::{FAILOVER_SLACK, WRITES_LIMIT};

use super::prelude::*;

pub(super) struct WakePrimaryInFailover;

impl FaultInjector for WakePrimaryInFailover {
    const DEFINITION: Definition = Definition {
        does: "SIGSTOP to the primary's server and its supervisor; SIGCONT when a Sentinel begins \
             the failover",
        must: "no write that the old primary accepts after SIGCONT is acknowledged",
        requirement: Requirement::Signals,
        failover: Failover::Allowed,
        writes: Writes::Continue,
        control: Control::TRUSTED,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("SIGSTOP to the node {primary}"));
        context.environment.nodes.hang(&primary, true).await?;
        context.phases.begin("observe");
        let limit = 2 * context.environment.lab.timing.down_after + FAILOVER_SLACK;
        let deadline = Instant::now() + limit;
        let since = context.observer.now();
        let began = || context.observer.has_published("+try-failover", since);
        context
            .until(deadline, "a Sentinel to begin a failover", began)
            .await?;
        context.environment.restore()?;
        context.record("SIGCONT");
        context.await_writes(WRITES_LIMIT).await
    }
}
