//! The whole lab moves to other addresses, with its data, and back.
//!
//! The first writer waits meanwhile; a second one writes at the other addresses.

use std::path::Path;

use crate::checker::Verdict;
use crate::config::Lab;
use crate::drill::environment::lab_toml::{free_octets, with_addresses};
use crate::node::move_state;
use crate::verifier::{self, VerifyError};

use super::definition::ADDS_NODES;
use super::support::waiting::await_first_writes;

use super::prelude::*;

pub(super) struct MoveLab;

impl FaultInjector for MoveLab {
    const DEFINITION: Definition = Definition {
        does: "every node is stopped as one act, moved to another address as by halab move, and \
             started; a second writer writes there; then all of it once more, back to the first \
             addresses",
        must: "every record comes along; what the second writer had acknowledged is read back; the \
             first one waits, and goes on",
        requirement: Requirement::OwnNodes,
        failover: Failover::Allowed,
        writes: Writes::Continue,
        control: Control::PLANNED_CHANGE,
        not_in_containers: ADDS_NODES,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        if !context.environment.nodes.are_ours() {
            return Err(InjectionError::refused(
                "only nodes of this program support a move of their lab",
            ));
        }
        let first = context.environment.lab.clone();
        let moved = at_free_addresses(&first)?;
        context.stop_all_of(&first).await?;
        move_to(context, &moved)?;
        context.environment.restore()?;
        context.record("all started again, each at another address");
        context.await_recovery_of(&moved).await?;
        write_and_read_back(context, &moved).await?;
        context.stop_all_of(&moved).await?;
        move_to(context, &first)?;
        context.start_all().await
    }
}

/// As an operator does: the addresses in `lab.toml`, then `halab move`.
fn move_to(context: &mut FaultContext<'_>, lab: &Lab) -> Result<(), InjectionError> {
    let edit = |text: &str| with_addresses(text, lab);
    context.environment.edit_config(edit)?;
    let state = context.environment.folder().join("state");
    move_state(&state, lab, None).map_err(InjectionError::refused)?;
    let at: Vec<String> = lab.nodes().map(|n| n.address.to_string()).collect();
    context.record(format!("moved to {}", at.join(", ")));
    Ok(())
}

/// A second writer's records can be read back at the other addresses.
async fn write_and_read_back(context: &FaultContext<'_>, lab: &Lab) -> Result<(), InjectionError> {
    // A soak run may move the lab again: a new writer refuses the ledger of another one.
    let moves = (1..).map(|number| format!("moved-{number}.ledger"));
    let mut ledgers = moves.map(|name| context.environment.folder().join(name));
    let ledger = ledgers.find(|path| !path.exists());
    let ledger = ledger.ok_or_else(|| InjectionError::refused("too many ledgers"))?;
    let load = context.load.beside(lab, &ledger);
    let started = await_first_writes(&load, context.enough_records, context.stop).await;
    let ended = load.finish().await;
    started?;
    let failed = |error: String| InjectionError::Missed(format!("after the move: {error}"));
    ended.map_err(|error| failed(error.to_string()))?;
    verify(context, lab, &ledger).await
}

async fn verify(
    context: &FaultContext<'_>,
    lab: &Lab,
    ledger: &Path,
) -> Result<(), InjectionError> {
    let options = verifier::VerifyOptions {
        ledger: ledger.to_owned(),
        scan: false,
        faults: Vec::new(),
        wait: verifier::DEFAULT_WAIT,
        given_up: None,
    };
    let read = verifier::run(lab, &options, context.stop, |_| {}).await;
    let read = read.map_err(|error| match error {
        VerifyError::Stopped => InjectionError::Stopped,
        other => EnvironmentError::server("the lab at its other addresses", other).into(),
    });
    match read?.verdict {
        Verdict::Holds => Ok(()),
        other => Err(InjectionError::Missed(format!(
            "the records written after the move: {other:?}"
        ))),
    }
}

/// The same nodes at addresses that no node has.
fn at_free_addresses(lab: &Lab) -> Result<Lab, InjectionError> {
    let mut octets = free_octets(lab);
    let mut moved = lab.clone();
    for node in moved.data_nodes.iter_mut().chain(&mut moved.sentinels) {
        let [a, b, c, _] = node.address.octets();
        let free = octets.next();
        let free = free.ok_or_else(|| InjectionError::refused("no address is free"))?;
        node.address = [a, b, c, free].into();
    }
    Ok(moved)
}
