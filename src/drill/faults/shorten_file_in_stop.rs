//! The second half of the primary's append-only file is missing when the stopped lab starts again.

use super::definition::CHANGES_SERVERS;
use super::support::append_only_file::FileDamage;

use super::prelude::*;

pub(super) struct ShortenFileInStop;

impl FaultInjector for ShortenFileInStop {
    const DEFINITION: Definition = Definition {
        does: "every node stopped as one act, the primary's append-only file cut off in its \
             middle, as redis-check-aof --fix leaves it, all started again",
        must: "the other node, which holds more, takes the role",
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
        context.stop_and_damage(FileDamage::CutInHalf).await
    }
}
