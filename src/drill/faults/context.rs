//! The resources of a fault while it is injected.

use std::ops::Range;

use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::drill::environment::{Environment, EnvironmentError, LabObserver, Load, NetworkError};
use crate::drill::judging::{Expectation, LabEventKind, ReportedError};
use crate::drill::phases::Phases;

/// Why a fault was not injected, or not observed until its end.
#[derive(Debug, thiserror::Error)]
pub enum InjectionError {
    /// Ctrl-C or SIGTERM.
    #[error("stopped by a signal")]
    Stopped,
    /// The lab did not do what it had to do: the claim is violated.
    #[error("{0}")]
    Missed(String),
    /// The lab was not healthy before the fault.
    #[error("disturbed before the fault: {0}")]
    Disturbed(String),
    /// An action on the lab failed.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A planned operation was refused.
    #[error("the planned operation was refused: {0}")]
    Refused(String),
}

impl From<NetworkError> for InjectionError {
    fn from(error: NetworkError) -> Self {
        EnvironmentError::from(error).into()
    }
}

impl InjectionError {
    /// A planned operation was refused, with that error.
    pub(super) fn refused(error: impl ToString) -> Self {
        InjectionError::Refused(error.to_string())
    }

    /// The lab did not do what it had to do, as that error says.
    pub(super) fn missed(error: impl ToString) -> Self {
        InjectionError::Missed(error.to_string())
    }
}

/// The lab, its writer and its observer, and the results of the injection.
pub struct FaultContext<'a> {
    /// The lab.
    pub environment: &'a mut Environment,
    /// Its observer.
    pub observer: &'a LabObserver,
    /// Its writer.
    pub load: &'a mut Load,
    /// The primary at the beginning.
    pub primary: String,
    /// What must hold under the policy of the run.
    pub expectation: Expectation,
    /// Number of acknowledged records that shows that writes continue: more than are in flight.
    pub enough_records: u64,
    /// The random generator of the run.
    pub rng: &'a mut StdRng,
    /// A request to stop.
    pub stop: &'a CancellationToken,
    /// The phases of the run.
    pub phases: &'a mut Phases,
    /// `--outrun` begins with the promotion.
    pub outrun_after_promotion: bool,
    /// Results for the judgement.
    pub findings: Findings,
}

/// What the judgement has to know, beside the events.
#[derive(Debug, Default)]
pub struct Findings {
    /// The node that has to be primary after the recovery, if the fault determines it.
    pub expected_primary: Option<String>,
    /// The error that the fault has to cause, if the fault determines it.
    pub reported_error: Option<ReportedError>,
    /// Records acknowledged in this time, on the observer's clock, may be missing: from the
    /// beginning of a backup until the lab has lost its data.
    pub discarded: Option<Range<u64>>,
}

impl FaultContext<'_> {
    /// Records that a fault is injected now.
    pub(super) fn begin_fault(&mut self, text: impl Into<String>) {
        self.phases.begin("fault");
        self.observer.record(LabEventKind::Fault(text.into()));
    }

    /// Records another action.
    pub(super) fn record(&self, text: impl Into<String>) {
        self.observer.record(LabEventKind::Action(text.into()));
    }

    /// Fails unless the Sentinels name a primary, and no other node says that it is primary. A slow
    /// machine can cause a failover by itself: the run would show nothing about the fault.
    pub(super) async fn check_undisturbed(&mut self) -> Result<(), InjectionError> {
        let named = self.observer.named_primary().await;
        let primary =
            named.ok_or_else(|| InjectionError::missed("the Sentinels name no primary"))?;
        let primaries = self.observer.primaries();
        if primaries != [primary.as_str()] {
            return Err(InjectionError::Disturbed(format!(
                "the Sentinels name {primary}, and primary is: {}",
                primaries.join(", ")
            )));
        }
        self.primary = primary;
        Ok(())
    }
}
