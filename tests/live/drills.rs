//! Drills as a user runs them. What must hold is judged by the drill itself; here it is shown that
//! it can say so, and that it says when it does not.

use std::path::Path;
use std::process::{Command, Output};

use redis_ha_lab::drill::network;
use redis_ha_lab::drill::report::{DrillReport, DrillVerdict, Invariant};
use rustix::process::{Pid, Signal, kill_process};

use super::lab::{HALAB, TestLab, redis_server, wait_until};

/// A network in which nothing listens.
const NOBODY: &str = "127.254.254";

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(HALAB);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HALAB_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder)
        .args(["--profile", "fast", "--state"])
        .arg(folder.join("state"))
        .arg("--redis-server")
        .arg(redis_server())
        .args(["drill", "--seed", "7", "--json"])
        .arg(folder.join("report.json"));
    // Several of them run at once, on a few cores. Beside clients the default is lower.
    if !arguments.contains(&"--clients") {
        command.args(["--rate", "20000"]);
    }
    // Last: the caller may add a value.
    command.args(arguments);
    command
}

fn report_in(folder: &Path) -> DrillReport {
    let json = std::fs::read_to_string(folder.join("report.json")).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// Runs a drill; its exit code and report.
fn drill(arguments: &[&str]) -> (Option<i32>, DrillReport, String) {
    let folder = tempfile::tempdir().unwrap();
    let output: Output = command(folder.path(), arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = std::fs::read_to_string(folder.path().join("report.json"));
    let json = json.unwrap_or_else(|e| panic!("{e}\n{said}"));
    (
        output.status.code(),
        serde_json::from_str(&json).unwrap(),
        said,
    )
}

#[test]
fn a_drill_that_holds_says_so_with_its_timeline_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), &["kill-primary", "--runs", "2"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let json = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    let report: DrillReport = serde_json::from_str(&json).unwrap();
    assert_eq!(report.totals.lost, 0);
    assert!(report.totals.acknowledged > 0);
    let drill = &report.drills[0];
    assert_eq!((drill.runs.len(), drill.summary.rto_ms.unwrap().n), (2, 2));
    for run in &drill.runs {
        let at = |what: &str| {
            let moment = run.timeline.iter().find(|m| m.what == what);
            moment
                .unwrap_or_else(|| panic!("no {what}: {run:#?}"))
                .at_ms
        };
        assert_eq!(at("fault"), 0.0);
        assert!(at("+try-failover") <= at("+elected-leader"), "{run:#?}");
        // Seen by asking, so late by up to a question: its order to the acknowledgement is open.
        assert!(at("says primary") > 0.0, "{run:#?}");
        assert!(at("first write acknowledged") > 0.0, "{run:#?}");
        assert!(
            run.invariants.iter().all(|i| i.held == Some(true)),
            "{run:#?}"
        );
        assert_eq!(run.kept, None);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path().join("state/drills"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_client_that_trusts_ok_loses_records_when_it_is_isolated_with_the_primary() {
    let arguments = [
        "isolate-primary-with-writer",
        "--policy",
        "none",
        "--policy",
        "available",
    ];
    let (code, report, said) = drill(&arguments);
    if let Err(why) = network::probe() {
        // This machine gives nobody a network of his own: the drill has to say that, and nothing
        // else.
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(&why.to_string()), "{said}");
        return;
    }
    assert_eq!(code, Some(1), "{said}");
    let [none, available] = &report.drills[..] else {
        panic!("{said}");
    };
    assert_eq!(none.verdict, DrillVerdict::Violated);
    assert!(none.summary.lost > 0, "{said}");
    assert!(Path::new(none.runs[0].kept.as_ref().unwrap()).is_absolute());
    assert_eq!(available.verdict, DrillVerdict::Holds, "{said}");
    assert_eq!(available.summary.lost, 0);
}

#[test]
fn a_client_that_trusts_ok_loses_records_when_a_hung_primary_wakes_during_the_failover() {
    let arguments = [
        "wake-primary-in-failover",
        "--policy",
        "none",
        "--policy",
        "available",
    ];
    let (code, report, said) = drill(&arguments);
    assert_eq!(code, Some(1), "{said}");
    assert!(report.drills[0].summary.lost > 0, "{said}");
    assert_eq!(report.drills[1].verdict, DrillVerdict::Holds, "{said}");
}

#[test]
fn plain_servers_lose_everything_when_the_primary_is_back_inside_down_after() {
    let (code, report, said) = drill(&["restart-primary-in-down-after", "--nodes", "stock"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(report.drills[0].summary.lost > 0, "{said}");
}

#[test]
fn a_drill_works_on_a_lab_that_runs_and_leaves_it_running() {
    let lab = TestLab::start();
    let report = lab.path("report.json");
    let output = lab
        .command()
        .args([
            "drill",
            "hang-primary-node",
            "kill-replica",
            "--attach",
            "--rate",
            "20000",
        ])
        .arg("--json")
        .arg(&report)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // The second needs nodes of its own.
    assert_eq!(output.status.code(), Some(3), "{said}");
    let json = std::fs::read_to_string(report).unwrap();
    let report: DrillReport = serde_json::from_str(&json).unwrap();
    assert_eq!(report.drills[0].verdict, DrillVerdict::Holds, "{said}");
    assert_eq!(
        report.drills[1].verdict,
        DrillVerdict::Inconclusive,
        "{said}"
    );
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
}

#[test]
fn a_drill_that_is_interrupted_heals_and_ends_its_lab() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["hang-replica", "full-load"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let ledger = || {
        let mut runs = std::fs::read_dir(folder.path().join("state/drills")).ok()?;
        let run = runs.next()?.ok()?;
        run.path().join("writer.ledger").exists().then_some(())
    };
    wait_until("the writer of the drill", || ledger().is_some());
    kill_process(pid, Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(3));
    let left = super::lab::children_of(child.id());
    assert!(left.is_empty(), "{left:?}");
    let report = report_in(folder.path());
    let [drill] = &report.drills[..] else {
        panic!("{report:#?}");
    };
    let [run] = &drill.runs[..] else {
        panic!("{drill:#?}");
    };
    assert_eq!(run.verdict, DrillVerdict::Inconclusive);
    assert!(run.reasons[0].contains("stopped by a signal"), "{run:#?}");
}

#[test]
fn what_was_run_is_in_the_report_also_when_the_drill_itself_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    // The first can't be, and the second waits for a lab that is not there.
    let arguments = ["kill-replica", "kill-primary", "--attach", "--subnet"];
    let mut child = command(folder.path(), &arguments)
        .arg(NOBODY)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let there = || folder.path().join("report.json").exists();
    wait_until("the report of the first fault", there);
    child.kill().unwrap();
    child.wait().unwrap();
    let report = report_in(folder.path());
    assert_eq!(report.totals.runs, 1);
    assert_eq!(report.drills[0].runs[0].verdict, DrillVerdict::Inconclusive);
}

#[test]
fn runs_that_failed_are_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    // No lab can keep its state in a file.
    std::fs::write(folder.path().join("state"), "").unwrap();
    let output = command(folder.path(), &["full-load", "--runs", "2"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let report = report_in(folder.path());
    let verdicts: Vec<DrillVerdict> = report.drills[0].runs.iter().map(|r| r.verdict).collect();
    assert_eq!(verdicts, [DrillVerdict::Failed; 2], "{said}");
}

#[test]
fn the_control_of_a_kill_loses_records() {
    let (code, report, said) = drill(&["kill-primary", "--control"]);
    if network::probe().is_err() {
        assert_eq!(code, Some(3), "{said}");
        return;
    }
    assert_eq!(code, Some(1), "{said}");
    let drill = &report.drills[0];
    assert!(drill.setting.link_bytes_per_second.is_some());
    assert!(drill.summary.lost > 0, "{said}");
}

/// The judgement of the clients, and the objects that are not linearizable.
fn judged_clients(report: &DrillReport) -> (Option<bool>, Vec<&str>) {
    let run = &report.drills[0].runs[0];
    let of_clients = |invariant: &&Invariant| invariant.name.starts_with("what clients");
    let invariant = run.invariants.iter().find(of_clients);
    let clients = run.clients.as_ref().unwrap();
    let violated = clients.objects.iter().filter(|object| {
        assert_eq!(
            object.verdict == DrillVerdict::Violated,
            object.counterexample.is_some()
        );
        object.verdict == DrillVerdict::Violated
    });
    (
        invariant.and_then(|invariant| invariant.held),
        violated.map(|object| object.key.as_str()).collect(),
    )
}

#[test]
fn clients_of_a_proxy_are_answered_as_by_one_server_while_the_primary_is_killed() {
    let (code, report, said) = drill(&["kill-primary", "--clients", "proxy"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(judged_clients(&report), (Some(true), vec![]), "{said}");
    let clients = report.drills[0].runs[0].clients.as_ref().unwrap();
    assert_eq!(clients.objects.len(), 12);
    let busy = clients.objects.iter().all(|object| object.calls > 20);
    assert!(busy && clients.answered > 1000, "{clients:?}");
}

/// The writer of such a drill has the policy of the proxy, and loses records as well where that is
/// `none`.
fn assert_clients_find(arguments: &[&str], lost_by_writer: bool) {
    let (code, report, said) = drill(arguments);
    assert_eq!(code, Some(1), "{said}");
    let (held, violated) = judged_clients(&report);
    assert_eq!(held, Some(false), "{said}");
    assert!(!violated.is_empty(), "{said}");
    // The counterexample is shown.
    assert!(said.contains("Linearizable until this answer"), "{said}");
    if !lost_by_writer {
        assert_eq!(report.totals.lost, 0, "{said}");
    }
}

#[test]
fn clients_that_trust_the_servers_are_found_when_a_hung_primary_wakes_during_the_failover() {
    assert_clients_find(&["wake-primary-in-failover", "--clients", "direct"], false);
}

#[test]
fn a_proxy_that_confirms_nothing_is_found() {
    let arguments = [
        "wake-primary-in-failover",
        "--clients",
        "proxy",
        "--policy",
        "none",
    ];
    assert_clients_find(&arguments, true);
}
