//! What is read back at the end of an experiment: the records, and the writer's ledger.

use std::ops::Range;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::checker;
use crate::drill::environment::Environment;
use crate::drill::judging::{Acks, EventLog};
use crate::ledger::LedgerReader;
use crate::verifier::{self, Verification, VerifyError};

use super::InjectedFault;

/// The faults as the checker knows them, on the writer's clock: losses are attributed to them.
pub(super) fn spans(
    injected: &[InjectedFault],
    events: &EventLog,
    writer_start: u64,
) -> Vec<checker::FaultInterval> {
    let faults = events.faults();
    let span = |fault: &InjectedFault| {
        let (start, _) = faults.iter().find(|(at, _)| *at >= fault.began)?;
        let end = fault.recovery.as_ref().map_or(fault.healed, |(_, at)| *at);
        Some(checker::FaultInterval {
            name: fault.fault.name().to_owned(),
            start_us: start.saturating_sub(writer_start),
            end_us: Some(end.saturating_sub(writer_start)),
            // Judged by the expectation of the fault.
            expects_failover: false,
        })
    };
    injected.iter().filter_map(span).collect()
}

/// The time in which acknowledged records may be missing, on the writer's clock.
pub(super) fn discarded(injected: &[InjectedFault], writer_start: u64) -> Option<Range<u64>> {
    let local = |at: u64| at.saturating_sub(writer_start);
    let span = injected
        .iter()
        .find_map(|fault| fault.findings.discarded.as_ref())?;
    Some(local(span.start)..local(span.end))
}

/// Reads all records back. Not ended by a request to stop: the verdict needs it, and it has time
/// limits of its own.
pub(super) async fn verify(
    environment: &Environment,
    ledger: &Path,
    faults: Vec<checker::FaultInterval>,
    discarded: Option<Range<u64>>,
) -> Result<Verification, VerifyError> {
    let options = verifier::VerifyOptions {
        ledger: ledger.to_owned(),
        scan: true,
        faults,
        wait: verifier::DEFAULT_WAIT,
        given_up: discarded,
    };
    verifier::run(
        &environment.lab,
        &options,
        &CancellationToken::new(),
        |_| {},
    )
    .await
}

/// The acknowledgements of a ledger; none if it can't be read, which the verification reports.
pub(super) fn read_acks(path: &Path) -> Acks {
    let Ok(reader) = LedgerReader::open(path) else {
        return Acks::default();
    };
    let mut acks = Acks::new(reader.header().start);
    for entry in reader.map_while(Result::ok) {
        acks.push(&entry);
    }
    acks.sorted()
}
