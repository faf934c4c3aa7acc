//! The disk of the primary is slow, less than the hang-timeout.

use crate::drill::environment::DelayedCalls;

use super::definition::CHANGES_SERVERS;

use super::prelude::*;

pub(super) struct SlowDisk;

impl FaultInjector for SlowDisk {
    const DEFINITION: Definition = Definition {
        does: "each write of the primary's server to its append-only file takes 50 ms longer, each \
             sync 300 ms, by strace",
        must: "no failover; writes go on",
        requirement: Requirement::Tracing { own_nodes: false },
        failover: Failover::Forbidden,
        writes: Writes::Continue,
        control: Control::STAYS,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("the disk of {primary} is slow"));
        let calls = DelayedCalls::WritesAndSyncs;
        context.environment.slow_disk(&primary, calls).await?;
        context.observe_no_failover_from(&primary).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_disks()
    }
}
