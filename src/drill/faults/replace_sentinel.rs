//! A Sentinel is replaced by one at another address, and then that one by the first.

use crate::config::{Lab, Node, NodeKind};
use crate::membership::MemberChange;

use super::definition::ADDS_NODES;

use super::prelude::*;

pub(super) struct ReplaceSentinel;

impl FaultInjector for ReplaceSentinel {
    const DEFINITION: Definition = Definition {
        does: "a Sentinel is replaced by one at another address, and that one by the first, as by \
             halab member; each time every node is started again with the new lab.toml",
        must: "pauses shorter than down-after, no failed write; the writer is not started again",
        requirement: Requirement::OwnNodes,
        failover: Failover::Allowed,
        writes: Writes::ShortPause,
        control: Control::PLANNED_CHANGE,
        not_in_containers: ADDS_NODES,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let before = context.environment.lab.clone();
        let new = context.new_node(NodeKind::Sentinel, "sentinel-new")?;
        let old = before.sentinels.last().cloned();
        let old = old.ok_or_else(|| InjectionError::missed("there is no Sentinel"))?;
        let mut after = before.clone();
        after.sentinels.retain(|n| n.name != old.name);
        after.sentinels.push(new.clone());
        let mut both = before.clone();
        both.sentinels.push(new.clone());

        context.edit_members(Some(&new), Some(&old))?;
        context.begin_fault(format!("{} is started, to replace {}", new.name, old.name));
        context.environment.start_new_node(&new)?;
        replace(context, &after, &both, (&old, &new)).await?;
        context.edit_members(None, None)?;
        context.record(format!("{} is started, to replace {}", old.name, new.name));
        context.environment.nodes.start(&old.name)?;
        replace(context, &before, &both, (&new, &old)).await
    }
}

/// Replaces one Sentinel by another, which runs already. `lab` is the lab afterwards, `both` has
/// both Sentinels.
async fn replace(
    context: &mut FaultContext<'_>,
    lab: &Lab,
    both: &Lab,
    (old, new): (&Node, &Node),
) -> Result<(), InjectionError> {
    let mut restarted = lab.clone();
    restarted.sentinels.retain(|n| n.name != new.name);
    context.restart_members(&restarted, both).await?;
    let replace = MemberChange::Replace(old.name.clone(), new.name.clone());
    context
        .change_members_and_stop(lab, replace, &old.name)
        .await?;
    context.await_recovery_of(lab).await.map(drop)
}
