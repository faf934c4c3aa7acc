//! Bytes in the middle of the primary's append-only file are overwritten while the lab is stopped.

use super::definition::CHANGES_SERVERS;
use super::support::append_only_file::FileDamage;

use super::prelude::*;

pub(super) struct DamageFileInStop;

impl FaultInjector for DamageFileInStop {
    const DEFINITION: Definition = Definition {
        does: "every node stopped as one act, bytes in the middle of the primary's append-only \
             file overwritten, all started again",
        must: "the other node takes the role; the damaged data is set aside and copied anew from \
             there",
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
        context.stop_and_damage(FileDamage::Overwritten).await
    }
}
