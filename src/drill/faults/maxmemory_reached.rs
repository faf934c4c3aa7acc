//! The primary refuses writes, as it uses more memory than it may.

use crate::client::Conn;

use super::definition::CHANGES_SERVERS;
use super::support::connections::set_config;

use super::prelude::*;

pub(super) struct MaxmemoryReached;

impl FaultInjector for MaxmemoryReached {
    const DEFINITION: Definition = Definition {
        does: "the primary's maxmemory is set below what it uses, until it is healed",
        must: "no failover; the writer names the remedy, waits, and sends the refused writes again",
        requirement: Requirement::OwnNodes,
        failover: Failover::Forbidden,
        writes: Writes::MayStop,
        control: Control::Nothing(
            "a server without memory refuses writes, and keeps its data, with any kind of nodes",
        ),
        not_in_containers: CHANGES_SERVERS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        context.begin_fault(format!("maxmemory of {primary} set below what it uses"));
        let mut conn = context.open(&primary).await?;
        let observed = limit_memory(context, &mut conn, &primary).await;
        // Restored here, on the connection that is open, also after an error. A node on which that
        // fails is killed: started again by the healing, it has the setting of its file.
        if let Err(error) = set_config(&mut conn, &primary, "maxmemory", 0).await {
            context.environment.nodes.kill(&primary)?;
            return Err(error);
        }
        observed
    }
}

/// Has the node refuse writes, and observes the lab and the error of the writer.
async fn limit_memory(
    context: &mut FaultContext<'_>,
    conn: &mut Conn,
    node: &str,
) -> Result<(), InjectionError> {
    set_config(conn, node, "maxmemory", 1).await?;
    let observed = context.observe_no_failover_from(node).await;
    let refused = context.load.refused().unwrap_or_default();
    context.set_reported_error("the writer", "raise it or delete keys", &refused);
    observed
}
