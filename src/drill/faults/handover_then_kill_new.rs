//! The new primary is lost before the old one is in sync with it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::handover::{Handover, HandoverError, hand_over};

use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

/// The new primary is killed at a random moment within this time after the promotion.
pub(super) const KILL_WINDOW: Duration = Duration::from_millis(500);

pub(super) struct HandoverThenKillNew;

impl FaultInjector for HandoverThenKillNew {
    const DEFINITION: Definition = Definition {
        does: "a planned handover, and SIGKILL to the new primary's server within 0.5 s",
        must: "one of the two is primary again, and the other follows it",
        requirement: Requirement::Signals,
        failover: Failover::AtLeast(1),
        writes: Writes::Continue,
        control: Control::OUTRUN,
        not_in_containers: None,
        properties: Properties {
            begins_with_handover: true,
            ..Properties::NONE
        },
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        // The handover runs until the end of this function.
        let mut handover = JoinSet::new();
        let new = begin_handover(context, &mut handover).await?;
        let after = context.random_up_to(KILL_WINDOW);
        sleep(after).await;
        context.begin_fault(format!("SIGKILL to the server of {new}"));
        context.environment.nodes.kill_server(&new).await?;
        if context.environment.nodes.are_plain() {
            context.environment.restore()?;
        }
        context.phases.begin("observe");
        context.await_writes(WRITES_LIMIT).await
    }
}

/// Begins a planned handover, and waits for the promotion. Returns the new primary.
///
/// The handover itself goes on in the set, as the command of an operator would.
pub(super) async fn begin_handover(
    context: &mut FaultContext<'_>,
    handover: &mut JoinSet<Result<Handover, HandoverError>>,
) -> Result<String, InjectionError> {
    let from = context.primary.clone();
    context.begin_fault(format!("handover from {from}"));
    if context.environment.nodes.are_plain() {
        let socket = context.node(&from)?.socket();
        let called = context.observer.panel.call_failover(socket).await;
        called.map_err(InjectionError::Refused)?;
    } else {
        let lab = context.environment.lab.clone();
        let connector = context.observer.connector.clone();
        handover.spawn(async move { hand_over(&lab, &connector).await });
    }
    let other = || {
        let primaries = context.observer.primaries();
        primaries.into_iter().find(|name| *name != from)
    };
    let deadline = Instant::now() + WRITES_LIMIT;
    let what = "another node to become primary";
    context.until(deadline, what, || other().is_some()).await?;
    let new = other().ok_or_else(|| InjectionError::missed("no node took over"))?;
    if context.outrun_after_promotion {
        context.environment.outrun()?;
    }
    Ok(new)
}
