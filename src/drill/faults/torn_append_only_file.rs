//! The last command of the append-only file is incomplete, as after a power cut.

use super::definition::CHANGES_SERVERS;
use super::support::append_only_file::FileDamage;
use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

pub(super) struct TornAppendOnlyFile;

impl FaultInjector for TornAppendOnlyFile {
    const DEFINITION: Definition = Definition {
        does: "the primary's node killed, the last bytes of its append-only file cut off, and \
             started again at once",
        must: "the tail is repaired, and the node does not become primary again with less than the \
             other has",
        requirement: Requirement::OwnNodes,
        failover: Failover::Allowed,
        writes: Writes::Continue,
        control: Control::STOCK_TRUSTED,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties {
            needs_append_only_file: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        context.restart_with_damage(FileDamage::Torn).await?;
        context.await_writes(WRITES_LIMIT).await
    }
}
