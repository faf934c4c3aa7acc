//! Bytes in the middle of the append-only file are overwritten, as by a defective disk.

use super::definition::CHANGES_SERVERS;
use super::support::append_only_file::FileDamage;
use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

pub(super) struct DamagedAppendOnlyFile;

impl FaultInjector for DamagedAppendOnlyFile {
    const DEFINITION: Definition = Definition {
        does: "the primary's node killed, bytes in the middle of its append-only file overwritten, \
             and started again at once",
        must: "the other node takes over, as its own says; the damaged data is set aside, not \
             truncated, and copied anew from there",
        requirement: Requirement::OwnNodes,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::STOCK,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties {
            needs_append_only_file: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let before = context.environment.log_of(&primary).len();
        context.restart_with_damage(FileDamage::Overwritten).await?;
        context
            .await_message(&primary, before, "one that has the data takes over")
            .await?;
        context.await_writes(WRITES_LIMIT).await
    }
}
