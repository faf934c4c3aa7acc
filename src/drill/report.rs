//! What drills say at their end: the report, as JSON. Pure.
//!
//! Every field is explained in `docs/results.md`, in the words that stand here; a test holds the two together.
//! Times are milliseconds, rounded to a tenth. Those that end in `at_ms` count from the (last) fault of the
//! run, on one monotonic clock: negative before it.

use serde::{Deserialize, Serialize};

use crate::checker::Verdict;
use crate::exit::Exit;

use super::fault::Fault;
use super::stats::Spread;

/// The version of the form of the report; a change that breaks readers raises it.
pub const SCHEMA_VERSION: u32 = 1;

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

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this form.
    pub schema_version: u32,
    /// What made it, with version.
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

/// One fault in one setting, run some times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// The fault; `soak` is a chapter of a soak run, with faults of many kinds.
    pub fault: Kind,
    /// How the lab and the writer were set.
    pub setting: Setting,
    /// The runs, in order.
    pub runs: Vec<Run>,
    /// What the runs have in common.
    pub summary: Summary,
    /// The worst verdict of the runs.
    pub verdict: DrillVerdict,
}

/// What a drill is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum Kind {
    /// One fault.
    Fault(Fault),
    /// A soak run.
    Soak(Soak),
}

/// The word `soak`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Soak {
    /// The word.
    Soak,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Fault(fault) => fault.fmt(f),
            Kind::Soak(_) => f.pad("soak"),
        }
    }
}

/// How the lab and the writer were set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// `ours`: nodes run by `halab node`; `stock`: plain servers and Sentinels.
    pub nodes: NodesKind,
    /// The server and its version.
    pub server: String,
    /// The server that took its place, in a rolling upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgraded_to: Option<String>,
    /// The profile of `lab.toml`; none: the normal time limits.
    pub profile: Option<String>,
    /// Silence after which a Sentinel calls a node down.
    pub down_after_ms: u64,
    /// Silence after which a parent kills its server as hung.
    pub hang_timeout_ms: u64,
    /// What counts as acknowledged: `available`, `replicated` or `none`.
    pub policy: String,
    /// Connections of the writer.
    pub connections: usize,
    /// Batches on each that may wait to be acknowledged.
    pub in_flight: usize,
    /// Records a batch.
    pub batch: usize,
    /// Limit of records a second; none: as fast as they are acknowledged.
    pub rate: Option<f64>,
    /// Bytes a second that pass between the data nodes from the start of the writer (where the fault
    /// begins with a planned handover: from the promotion) until it is healed, so that the load
    /// outruns the replica; none: as many as can.
    #[serde(default)]
    pub link_bytes_per_second: Option<u32>,
}

/// Who runs the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodesKind {
    /// `halab node`.
    Ours,
    /// Nobody: plain servers with Redis' defaults (and an append-only file where the fault harms
    /// that), started again by the drill where the fault says so.
    Stock,
    /// `halab node`, each in a container.
    Containers,
}

impl std::fmt::Display for NodesKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            NodesKind::Ours => "ours",
            NodesKind::Stock => "stock",
            NodesKind::Containers => "containers",
        })
    }
}

/// Verdict of a run, a drill, a report. Ordered: the greater is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillVerdict {
    /// Nothing acknowledged is lost, and what must hold held.
    Holds,
    /// Neither can be said; the reasons say why.
    Inconclusive,
    /// The lab or the tool failed, which says nothing about the claim.
    Failed,
    /// An acknowledged record is lost, or something that must hold did not.
    Violated,
}

impl DrillVerdict {
    /// The worst of several; of none, inconclusive.
    pub fn worst(verdicts: impl IntoIterator<Item = DrillVerdict>) -> DrillVerdict {
        verdicts
            .into_iter()
            .max()
            .unwrap_or(DrillVerdict::Inconclusive)
    }
}

impl From<Verdict> for DrillVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Holds => DrillVerdict::Holds,
            Verdict::Inconclusive => DrillVerdict::Inconclusive,
            Verdict::Violated => DrillVerdict::Violated,
        }
    }
}

impl From<DrillVerdict> for Exit {
    fn from(verdict: DrillVerdict) -> Exit {
        match verdict {
            DrillVerdict::Holds => Exit::Holds,
            DrillVerdict::Inconclusive => Exit::Inconclusive,
            DrillVerdict::Failed => Exit::Failed,
            DrillVerdict::Violated => Exit::Violated,
        }
    }
}

impl std::fmt::Display for DrillVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DrillVerdict::Holds => "holds",
            DrillVerdict::Inconclusive => "inconclusive",
            DrillVerdict::Failed => "failed",
            DrillVerdict::Violated => "violated",
        })
    }
}

/// What the runs of a drill have in common.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How many runs.
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
    /// From `+switch-master` to the first acknowledged write; negative: acknowledged before it was announced.
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
    /// What the moments and the choices of this run were drawn from.
    pub seed: u64,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// What happened, in the order of time.
    pub timeline: Vec<Moment>,
    /// What each fault did to writes.
    pub outages: Vec<Outage>,
    /// What became of the records; none when nothing was read back.
    pub records: Option<Records>,
    /// What must hold, and whether it did.
    pub invariants: Vec<Invariant>,
    /// Rate and latency of the writer; none when left out.
    pub samples: Option<Samples>,
    /// Where everything of this run is kept (ledger, logs, events); none: removed.
    pub kept: Option<String>,
}

/// One phase of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `ready`, `load`, `fault`, `observe`, `heal`, `settle` or `verify`.
    pub name: String,
    /// How long it took.
    pub took_ms: f64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at_ms: f64,
    /// What; the names that begin with `+` or `-` are those of Sentinel's events.
    pub what: String,
    /// The node that it happened to.
    pub node: Option<String>,
    /// The Sentinel that said so first.
    pub by: Option<String>,
    /// More about it.
    pub detail: Option<String>,
}

