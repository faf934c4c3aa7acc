//! A third data node becomes a member, and is removed again, while the writer runs.

use crate::config::NodeKind;
use crate::membership::MemberChange;

use super::definition::ADDS_NODES;

use super::prelude::*;

pub(super) struct AddAndRemoveDataNode;

impl FaultInjector for AddAndRemoveDataNode {
    const DEFINITION: Definition = Definition {
        does: "a data node is started, made a member, and taken out again, as by halab member; \
             before and after, every node is started again with the new lab.toml",
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
        let new = context.new_node(NodeKind::Data, "redis-new")?;
        let mut with = before.clone();
        with.data_nodes.push(new.clone());
        context.edit_members(Some(&new), None)?;
        context.begin_fault(format!("{} is started", new.name));
        context.environment.start_new_node(&new)?;
        context.restart_members(&before, &before).await?;
        let add = MemberChange::Add(new.name.clone());
        context.change_members(&with, add).await?;
        context.await_recovery_of(&with).await?;
        context.record(format!(
            "{} is stopped when no writer asks for it",
            new.name
        ));
        let remove = MemberChange::Remove(new.name.clone());
        context
            .change_members_and_stop(&with, remove, &new.name)
            .await?;
        context.edit_members(None, None)?;
        context.restart_members(&before, &before).await
    }
}
