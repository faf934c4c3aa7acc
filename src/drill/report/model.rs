//! The types of a drill report, which are the schema of its JSON. Pure.
//!
//! `docs/drill-report.md` explains every field with the comments of this file; `tests/drills.rs`
//! holds the two together. Times are milliseconds, rounded to a tenth. Those that end in `at_ms`
//! count from the (last) fault of the run, on one monotonic clock: negative before it.

use serde::{Deserialize, Serialize};

use super::Spread;

/// The schema version; a change that breaks readers raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillReport {
    /// Version of this schema.
    pub schema_version: u32,
    /// The program that made it, with its version.
    pub tool: String,
    /// Wall-clock time of the start, RFC 3339.
    pub started: String,
    /// The machine it was made on.
    pub host: Host,
    /// One entry for each fault and setting, in the order in which they were run.
    pub drills: Vec<Drill>,
    /// The sums over all of them.
    pub totals: Totals,
    /// The worst verdict of all drills.
    pub verdict: DrillVerdict,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system and its release.
    pub system: String,
    /// Processors that the program may use.
    pub processors: usize,
}

/// Sums over all drills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Runs.
    pub runs: usize,
    /// Faults injected; a run of some faults has several.
    pub faults: usize,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Of these: lost.
    pub lost: u64,
}

/// The runs of one fault in one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Name of the fault; `soak`: a soak run, with faults of many kinds.
    pub fault: String,
    /// How the lab and the writer were set.
    pub setting: Setting,
    /// The runs, in order; of a soak run its chapters.
    pub runs: Vec<Run>,
    /// Statistics over the runs.
    pub summary: DrillSummary,
    /// The worst verdict of the runs.
    pub verdict: DrillVerdict,
}

/// How the lab and the writer were set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// `ours`: nodes run by `halab node`; `stock`: servers and Sentinels with their own defaults.
    pub nodes: NodesKind,
    /// The server and its version.
    pub server: String,
    /// The server that replaced it, in a rolling upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgraded_to: Option<String>,
    /// The profile of `lab.toml`; none: the normal time limits.
    pub profile: Option<String>,
    /// Silence after which a Sentinel considers a node down.
    pub down_after_ms: u64,
    /// Silence after which a node kills its server as hung.
    pub hang_timeout_ms: u64,
    /// The writer's acknowledgement policy: `available`, `replicated` or `none`.
    pub policy: String,
    /// Connections of the writer.
    pub connections: usize,
    /// Batches in flight on each connection, at most.
    pub in_flight: usize,
    /// Records per batch.
    pub batch: usize,
    /// Limit of records per second; none: as fast as they are acknowledged.
    pub rate: Option<f64>,
    /// Bandwidth between the data nodes in bytes per second, so low that the load outruns the
    /// replica: from the start of the writer (where the fault begins with a planned handover: from
    /// the promotion) until the fault is healed; none: not limited.
    #[serde(default)]
    pub link_bytes_per_second: Option<u32>,
    /// Client applications beside the writer; none: the writer alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientSetting>,
}

/// How client applications were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSetting {
    /// How they reach the primary.
    pub via: ClientsVia,
    /// Their number.
    pub count: usize,
    /// The proxy answers reads at once (`--reads local`).
    pub local_reads: bool,
}

/// How client applications reach the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ClientsVia {
    /// Through a `halab proxy`, with the policy of the writer.
    Proxy,
    /// At the node that the Sentinels name as primary; what it answers is trusted.
    Direct,
}

/// The kind of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum NodesKind {
    /// `halab node`.
    Ours,
    /// Servers with Redis' defaults (and an append-only file where the fault damages it),
    /// which the drill starts again where the fault says so.
    Stock,
    /// `halab node`, each in a container.
    Containers,
}

/// Verdict of a run, a drill, a report. Ordered: the greater is the worse.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DrillVerdict {
    /// No acknowledged record is lost, and every invariant held.
    Holds,
    /// The run shows neither that nor the opposite; the reasons say why.
    Inconclusive,
    /// The lab or the tool failed, which says nothing about the claim.
    Failed,
    /// An acknowledged record is lost, or an invariant did not hold.
    Violated,
}

/// Statistics over the runs of a drill.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DrillSummary {
    /// Number of runs.
    pub runs: usize,
    /// The longest time without an acknowledged write of each fault, in milliseconds.
    pub rto_ms: Option<Spread>,
    /// From the fault to the beginning of a failover.
    pub detect_ms: Option<Spread>,
    /// From there to the election of a Sentinel as leader.
    pub elect_ms: Option<Spread>,
    /// From there to another node saying that it is primary.
    pub promote_ms: Option<Spread>,
    /// From there to the first acknowledged write.
    pub reconnect_ms: Option<Spread>,
    /// From `+switch-master` to the first acknowledged write; negative: acknowledged before it was
    /// announced.
    pub switch_to_ack_ms: Option<Spread>,
    /// Records acknowledged in all runs.
    pub acknowledged: u64,
    /// Of these: lost.
    pub lost: u64,
}

