//! The report as text for the terminal and as Markdown. Pure.

use std::fmt::Write;

use comfy_table::{LineStyle, Table, TableStyle};

use super::{Drill, DrillReport, DrillVerdict, Outage, Run, Spread, TimelineEntry};

/// The columns of the table.
const COLUMNS: [&str; 11] = [
    "fault",
    "nodes",
    "server",
    "policy",
    "runs",
    "RTO min / median / max, ms",
    "detect + elect + promote + reconnect, ms",
    "switch to ack, ms",
    "acknowledged",
    "lost",
    "verdict",
];

/// A rule under the header.
const LINES: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// One row per drill.
fn rows(report: &DrillReport) -> Vec<[String; COLUMNS.len()]> {
    report.drills.iter().map(row).collect()
}

fn row(drill: &Drill) -> [String; COLUMNS.len()] {
    let Drill {
        setting, summary, ..
    } = drill;
    let median = |spread: Option<Spread>| spread.map_or("-".to_owned(), |s| whole(s.median));
    let parts = [
        summary.detect_ms,
        summary.elect_ms,
        summary.promote_ms,
        summary.reconnect_ms,
    ];
    let parts = if parts.iter().all(Option::is_none) {
        "-".to_owned()
    } else {
        parts.map(median).join(" + ")
    };
    [
        drill.fault.to_string(),
        setting.nodes_and_load(),
        setting.servers(),
        setting.policy.clone(),
        summary.runs.to_string(),
        summary.rto_ms.map_or("-".to_owned(), |s| {
            format!("{} / {} / {}", whole(s.min), whole(s.median), whole(s.max))
        }),
        parts,
        median(summary.switch_to_ack_ms),
        summary.acknowledged.to_string(),
        summary.lost.to_string(),
        match holds(&drill.runs) {
            0 => drill.verdict.to_string(),
            all if all == drill.runs.len() => drill.verdict.to_string(),
            some => format!("{} ({some} hold)", drill.verdict),
        },
    ]
}

fn holds(runs: &[Run]) -> usize {
    let held = runs.iter().filter(|run| run.verdict == DrillVerdict::Holds);
    held.count()
}

fn whole(ms: f64) -> String {
    // Adding 0 removes the sign of a rounded negative zero.
    format!("{:.0}", ms.round() + 0.0)
}

/// The table of all drills, in Markdown.
pub fn table(report: &DrillReport) -> String {
    let mut text = format!(
        "| {} |\n|{}\n",
        COLUMNS.join(" | "),
        "---|".repeat(COLUMNS.len())
    );
    for row in rows(report) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// The table of all drills, for a terminal.
pub fn text(report: &DrillReport) -> String {
    let mut table = Table::new();
    table.load_style(LINES);
    table.set_header(COLUMNS);
    for row in rows(report) {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// The whole report in Markdown: the table, and each drill with the timeline of its first run.
pub fn markdown(report: &DrillReport) -> String {
    let mut text = format!(
        "# Drills: {}\n\n{}, {}, on {} with {} processors.\n{}\n\n{}",
        report.verdict,
        report.tool,
        report.started,
        report.host.system,
        report.host.processors,
        sums(report),
        table(report)
    );
    for drill in &report.drills {
        let _ = write!(
            text,
            "\n## {}: {}\n\n{}, {}, policy {}, down-after {} ms.\n",
            drill.fault,
            drill.verdict,
            drill.setting.nodes_and_load(),
            drill.setting.servers(),
            drill.setting.policy,
            drill.setting.down_after_ms
        );
        for (i, run) in drill.runs.iter().enumerate() {
            for reason in &run.reasons {
                let _ = write!(text, "\n- run {}: {reason}", i + 1);
            }
            if let Some(kept) = &run.kept {
                let _ = write!(text, "\n- run {}: kept in `{kept}`", i + 1);
            }
        }
        for clients in drill.runs.iter().filter_map(|run| run.clients.as_ref()) {
            let _ = write!(text, "\n{}.\n", clients.sentence());
            for (key, counterexample) in clients.counterexamples() {
                let _ = write!(text, "\n`{key}`:\n\n```text\n{counterexample}```\n");
            }
        }
        if let Some(run) = drill.runs.iter().find(|run| !run.timeline.is_empty()) {
            let _ = write!(text, "\n```text\n{}```\n", timeline(run));
        }
    }
    text
}

/// The results of one run in a few lines, without a line break at the end.
pub fn brief(run: &Run) -> String {
    let mut text = String::new();
    for outage in &run.outages {
        let _ = writeln!(text, "  {}", outage_line(outage));
    }
    if let Some(records) = &run.records {
        let _ = writeln!(
            text,
            "  {} acknowledged ({} replicated, {} witnessed, {} unconfirmed), lost {}, unknown {}, sent again {}",
            records.acknowledged,
            records.replicated,
            records.witnessed,
            records.unconfirmed,
            records.lost,
            records.unknown,
            records.sent_again
        );
    }
    if let Some(clients) = &run.clients {
        let _ = writeln!(text, "  {}", clients.sentence());
    }
    for reason in &run.reasons {
        let _ = writeln!(text, "  because: {reason}");
    }
    // The others are in the report.
    let counterexamples = run
        .clients
        .iter()
        .flat_map(|clients| clients.counterexamples());
    if let Some((key, counterexample)) = counterexamples.into_iter().next() {
        let _ = writeln!(text, "  {key}:");
        for line in counterexample.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    if let Some(kept) = &run.kept {
        let _ = writeln!(text, "  kept: {kept}");
    }
    text.trim_end().to_owned()
}

fn outage_line(outage: &Outage) -> String {
    let ms = |part: Option<f64>| part.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
    let mut line = format!("{}: RTO {} ms", outage.fault, ms(outage.rto_ms));
    if outage.detect_ms.is_some() {
        let _ = write!(
            line,
            " (detect {}, elect {}, promote {}, reconnect {})",
            ms(outage.detect_ms),
            ms(outage.elect_ms),
            ms(outage.promote_ms),
            ms(outage.reconnect_ms)
        );
    }
    line
}

/// The timeline of a run, one line per event.
pub fn timeline(run: &Run) -> String {
    run.timeline.iter().map(entry_line).collect()
}

fn entry_line(entry: &TimelineEntry) -> String {
    let mut line = format!("{:>10.1} ms  {}", entry.at_ms, entry.what);
    for (before, part) in [
        (" ", &entry.node),
        (": ", &entry.detail),
        (" by ", &entry.by),
    ] {
        if let Some(part) = part {
            let _ = write!(line, "{before}{part}");
        }
    }
    line.push('\n');
    line
}

/// The totals of all drills, in a sentence.
pub fn sums(report: &DrillReport) -> String {
    let totals = report.totals;
    format!(
        "{}: {} runs, {} of them hold; {} faults, {} acknowledged writes, {} of them lost",
        report.verdict,
        totals.runs,
        report
            .drills
            .iter()
            .map(|drill| holds(&drill.runs))
            .sum::<usize>(),
        totals.faults,
        totals.acknowledged,
        totals.lost
    )
}
