//! Reports and drills made of runs: sums, statistics, verdicts. Pure.

use std::fmt;

use crate::checker::Verdict;
use crate::exit::Exit;

use super::model::{
    ClientCalls, ClientSetting, Drill, DrillReport, DrillSummary, DrillVerdict, Host, Invariant,
    Outage, Run, SCHEMA_VERSION, Setting, Totals,
};
use super::stats::Spread;

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
            DrillVerdict::Violated => Exit::Negative,
        }
    }
}

impl Drill {
    /// The drill of these runs; `fault` is the name of the fault, or `soak`.
    pub fn new(fault: &str, setting: Setting, runs: Vec<Run>) -> Self {
        Drill {
            fault: fault.to_owned(),
            setting,
            summary: DrillSummary::of(&runs),
            verdict: DrillVerdict::worst(runs.iter().map(|run| run.verdict)),
            runs,
        }
    }
}

impl Run {
    /// A run that ended before there were results, and why.
    pub fn without_results(seed: u64, verdict: DrillVerdict, why: String) -> Self {
        Run {
            verdict,
            reasons: vec![why],
            seed,
            phases: Vec::new(),
            timeline: Vec::new(),
            outages: Vec::new(),
            records: None,
            invariants: Vec::new(),
            clients: None,
            samples: None,
            kept: None,
        }
    }
}

impl Invariant {
    /// An invariant and whether it held; none: not determined.
    pub fn new(
        name: impl Into<String>,
        held: impl Into<Option<bool>>,
        detail: impl Into<String>,
    ) -> Self {
        Invariant {
            name: name.into(),
            held: held.into(),
            detail: detail.into(),
        }
    }
}

impl DrillSummary {
    /// Statistics over these runs.
    pub fn of(runs: &[Run]) -> Self {
        let spread = |of: fn(&Outage) -> Option<f64>| {
            Spread::of(runs.iter().flat_map(|run| &run.outages).filter_map(of))
        };
        let records = || runs.iter().filter_map(|run| run.records.as_ref());
        DrillSummary {
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
    /// The server, and the one that replaced it.
    pub fn servers(&self) -> String {
        match &self.upgraded_to {
            Some(to) => format!("{} to {to}", self.server),
            None => self.server.clone(),
        }
    }

    /// The kind of nodes, whether the load outruns the replica, and client applications.
    pub fn nodes_and_load(&self) -> String {
        let outrun = match self.link_bytes_per_second {
            Some(_) => ", outrun",
            None => "",
        };
        let clients = self
            .clients
            .map_or(String::new(), |clients| format!(", {clients}"));
        format!("{}{outrun}{clients}", self.nodes)
    }
}

impl fmt::Display for ClientSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clients: {}", self.count, self.via)?;
        if self.local_reads {
            f.write_str(", local reads")?;
        }
        Ok(())
    }
}

impl ClientCalls {
    /// The counts in a sentence without a full stop.
    pub fn sentence(&self) -> String {
        format!(
            "{} calls of clients: {} answered, {} not executed, {} unknown, the longest {:.0} ms",
            self.calls, self.answered, self.not_executed, self.unknown, self.longest_ms
        )
    }

    /// The objects that are not linearizable, each with its counterexample.
    pub fn counterexamples(&self) -> impl Iterator<Item = (&str, &str)> {
        let objects = self.objects.iter();
        objects.filter_map(|o| Some((o.key.as_str(), o.counterexample.as_deref()?)))
    }
}

impl DrillReport {
    /// The report of these drills.
    pub fn new(started: String, host: Host, drills: Vec<Drill>) -> Self {
        let runs = || drills.iter().flat_map(|drill| &drill.runs);
        DrillReport {
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

    /// The same without its largest and its machine-specific parts: samples, folders, and the
    /// timelines of all runs but the first of a drill.
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
