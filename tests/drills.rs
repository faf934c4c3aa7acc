//! The documentation of drills, compared with the program and with committed reports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod generated;

use redis_ha_lab::drill::faults::{Control, ControlSetting, FaultKind};
use redis_ha_lab::drill::report::{ClientCalls, Drill, DrillReport, DrillVerdict, Run, markdown};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// The types of the report as tables: each field or value as in JSON, with its comment.
fn fields() -> String {
    let source = read("src/drill/report/model.rs") + &read("src/drill/report/stats.rs");
    let mut text = String::new();
    let mut comment: Vec<&str> = Vec::new();
    let (mut inside, mut in_attribute, mut is_skipped) = (false, false, false);
    for line in source.lines() {
        let trimmed = line.trim();
        if in_attribute || trimmed.starts_with("#[") {
            in_attribute = !trimmed.ends_with(']');
            is_skipped |= trimmed.contains("skip_serializing_if");
        } else if let Some(words) = trimmed.strip_prefix("///") {
            comment.push(words.trim());
        } else if let Some(name) = opened(line) {
            inside = true;
            let head = match line.starts_with("pub enum ") {
                true => "| value | meaning |\n| -- | -- |",
                false => "| field | type | meaning |\n| -- | -- | -- |",
            };
            text += &format!("\n## {name}\n\n{}\n\n{head}\n", comment.join(" "));
            comment.clear();
        } else if inside && line != "}" && !trimmed.is_empty() {
            let field = trimmed.trim_start_matches("pub ").trim_end_matches(',');
            let first = match field.split_once(": ") {
                Some((name, of)) => {
                    // Then the field is left out in place of null, or of an empty array.
                    let of = match is_skipped {
                        true => json_type(of).replace(" or null", "") + " or absent",
                        false => json_type(of),
                    };
                    format!("`{name}` | {of}")
                }
                None => format!("`\"{}\"`", json_name(field)),
            };
            text += &format!("| {first} | {} |\n", comment.join(" "));
            is_skipped = false;
            comment.clear();
        } else {
            inside &= line != "}";
            comment.clear();
        }
    }
    text.push('\n');
    text
}

/// The type of a field, as JSON has it.
fn json_type(of: &str) -> String {
    let parameter = |name: &str| of.strip_prefix(name)?.strip_prefix('<')?.strip_suffix('>');
    if let Some(optional) = parameter("Option") {
        return format!("{} or null", json_type(optional));
    }
    if let Some(element) = parameter("Vec") {
        return match json_type(element) {
            of if of.contains(' ') => format!("array of ({of})"),
            of => format!("array of {of}"),
        };
    }
    match of {
        "String" => "string".to_owned(),
        "bool" => "boolean".to_owned(),
        "u32" | "u64" | "usize" => "integer".to_owned(),
        "f64" => "number".to_owned(),
        name => format!("[{name}](#{})", name.to_lowercase()),
    }
}

/// The name of a variant, as JSON has it.
fn json_name(variant: &str) -> String {
    let words = variant.chars().filter(char::is_ascii_uppercase).count();
    assert_eq!(words, 1, "{variant}: how are its words joined?");
    variant.to_lowercase()
}

fn opened(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub struct ")
        .or_else(|| line.strip_prefix("pub enum "))?;
    rest.strip_suffix(" {")
}

#[test]
fn generated_fields_of_results_md() {
    let fields = fields();
    for part in [
        "## DrillReport\n",
        "## Run\n",
        "| `rto_ms` | number or null |",
        "| `\"holds\"` |",
        "## Samples\n",
    ] {
        assert!(fields.contains(part), "{part}");
    }
    generated::part("docs/drill-report.md", "fields", &fields);
}