/// What one fault did to writes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outage {
    /// The fault as it was injected, with the node that it hit.
    pub fault: String,
    /// When it was injected; 0 for the last one of a run.
    pub at_ms: f64,
    /// The longest time between two acknowledged writes from the fault on, until the next fault or the end; none
    /// when nothing was acknowledged any more.
    pub rto_ms: Option<f64>,
    /// When that time began: the last write acknowledged before it.
    pub from_at_ms: Option<f64>,
    /// From the fault to the beginning of a failover (`+try-failover`).
    pub detect_ms: Option<f64>,
    /// From there to the election of a Sentinel as leader (`+elected-leader`).
    pub elect_ms: Option<f64>,
    /// From there to another node saying that it is primary.
    pub promote_ms: Option<f64>,
    /// From there to the first acknowledged write.
    pub reconnect_ms: Option<f64>,
    /// From the first `+switch-master` to the first write acknowledged after the promotion; negative: acknowledged
    /// before it was announced.
    pub switch_to_ack_ms: Option<f64>,
}

/// What became of the records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Records {
    /// Records that may have been sent.
    pub invoked: u64,
    /// Acknowledged, in whatever way.
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
    /// There, although they failed for certain or were never sent.
    pub unexpected: u64,
    /// Seen more than once by the read.
    pub duplicated: u64,
    /// Neither acknowledged nor failed for certain, and there.
    pub recovered: u64,
    /// Neither acknowledged nor failed for certain, and not there.
    pub unknown: u64,
    /// Failed for certain, and given up.
    pub failed: u64,
    /// Acknowledged and not read back.
    pub unread: u64,
    /// Records that were sent more than once.
    pub sent_again: u64,
    /// Of the lost ones: when the oldest was created, RFC 3339.
    pub lost_from: Option<String>,
    /// Of the lost ones: when the youngest was created, RFC 3339.
    pub lost_to: Option<String>,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invariant {
    /// What.
    pub name: String,
    /// Whether it did; none: it could not be told.
    pub held: Option<bool>,
    /// What was seen.
    pub detail: String,
}

/// Rate and latency of the writer in equal intervals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Samples {
    /// Length of an interval.
    pub interval_ms: f64,
    /// When the first one begins.
    pub first_ms: f64,
    /// Records acknowledged in each.
    pub acknowledged: Vec<u64>,
    /// Median time from the first sending to the acknowledgement, over the ledger's entries of each.
    pub latency_median_ms: Vec<Option<f64>>,
    /// The longest such time of each.
    pub latency_max_ms: Vec<Option<f64>>,
}

impl Drill {
    /// A drill of these runs.
    pub fn new(fault: Kind, setting: Setting, runs: Vec<Run>) -> Self {
        Drill {
            fault,
            setting,
            summary: Summary::of(&runs),
            verdict: DrillVerdict::worst(runs.iter().map(|run| run.verdict)),
            runs,
        }
    }
}

impl Summary {
    /// Of these runs.
    pub fn of(runs: &[Run]) -> Self {
        let spread = |of: fn(&Outage) -> Option<f64>| {
            Spread::of(runs.iter().flat_map(|run| &run.outages).filter_map(of))
        };
        let records = || runs.iter().filter_map(|run| run.records.as_ref());
        Summary {
            runs: runs.len(),
            rto_ms: spread(|o| o.rto_ms),
            detect_ms: spread(|o| o.detect_ms),
            elect_ms: spread(|o| o.elect_ms),
            promote_ms: spread(|o| o.promote_ms),
            reconnect_ms: spread(|o| o.reconnect_ms),
            switch_to_ack_ms: spread(|o| o.switch_to_ack_ms),
            acknowledged: records().map(|r| r.acknowledged).sum(),
            lost: records().map(|r| r.lost).sum(),
        }
    }
}

impl Setting {
    /// The server, and the one that took its place.
    pub fn servers(&self) -> String {
        match &self.upgraded_to {
            Some(to) => format!("{} to {to}", self.server),
            None => self.server.clone(),
        }
    }

    /// Who runs the servers, and whether the load outruns the replica.
    pub fn who(&self) -> String {
        match self.link_bytes_per_second {
            Some(_) => format!("{}, outrun", self.nodes),
            None => self.nodes.to_string(),
        }
    }
}

impl Report {
    /// A report of these drills.
    pub fn new(started: String, host: Host, drills: Vec<Drill>) -> Self {
        let runs = || drills.iter().flat_map(|drill| &drill.runs);
        Report {
            schema_version: SCHEMA_VERSION,
            tool: concat!("halab ", env!("CARGO_PKG_VERSION")).to_owned(),
            started,
            host,
            totals: Totals {
                runs: runs().count(),
                faults: runs().map(|run| run.outages.len()).sum(),
                acknowledged: drills.iter().map(|d| d.summary.acknowledged).sum(),
                lost: drills.iter().map(|d| d.summary.lost).sum(),
            },
            verdict: DrillVerdict::worst(drills.iter().map(|drill| drill.verdict)),
            drills,
        }
    }

    /// The same, without what makes it long: samples, and the timelines of all runs but the first of a drill. And without
    /// folders, which are of one machine: a short report is one to pass on.
    pub fn shortened(mut self) -> Self {
        for drill in &mut self.drills {
            for (i, run) in drill.runs.iter_mut().enumerate() {
                run.samples = None;
                run.kept = None;
                if i > 0 {
                    run.timeline.clear();
                }
            }
        }
        self
    }
}
