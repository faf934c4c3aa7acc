//! Errors that a node or the writer has to report, with their remedy.

use std::time::Duration;

use tokio::time::Instant;

use crate::drill::faults::{FaultContext, InjectionError};
use crate::drill::judging::ReportedError;

use super::waiting::{ASK_INTERVAL, stoppable_sleep};

/// Time that a node or the writer may take to report an error. A node checks every 0.1 s; a writer
/// that writes little takes a while to fill the last page of its ledger.
pub(in crate::drill::faults) const REPORT_LIMIT: Duration = Duration::from_secs(30);

impl FaultContext<'_> {
    /// Waits until the log of a node, from that position on, names the remedy. Whether it does is
    /// judged with everything else.
    pub(in crate::drill::faults) async fn await_message(
        &mut self,
        node: &str,
        since: usize,
        remedy: &'static str,
    ) -> Result<(), InjectionError> {
        let deadline = Instant::now() + REPORT_LIMIT;
        loop {
            let log = self.environment.log_of(node);
            let mut lines = log.get(since..).unwrap_or_default().lines();
            if let Some(line) = lines.find(|line| line.contains(remedy)) {
                self.set_reported_error(node, remedy, line);
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.set_reported_error(node, remedy, "");
                return Ok(());
            }
            // Not `pause`: its timeout is an error, and here it is judged.
            stoppable_sleep(ASK_INTERVAL, self.stop).await?;
        }
    }

    /// Sets the error that was reported, for the judgement.
    pub(in crate::drill::faults) fn set_reported_error(
        &mut self,
        reporter: &str,
        remedy: &'static str,
        message: &str,
    ) {
        // Reports are published; the folder of the run is of this machine.
        let folder = self.environment.folder().display().to_string();
        let named = message.contains(remedy);
        self.findings.reported_error = Some(ReportedError {
            reporter: reporter.to_owned(),
            remedy,
            message: named.then(|| message.trim().replace(&folder, ".")),
        });
    }
}
