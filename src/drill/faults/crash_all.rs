//! All nodes end at the same moment, as by a power cut after which the page cache survives.

use super::prelude::*;

pub(super) struct CrashAll;

impl FaultInjector for CrashAll {
    const DEFINITION: Definition = Definition {
        does: "SIGKILL to every node at once, all started again",
        must: "the nodes compare what they hold, and one takes the role",
        requirement: Requirement::OwnNodes,
        failover: Failover::Allowed,
        writes: Writes::Continue,
        control: Control::STOCK,
        not_in_containers: None,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        context.crash_all().await
    }
}