/// The committed reports in a folder under `docs/reports`, by name.
fn reports(folder: &str) -> Vec<(String, DrillReport)> {
    let folder = file("docs/reports").join(folder);
    let mut reports: Vec<(String, DrillReport)> = fs::read_dir(&folder)
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

/// The committed reports in a folder; those whose names differ only in a number at the end are one.
fn merged(folder: &str) -> BTreeMap<String, DrillReport> {
    let mut all: BTreeMap<String, DrillReport> = BTreeMap::new();
    for (name, report) in reports(folder) {
        let kind = name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        let mut drills = all.remove(kind).map_or(vec![], |earlier| earlier.drills);
        for drill in report.drills {
            let is_same =
                |known: &&mut Drill| known.fault == drill.fault && known.setting == drill.setting;
            match drills.iter_mut().find(is_same) {
                Some(known) => {
                    let runs = [known.runs.clone(), drill.runs].concat();
                    *known = Drill::new(&drill.fault, drill.setting, runs);
                }
                None => drills.push(drill),
            }
        }
        let merged = DrillReport::new(report.started, report.host, drills);
        all.insert(kind.to_owned(), merged);
    }
    all
}

/// What client applications were answered, by kind of report and fault.
fn clients() -> String {
    let mut text = String::new();
    for (name, report) in merged("clients") {
        let setting = &report.drills[0].setting;
        let clients = setting.clients.as_ref().unwrap();
        text += &format!(
            "\n### {name}\n\n{} clients through the proxy, down-after {} ms, at most {} records/s of the writer;\n{}, {}.\n{}.\n\n\
             | fault | runs | calls | not executed | unknown | longest call, ms | keys | linearizable | lost by the writer | verdict |\n\
             | -- | -- | -- | -- | -- | -- | -- | -- | -- | -- |\n",
            clients.count,
            setting.down_after_ms,
            setting.rate.unwrap_or_default(),
            setting.server,
            report.started.split('T').next().unwrap(),
            markdown::sums(&report),
        );
        for drill in &report.drills {
            let answers: Vec<_> = drill.runs.iter().flat_map(|run| &run.clients).collect();
            let sum = |count: fn(&ClientCalls) -> usize| -> usize {
                answers.iter().map(|clients| count(clients)).sum()
            };
            let longest = answers.iter().map(|clients| clients.longest_ms);
            text += &format!(
                "| {} | {} | {} | {} | {} | {:.0} | {} | {} | {} | {} |\n",
                drill.fault,
                drill.runs.len(),
                sum(|clients| clients.calls),
                sum(|clients| clients.not_executed),
                sum(|clients| clients.unknown),
                longest.fold(0.0, f64::max),
                sum(|clients| clients.objects.len()),
                sum(|clients| {
                    let held = clients
                        .objects
                        .iter()
                        .filter(|object| object.verdict == DrillVerdict::Holds);
                    held.count()
                }),
                drill.summary.lost,
                drill.verdict,
            );
        }
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

/// What all runs come to: a table by server and policy, and a sentence. Whatever a run came to, it
/// counts.
fn campaign(reports: &[DrillReport]) -> (String, String) {
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for drill in reports.iter().flat_map(|report| &report.drills) {
        let key = (drill.setting.server.clone(), drill.setting.policy.clone());
        let row = rows.entry(key).or_default();
        for run in &drill.runs {
            row.runs += 1;
            row.holds += usize::from(run.verdict == DrillVerdict::Holds);
            row.faults += run.outages.len();
            let other = match run.verdict {
                DrillVerdict::Holds => None,
                DrillVerdict::Violated => Some("violated an invariant"),
                DrillVerdict::Inconclusive => Some("inconclusive"),
                DrillVerdict::Failed => Some("failed"),
            };
            if let Some(other) = other {
                *others.entry(other).or_default() += 1;
            }
            if let Some(records) = &run.records {
                row.acknowledged += records.acknowledged;
                row.lost += records.lost;
            }
        }
        // A soak run is a mixture of kinds.
        if drill.fault.parse::<FaultKind>().is_ok() {
            kinds.insert(drill.fault.clone());
        }
    }
    let mut table = "| server | policy | runs | of these hold | faults | acknowledged | lost |\n\
                     | -- | -- | -- | -- | -- | -- | -- |\n"
        .to_owned();
    let mut all = Row::default();
    for ((server, policy), row) in &rows {
        table += &format!(
            "| {server} | {policy} | {} | {} | {} | {} | {} |\n",
            row.runs, row.holds, row.faults, row.acknowledged, row.lost
        );
        all.runs += row.runs;
        all.holds += row.holds;
        all.faults += row.faults;
        all.acknowledged += row.acknowledged;
        all.lost += row.lost;
    }
    let others = others.iter().map(|(what, runs)| format!(", {runs} {what}"));
    let sentence = format!(
        "- {} runs: {} hold{}\n- {} faults of {} kinds, {} acknowledged writes, {} lost\n",
        all.runs,
        all.holds,
        others.collect::<String>(),
        all.faults,
        kinds.len(),
        all.acknowledged,
        all.lost
    );
    (table, sentence)
}

/// The reports that the claim's figures are made of: all that are committed, but for the controls.
fn of_the_claim() -> Vec<DrillReport> {
    let all = [reports("measured"), reports("campaign"), reports("clients")].concat();
    all.into_iter().map(|(_, report)| report).collect()
}

/// What the committed controls of a fault have lost.
#[derive(Default)]
struct Shown {
    runs: usize,
    losing: usize,
    acknowledged: u64,
    lost: u64,
}

fn shown(fault: FaultKind, control: ControlSetting, reports: &[(String, DrillReport)]) -> Shown {
    let mut shown = Shown::default();
    let drills = reports.iter().flat_map(|(_, report)| &report.drills);
    let of_it = drills.filter(|d| d.fault == fault.name() && control.matches(&d.setting));
    for run in of_it.flat_map(|drill| &drill.runs) {
        let records = run.records.clone().unwrap_or_default();
        shown.runs += 1;
        shown.losing += usize::from(records.lost > 0);
        shown.acknowledged += records.acknowledged;
        shown.lost += records.lost;
    }
    shown
}

fn control(fault: FaultKind, reports: &[(String, DrillReport)]) -> String {
    let setting = match fault.definition().control {
        Control::Loses(setting) => setting,
        Control::Nothing(why) => return format!("none: {why}"),
    };
    let shown = shown(fault, setting, reports);
    format!(
        "{setting}: {} of {} lost, in {} of {} runs",
        shown.lost, shown.acknowledged, shown.losing, shown.runs
    )
}

fn faults() -> String {
    let mut text =
        "\n| fault | needs | what it does | what must hold | control |\n| -- | -- | -- | -- | -- |\n"
            .to_owned();
    let controls = reports("controls");
    for fault in FaultKind::ALL {
        let definition = fault.definition();
        text += &format!(
            "| `{fault}` | {} | {} | {} | {} |\n",
            definition.requirement.label(),
            definition.does,
            definition.must,
            control(*fault, &controls)
        );
    }
    text.push('\n');
    text
}

#[test]
fn the_drills_of_committed_reports_are_of_faults_that_exist() {
    for folder in ["measured", "campaign", "clients", "controls"] {
        for (name, report) in reports(folder) {
            for drill in report.drills {
                let known = drill.fault.parse::<FaultKind>().is_ok() || drill.fault == "soak";
                assert!(known, "{folder}/{name}: {}", drill.fault);
            }
        }
    }
}

#[test]
fn generated_faults_of_drills_md() {
    generated::part("docs/drills.md", "faults", &faults());
}

#[test]
fn generated_figures_of_drills_md() {
    generated::part("docs/drills.md", "measured", &tables("measured"));
    generated::part("docs/drills.md", "clients", &clients());
    generated::part("docs/drills.md", "controls", &tables("controls"));
    let (table, sentence) = campaign(&of_the_claim());
    let text = format!("\n{table}\n{sentence}\n");
    generated::part("docs/drills.md", "campaign", &text);
    generated::part("README.md", "campaign", &format!("\n{sentence}\n"));
}

#[test]
fn a_run_that_loses_or_fails_is_counted_like_any_other() {
    let mut reports = of_the_claim();
    let (_, before) = campaign(&reports);
    let drill = &mut reports[0].drills[0];
    drill.runs[0].verdict = DrillVerdict::Violated;
    drill.runs[0].records.as_mut().unwrap().lost = 3;
    let nothing_read = Run {
        verdict: DrillVerdict::Failed,
        records: None,
        outages: Vec::new(),
        ..drill.runs[0].clone()
    };
    drill.runs.push(nothing_read);
    let (table, after) = campaign(&reports);
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let number = |text: &str, at: usize| -> u64 { words(text)[at].parse().unwrap() };
    assert_eq!(number(&after, 1), number(&before, 1) + 1, "{after}");
    assert_eq!(number(&after, 3) + 1, number(&before, 3), "{after}");
    assert!(after.ends_with(&format!("{} lost\n", lost(&before) + 3)));
    assert!(table.contains(" 3 |\n"), "{table}");
}

/// The last number of the sentence.
fn lost(sentence: &str) -> u64 {
    let mut words = sentence.rsplit(' ');
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_fault_that_has_a_control_has_one_that_lost_acknowledged_records() {
    let reports = reports("controls");
    let mut without_one = Vec::new();
    for fault in FaultKind::ALL {
        match fault.definition().control {
            Control::Loses(setting) => {
                let shown = shown(*fault, setting, &reports);
                if shown.lost == 0 {
                    without_one.push(format!("{fault}: {setting}, {} runs", shown.runs));
                }
            }
            Control::Nothing(why) => assert!(!why.is_empty()),
        }
    }
    assert!(
        without_one.is_empty(),
        "halab drill FAULT --control: no committed report of a loss for {without_one:#?}"
    );
}

/// The programs that the sources of drills run: the first argument of `run` and of `Command::new`.
fn programs_run_by_drills() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![file("src/drill")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in ["run(\"", "Command::new(\""] {
            let named = text.split(call).skip(1);
            found.extend(named.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    found
}

#[test]
fn set_up_installs_every_program_that_a_drill_runs() {
    // Every Debian has these.
    let essential = ["cp", "mount", "sleep", "umount"].map(str::to_owned);
    let mut run = programs_run_by_drills();
    for program in essential {
        assert!(run.remove(&program), "no drill runs {program}");
    }
    let setup = read("scripts/setup.sh");
    let list = setup
        .lines()
        .find_map(|l| l.strip_prefix("DRILL_PROGRAMS=("));
    let list = list.unwrap().trim_end_matches(')').split(' ');
    assert_eq!(list.map(str::to_owned).collect::<BTreeSet<_>>(), run);
}
