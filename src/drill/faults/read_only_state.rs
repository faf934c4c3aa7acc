//! The file systems of the primary and of a Sentinel become read-only, as after I/O errors.

use tokio::time::Instant;

use super::definition::CHANGES_SERVERS;
use super::support::messages::REPORT_LIMIT;
use super::support::waiting::POLL_INTERVAL;

use super::prelude::*;

pub(super) struct ReadOnlyState;

impl FaultInjector for ReadOnlyState {
    const DEFINITION: Definition = Definition {
        does: "the state folders of the primary and of one Sentinel are read-only, the primary's \
             node is killed and started again",
        must: "the other one takes over; the node refuses to start, and names the remedy",
        requirement: Requirement::OwnDisks,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::STOCK,
        not_in_containers: CHANGES_SERVERS,
        properties: Properties {
            one_data_node_left: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        let primary = context.primary.clone();
        let sentinel = context.first_sentinel()?;
        let before = context.environment.log_of(&primary).len();
        context.begin_fault(format!(
            "the state folder of {primary} is read-only, and it is killed"
        ));
        for name in [&sentinel, &primary] {
            context.environment.disk_of(name)?.make_read_only()?;
        }
        context.environment.nodes.kill(&primary)?;
        context.environment.nodes.start(&primary)?;
        context.record(format!("{primary} started again"));
        context.await_failover_from(&primary).await?;
        context
            .await_message(&primary, before, "make it writable")
            .await?;
        let deadline = Instant::now() + REPORT_LIMIT;
        let what = format!("{primary} to end");
        while !context.environment.nodes.has_ended(&primary)? {
            context.pause(deadline, &what, POLL_INTERVAL).await?;
        }
        Ok(())
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        let disks = environment.heal_disks();
        disks.and(environment.nodes.heal())
    }
}
