//! The file system of the writer's ledger is full.

use std::path::Path;

use tokio::time::timeout;

use crate::ledger::{self, LedgerReader};
use crate::writer::WriterError;

use super::definition::CHANGES_SERVERS;
use super::support::messages::REPORT_LIMIT;
use super::support::waiting::WRITES_LIMIT;

use super::prelude::*;

pub(super) struct FullDiskOfLedger;

impl FaultInjector for FullDiskOfLedger {
    const DEFINITION: Definition = Definition {
        does: "no space is left on the disk of the writer's ledger; then there is, and the run is \
             resumed",
        must: "the writer ends and names the remedy: it claims nothing that the ledger does not \
             hold, and goes on when resumed",
        requirement: Requirement::OwnDisks,
        failover: Failover::Forbidden,
        writes: Writes::MayStop,
        control: Control::Nothing("the nodes are not touched; the claims of the writer are judged"),
        not_in_containers: CHANGES_SERVERS,
        properties: Properties::NONE,
    };

    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        context.begin_fault("the disk of the ledger is full");
        context.environment.disk_of_ledger()?.fill()?;
        context.phases.begin("observe");
        let Ok((summary, failure)) = timeout(REPORT_LIMIT, context.load.ended()).await else {
            return Err(InjectionError::missed("the writer did not end"));
        };
        let message = match failure {
            Some(WriterError::Ledger(error @ ledger::Error::Full { .. })) => error.to_string(),
            other => {
                let text = format!("the writer ended by {other:?}");
                return Err(InjectionError::Missed(text));
            }
        };
        context.set_reported_error("the writer", "free space", &message);
        if let Some(summary) = summary {
            let path = context.environment.ledger();
            let held = acknowledged_in(&path).map_err(InjectionError::missed)?;
            if summary.acknowledged > held {
                return Err(InjectionError::Missed(format!(
                    "the writer claims {} acknowledged records, the ledger holds {held}",
                    summary.acknowledged
                )));
            }
        }
        context.environment.restore()?;
        context.record("there is space again; the run is resumed");
        context.load.resume();
        context.await_writes(WRITES_LIMIT).await
    }

    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.heal_disks()
    }
}

/// Number of records that the ledger holds as acknowledged.
fn acknowledged_in(path: &Path) -> Result<u64, ledger::Error> {
    let mut sum = 0;
    for entry in LedgerReader::open(path)? {
        if let ledger::Entry::Settled(settled) = entry?
            && settled.outcome.is_acknowledged()
        {
            sum += settled.seqs.iter().map(|s| s.end - s.start).sum::<u64>();
        }
    }
    Ok(sum)
}
