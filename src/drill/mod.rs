//! Drills: a fault under load, healed, and judged by what was kept.
//!
//! Six parts; each uses only those after it:
//!
//! - [`faults`]: the faults, one file each: what they do, how they are injected and healed
//! - `phases`: the phases of a run, begun by a fault and by its drill
//! - `clients`: client applications beside the writer, and what they were answered
//! - [`environment`]: the lab that a drill works on: processes, containers, namespaces
//! - [`judging`]: from events and acknowledgements to outages, invariants and a verdict (pure)
//! - [`report`]: the report and its output formats (pure)
//!
//! Above them:
//!
//! - [`DrillPlan`]: what is drilled; [`run`]: all drills of a plan
//! - [`soak()`]: many faults in one lab, for a long time
//! - `experiment`: what both have in common: faults injected under load, and their judgement

mod campaign;
mod clients;
pub mod environment;
mod experiment;
pub mod faults;
pub mod judging;
mod phases;
mod plan;
pub mod report;
mod single;
mod soak;

pub use campaign::{DrillListener, DrillProgress, run};
pub use environment::EngineAt;
pub use environment::network;
pub use plan::{DrillPlan, Setup};
pub use soak::{SoakListener, SoakPlan, SoakProgress, soak};
