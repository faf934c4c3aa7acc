//! The summary of a run in a few sentences: the faults, their outages, the records.

use crate::drill::report::{Outage, Records, Run};

use super::{grouped, seconds};

/// The sentences, separated by spaces.
pub(super) fn sentences(run: &Run) -> String {
    let mut sentences: Vec<String> = run.outages.iter().map(outage).collect();
    if let Some(records) = &run.records {
        sentences.push(kept(records));
    }
    sentences.join(" ")
}

fn outage(outage: &Outage) -> String {
    let fault = &outage.fault;
    let Some(rto) = outage.rto_ms else {
        return format!("{fault}: no write was acknowledged any more.");
    };
    let mut sentence = format!("{fault}: {} without an acknowledged write", seconds(rto));
    let parts = [
        ("a failover began", outage.detect_ms),
        ("a Sentinel was elected", outage.elect_ms),
        ("another node was primary", outage.promote_ms),
        ("a write was acknowledged", outage.reconnect_ms),
    ];
    if let [Some(_), Some(_), Some(_), Some(_)] = parts.map(|(_, ms)| ms) {
        let mut at = 0.0;
        let parts = parts.map(|(what, ms)| {
            at += ms.unwrap_or_default();
            format!("{what} after {}", seconds(at))
        });
        sentence.push_str("; ");
        sentence.push_str(&parts.join(", "));
    }
    sentence.push('.');
    sentence
}

fn kept(records: &Records) -> String {
    let acknowledged = grouped(records.acknowledged);
    let counts = [
        (records.lost, "lost"),
        (records.corrupted, "with another value"),
        (records.unread, "not read back"),
    ];
    let found: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", grouped(count)))
        .collect();
    match found.is_empty() {
        true => format!("Of {acknowledged} acknowledged records none is lost."),
        false => format!(
            "Of {acknowledged} acknowledged records: {}.",
            found.join(", ")
        ),
    }
}
