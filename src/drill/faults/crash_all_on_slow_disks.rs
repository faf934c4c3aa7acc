//! All nodes end at the same moment while no sync of an append-only file completes: what was
//! written and not synced has to be there.

use std::time::Duration;

use crate::drill::environment::DelayedCalls;

use super::definition::CHANGES_SERVERS;
use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

/// Within this time a server that syncs once a second has begun a sync.
const SYNC_PERIOD: Duration = Duration::from_secs(2);

pub(super) struct CrashAllOnSlowDisks;

impl FaultInjector for CrashAllOnSlowDisks {
    const DEFINITION: Definition = Definition {
        does: "each sync of an append-only file takes 1.5 s, on both disks, by strace; then \
             SIGKILL to every node at once",
        must: "what was answered is written, synced or not; the nodes compare what they hold, and \
             one takes the role",
        requirement: Requirement::Tracing { own_nodes: true },
        failover: Failover::Allowed,
        writes: Writes::Continue,
        control: Control::STOCK,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties {
            needs_append_only_file: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        context.begin_fault("a sync takes 1.5 s on every disk");
        for node in context.environment.lab.data_nodes.clone() {
            let calls = DelayedCalls::Syncs;
            context.environment.slow_disk(&node.name, calls).await?;
        }
        context.await_writes(WRITES_LIMIT).await?;
        context.random_pause(SYNC_PERIOD).await?;
        context.crash_all().await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        let disks = environment.heal_disks();
        disks.and(environment.nodes.heal())
    }
}
