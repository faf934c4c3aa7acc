//! Every node is restarted, one after the other, as for new settings.

use crate::config::NodeKind;

use super::prelude::*;

pub(super) struct RollingRestart;

impl FaultInjector for RollingRestart {
    const DEFINITION: Definition = Definition {
        does: "every node stopped and started again, one after the other, each once the lab has \
             recovered",
        must: "pauses shorter than down-after, no failed write",
        requirement: Requirement::OwnNodes,
        failover: Failover::AtLeast(1),
        writes: Writes::ShortPause,
        control: Control::STOCK_OUTRUN,
        not_in_containers: None,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        for node in context.environment.lab.clone().nodes() {
            let name = &node.name;
            let text = format!("SIGTERM to the node {name}");
            match node.kind {
                NodeKind::Data => context.begin_fault(text),
                NodeKind::Sentinel => context.record(text),
            }
            let nodes = &mut context.environment.nodes;
            nodes.terminate(std::slice::from_ref(name)).await?;
            context.phases.begin("observe");
            context.record(format!("{name} has ended; started again"));
            context.environment.nodes.start(name)?;
            context.await_recovery().await?;
        }
        Ok(())
    }
}
