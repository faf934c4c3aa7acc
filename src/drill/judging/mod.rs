//! The judgement of a run: from events and acknowledgements to outages, invariants and a verdict.
//! Pure.
//!
//! - `events`, `acks`: what was observed in the lab, and what the writer's ledger says
//! - [`Timeline`]: outages and timeline
//! - [`Expectation`]: what a fault has to lead to
//! - `invariants`: what must hold, compared with what was observed
//! - `records`: their counts; `linearizable`: the calls of client applications
//! - `verdict`: the verdict over the invariants
//!
//! How a fault is injected and how the lab is observed is not known here.

mod acks;
mod events;
mod expectation;
mod invariants;
mod linearizable;
mod records;
mod timeline;
mod verdict;

pub use acks::{AckSpan, Acks};
pub use events::{EventLog, LabEvent, LabEventKind, ObservedRole};
pub use expectation::{Expectation, Failover, Writes};
pub use invariants::{FaultEvidence, ReportedError, RunEvidence};
pub use records::records;
pub use timeline::Timeline;
pub use verdict::verdict;
