//! Another server replaces the current one, as by an upgrade of its package: one node after the
//! other.
//!
//! The Sentinels first: they hold no data, so a server that does not run here is noticed before a
//! data node is touched. The primary last: it hands over to a node that reads its files.

use super::prelude::*;

pub(super) struct RollingUpgrade;

impl FaultInjector for RollingUpgrade {
    const DEFINITION: Definition = Definition {
        does: "the server replaced by another (--to, or one on PATH that reads what it writes), \
             and every node stopped and started again: Sentinels, replicas, the primary, each \
             once the lab has recovered",
        must: "pauses shorter than down-after, no failed write; every data node runs the other \
             server",
        requirement: Requirement::SecondServer,
        failover: Failover::AtLeast(1),
        writes: Writes::ShortPause,
        control: Control::STOCK_TRUSTED,
        not_in_containers: Some("a container of another image is another container"),
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let to = context.environment.replace_server()?;
        context.record(format!("{to} takes the place of the server"));
        let lab = context.environment.lab.clone();
        let replicas = lab.data_nodes.iter().filter(|node| node.name != primary);
        for node in lab.sentinels.iter().chain(replicas) {
            context.record(format!("SIGTERM to the node {}", node.name));
            restart(context, &node.name).await?;
        }
        if context.environment.nodes.are_stock() {
            // There is nothing better.
            context.begin_fault(format!("SENTINEL FAILOVER from {primary}"));
            // The old primary can't copy from the new one before it is upgraded, too.
            context.call_failover(&primary).await?;
            context.record(format!("SIGTERM to {primary}"));
        } else {
            context.begin_fault(format!("SIGTERM to the node {primary}"));
        }
        restart(context, &primary).await?;
        for node in &lab.data_nodes {
            let version = context.environment.nodes.version_of(&node.name).await?;
            if version != to {
                let text = format!("{} runs {version}, not {to}", node.name);
                return Err(InjectionError::Missed(text));
            }
        }
        Ok(())
    }
}

async fn restart(context: &mut FaultContext<'_>, name: &str) -> Result<(), InjectionError> {
    let one = [name.to_owned()];
    context.environment.nodes.terminate(&one).await?;
    context.phases.begin("observe");
    context.record(format!("{name} has ended; started again"));
    context.environment.nodes.start(name)?;
    context.await_recovery().await?;
    Ok(())
}
