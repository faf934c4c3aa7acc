//! What is written about drills, against the program and against measured reports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redis_ha_lab::drill::fault::{Fault, Needs};
use redis_ha_lab::drill::markdown;
use redis_ha_lab::drill::report::{DrillVerdict, NodesKind, Report};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Holds what stands between two marks in a document to `wanted`; with UPDATE_DOCS it is written there.
fn hold(document: &str, mark: &str, wanted: &str) {
    // Tests run at the same time, and may write into the same document.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mark = format!("<!-- {mark} -->\n");
    let text = read(document);
    let parts: Vec<&str> = text.split(&mark).collect();
    let [before, now, after] = parts[..] else {
        panic!("{mark} does not stand twice in {document}");
    };
    if now == wanted {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(
            file(document),
            [before, &mark, wanted, &mark, after].concat(),
        )
        .unwrap();
    } else {
        assert_eq!(
            now, wanted,
            "{document}: UPDATE_DOCS=1 cargo test --test drills"
        );
    }
}

/// The types of the report as tables: each field or variant with its comment.
fn fields() -> String {
    let source = read("src/drill/report.rs");
    let mut text = String::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        let trimmed = line.trim();
        if let Some(words) = trimmed.strip_prefix("///") {
            comment.push(words.trim());
        } else if let Some(name) = opened(line) {
            inside = name != "Soak";
            if inside {
                text += &format!(
                    "\n## {name}\n\n{}\n\n| field | what |\n|---|---|\n",
                    comment.join(" ")
                );
            }
            comment.clear();
        } else if line == "}" {
            inside = false;
            comment.clear();
        } else if inside && !trimmed.starts_with('#') && !trimmed.is_empty() {
            let field = trimmed.trim_start_matches("pub ").trim_end_matches(',');
            text += &format!(
                "| `{}` | {} |\n",
                field.replace('|', "\\|"),
                comment.join(" ")
            );
            comment.clear();
        } else if !trimmed.starts_with('#') {
            comment.clear();
        }
    }
    text.push('\n');
    text
}

fn opened(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub struct ")
        .or_else(|| line.strip_prefix("pub enum "))?;
    rest.strip_suffix(" {")
}

#[test]
fn results_md_explains_every_field_of_a_report() {
    let fields = fields();
    for part in [
        "## Report\n",
        "## Run\n",
        "| `rto_ms: Option<f64>` |",
        "## Samples\n",
    ] {
        assert!(fields.contains(part), "{part}");
    }
    hold("docs/results.md", "fields", &fields);
}

/// The committed reports in a folder under `docs/reports`, by name.
fn reports(folder: &str) -> Vec<(String, Report)> {
    let folder = file("docs/reports").join(folder);
    let mut reports: Vec<(String, Report)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let report = serde_json::from_str(&fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                report,
            )
        })
        .collect();
    reports.sort_by(|a, b| a.0.cmp(&b.0));
    reports
}

fn tables(folder: &str) -> String {
    let mut text = String::new();
    for (name, report) in reports(folder) {
        let setting = &report.drills[0].setting;
        text += &format!(
            "\n### {name}\n\nDown-after {} ms, hang-timeout {} ms, {} connections with up to {} batches of {} each{}; on {} with {} processors, {}.\n{}.\n\n{}",
            setting.down_after_ms,
            setting.hang_timeout_ms,
            setting.connections,
            setting.in_flight,
            setting.batch,
            setting
                .rate
                .map_or(String::new(), |rate| format!(", at most {rate} records/s")),
            report.host.system,
            report.host.processors,
            report.started.split('T').next().unwrap(),
            markdown::sums(&report),
            markdown::table(&report),
        );
    }
    text.push('\n');
    text
}

/// Sums of the runs with one server and policy.
#[derive(Default)]
struct Row {
    runs: usize,
    holds: usize,
    faults: usize,
    acknowledged: u64,
    lost: u64,
}

/// What all runs with our nodes come to, by server and policy.
fn campaign() -> String {
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    for (_, report) in [reports("measured"), reports("campaign")].concat() {
        for drill in &report.drills {
            let key = (drill.setting.server.clone(), drill.setting.policy.clone());
            let row = rows.entry(key).or_default();
            for run in &drill.runs {
                row.runs += 1;
                row.holds += usize::from(run.verdict == DrillVerdict::Holds);
                row.faults += run.outages.len();
            }
            row.acknowledged += drill.summary.acknowledged;
            row.lost += drill.summary.lost;
            kinds.insert(drill.fault.to_string());
        }
    }
    let mut text = "\n| server | policy | runs | of these holds | faults | acknowledged | lost |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for ((server, policy), row) in &rows {
        text += &format!(
            "| {server} | {policy} | {} | {} | {} | {} | {} |\n",
            row.runs, row.holds, row.faults, row.acknowledged, row.lost
        );
    }
    text += &format!(
        "\n{} faults of {} kinds, {} acknowledged writes, {} of them lost.\n\n",
        rows.values().map(|row| row.faults).sum::<usize>(),
        kinds.len(),
        rows.values().map(|row| row.acknowledged).sum::<u64>(),
        rows.values().map(|row| row.lost).sum::<u64>()
    );
    text
}

fn faults() -> String {
    let mut text =
        "\n| fault | needs | what it does | what must hold |\n|---|---|---|---|\n".to_owned();
    for fault in Fault::ALL {
        let spec = fault.spec();
        let needs = match spec.needs {
            Needs::Signals => "",
            Needs::OwnNodes => "own lab",
            Needs::OwnNetwork => "network",
            Needs::RoundTrips(_) => "delay",
            Needs::LittleCpu => "cgroup",
            Needs::OwnDisks => "disks",
            Needs::Tracing => "tracing",
            Needs::OwnClocks => "clocks",
            Needs::OwnLimits => "limits",
        };
        text += &format!(
            "| `{}` | {needs} | {} | {} |\n",
            spec.name, spec.does, spec.must
        );
    }
    text.push('\n');
    text
}

#[test]
fn drills_md_has_every_fault() {
    hold("docs/drills.md", "faults", &faults());
}

#[test]
fn the_figures_in_drills_md_are_those_of_the_committed_reports() {
    hold("docs/drills.md", "measured", &tables("measured"));
    hold("docs/drills.md", "controls", &tables("controls"));
    let campaign = campaign();
    hold("docs/drills.md", "campaign", &campaign);
    let sums = campaign.trim().lines().last().unwrap();
    hold("README.md", "campaign", &format!("\n{sums}\n\n"));
}

#[test]
fn no_committed_report_of_our_nodes_has_a_loss_and_every_control_has_one() {
    for (name, report) in reports("measured") {
        assert_eq!(report.totals.lost, 0, "{name}");
        assert!(report.totals.acknowledged > 0, "{name}");
    }
    for (name, report) in reports("campaign") {
        assert_eq!(report.totals.lost, 0, "{name}");
    }
    for (name, report) in reports("controls") {
        assert!(report.totals.lost > 0, "{name}");
        for drill in &report.drills {
            let available = drill.setting.policy == "available";
            let ours = drill.setting.nodes == NodesKind::Ours;
            assert!(
                !available || !ours || drill.summary.lost == 0,
                "{name}: {}",
                drill.fault
            );
        }
    }
}