/// One run of a drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The verdict.
    pub verdict: DrillVerdict,
    /// Why it is not `holds`, each in a sentence.
    pub reasons: Vec<String>,
    /// Random seed of the run.
    pub seed: u64,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// The events, in the order of time.
    pub timeline: Vec<TimelineEntry>,
    /// The effect of each fault on writes.
    pub outages: Vec<Outage>,
    /// Counts of records; none when nothing was read back.
    pub records: Option<Records>,
    /// The invariants and expectations, and whether they held.
    pub invariants: Vec<Invariant>,
    /// What client applications were answered; none without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientCalls>,
    /// Rate and latency of the writer; none when left out.
    pub samples: Option<Samples>,
    /// Folder with the ledger, logs and events of this run; none: removed.
    pub kept: Option<String>,
}

/// One phase of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `ready`, `load`, `fault`, `observe`, `heal`, `settle` or `verify`.
    pub name: String,
    /// Its duration.
    pub took_ms: f64,
}

/// One event of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Time of the event.
    pub at_ms: f64,
    /// Name of the event; names that begin with `+` or `-` are those of Sentinel's events.
    pub what: String,
    /// The node that it happened to.
    pub node: Option<String>,
    /// The Sentinel that published it first.
    pub by: Option<String>,
    /// Details.
    pub detail: Option<String>,
}

/// The effect of one fault on writes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outage {
    /// The fault as it was injected, with the affected node.
    pub fault: String,
    /// Time of the injection; 0 for the last one of a run.
    pub at_ms: f64,
    /// The longest time between two acknowledged writes from the fault on, until the next fault or
    /// the end; none when nothing was acknowledged any more.
    pub rto_ms: Option<f64>,
    /// Beginning of that time: the last write acknowledged before it.
    pub from_at_ms: Option<f64>,
    /// From the fault to the beginning of a failover (`+try-failover`).
    pub detect_ms: Option<f64>,
    /// From there to the election of a Sentinel as leader (`+elected-leader`).
    pub elect_ms: Option<f64>,
    /// From there to another node saying that it is primary.
    pub promote_ms: Option<f64>,
    /// From there to the first acknowledged write.
    pub reconnect_ms: Option<f64>,
    /// From the first `+switch-master` to the first write acknowledged after the promotion;
    /// negative: acknowledged before it was announced.
    pub switch_to_ack_ms: Option<f64>,
}

/// Counts of records, by their outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Records {
    /// Records that may have been sent.
    pub invoked: u64,
    /// Acknowledged, in any of the following forms.
    pub acknowledged: u64,
    /// Of these: confirmed by every other data node.
    pub replicated: u64,
    /// Of these: witnessed by the Sentinels.
    pub witnessed: u64,
    /// Of these: only the primary's `+OK` (policy `none`).
    pub unconfirmed: u64,
    /// Acknowledged, and absent from the primary or from a replica that may be promoted.
    pub lost: u64,
    /// With a value that was never written there.
    pub corrupted: u64,
    /// Present, although they failed for certain or were never sent.
    pub unexpected: u64,
    /// Seen more than once by the read.
    pub duplicated: u64,
    /// Neither acknowledged nor failed for certain, and present.
    pub recovered: u64,
    /// Neither acknowledged nor failed for certain, and absent.
    pub unknown: u64,
    /// Failed for certain, and given up.
    pub failed: u64,
    /// Acknowledged and not read back.
    pub unread: u64,
    /// Records that were sent more than once.
    pub sent_again: u64,
    /// Of the lost ones: creation time of the oldest, RFC 3339.
    pub lost_from: Option<String>,
    /// Of the lost ones: creation time of the youngest, RFC 3339.
    pub lost_to: Option<String>,
}

/// The calls of client applications.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientCalls {
    /// Calls.
    pub calls: usize,
    /// Of these: answered.
    pub answered: usize,
    /// Of these: not executed, as an error said.
    pub not_executed: usize,
    /// Of these: it is not known whether they were executed.
    pub unknown: usize,
    /// Duration of the longest call.
    pub longest_ms: f64,
    /// Why the calls or the last reads are not complete; none: they are.
    pub failure: Option<String>,
    /// The objects that were called.
    pub objects: Vec<CalledObject>,
}

/// An object that client applications called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledObject {
    /// Its key.
    pub key: String,
    /// `register`, `counter`, `queue` or `set`.
    pub kind: String,
    /// Calls that were executed or may have been.
    pub calls: usize,
    /// `holds`: linearizable; `violated`: not; `inconclusive`: the search has reached a bound.
    pub verdict: DrillVerdict,
    /// What does not fit, with times in seconds from the (last) fault; none if it is not violated.
    pub counterexample: Option<String>,
}

/// A condition that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invariant {
    /// The condition.
    pub name: String,
    /// Whether it held; none: could not be determined.
    pub held: Option<bool>,
    /// The measured or observed values.
    pub detail: String,
}

/// Rate and latency of the writer in equal intervals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Samples {
    /// Length of an interval.
    pub interval_ms: f64,
    /// Beginning of the first one.
    pub first_ms: f64,
    /// Records acknowledged in each.
    pub acknowledged: Vec<u64>,
    /// Median time from the first sending to the acknowledgement, over the ledger's entries of
    /// each interval.
    pub latency_median_ms: Vec<Option<f64>>,
    /// The longest such time of each.
    pub latency_max_ms: Vec<Option<f64>>,
}
