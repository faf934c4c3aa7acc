//! Drill reports: their types, how they are assembled from runs, and their output formats. Pure.
//!
//! - `model`: the types, which are the schema of the JSON
//! - `assembly`: sums, statistics and verdicts over runs
//! - `stats`: minimum, median, maximum
//! - [`markdown`], [`html`]: output for people
//!
//! What happened in a run is decided elsewhere (`judging`); nothing of `drill` is used here.

mod assembly;
pub mod html;
pub mod markdown;
mod model;
mod stats;

pub use model::{
    CalledObject, ClientCalls, ClientSetting, ClientsVia, Drill, DrillReport, DrillSummary,
    DrillVerdict, Host, Invariant, NodesKind, Outage, Phase, Records, Run, SCHEMA_VERSION, Samples,
    Setting, TimelineEntry, Totals,
};
pub use stats::Spread;

/// Microseconds as milliseconds, rounded to a tenth.
pub fn ms(us: u64) -> f64 {
    (us as f64 / 100.0).round() / 10.0
}

/// From one time to another, both in microseconds, as milliseconds rounded to a tenth.
pub fn ms_between(from: u64, to: u64) -> f64 {
    if to >= from {
        ms(to - from)
    } else {
        -ms(from - to)
    }
}
