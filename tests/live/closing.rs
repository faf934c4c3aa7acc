//! `halab close`: the stop of all nodes as one act.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::lab::{TestLab, invoked, wait_until};

const DATA_NODES: [&str; 2] = ["redis-a", "redis-b"];
const SENTINELS: [&str; 3] = ["sentinel-1", "sentinel-2", "sentinel-3"];

/// Runs `halab close --json`: its exit code, what it says, and its errors.
fn close(lab: &TestLab, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = lab.halab(&[&["close", "--json"], arguments].concat());
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said, errors)
}

fn reopen(lab: &TestLab) -> (Option<i32>, String) {
    let output = lab.halab(&["close", "--reopen"]);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The mark of a copy, to the last byte.
fn mark(lab: &TestLab, node: &str) -> String {
    let output = lab.halab(&["cli", node, "-e", "get", "halab-mark"]);
    assert!(output.status.success(), "{node}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both copies have the closing mark, and that one.
fn assert_closed(lab: &TestLab, closed: &Value) {
    for node in DATA_NODES {
        assert_eq!(lab.holds(node), closed["mark"], "{node}");
    }
    assert!(closed["mark"].as_str().unwrap().ends_with(", closed"));
    assert_eq!(mark(lab, "redis-a"), mark(lab, "redis-b"));
}

fn start(lab: &mut TestLab, nodes: &[&str]) {
    for node in SENTINELS.iter().chain(nodes) {
        lab.runner.start_node(node).unwrap();
    }
}

fn wait_serves_alone(lab: &TestLab, node: &str) {
    wait_until("the copy that is there to take the role", || {
        lab.primary().as_deref() == Some(node) && lab.role(node) == "primary"
    });
}

/// What the primary answers to a write that is no record.
fn probe(lab: &TestLab, primary: &str) -> String {
    let output = lab.halab(&["cli", primary, "set", "a-test", "of-closing"]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Until long after the Sentinels would have called a primary down that holds them up.
fn assert_stays_closed(lab: &TestLab, closed: &Value) {
    let begun = Instant::now();
    while begun.elapsed() < lab.lab.timing.down_after * 3 {
        assert_closed(lab, closed);
        let status = lab.status();
        for sentinel in status["sentinels"].as_array().unwrap() {
            assert_eq!(sentinel["up"]["primary_down"], false, "{status:#}");
        }
        assert_eq!(status["primary"]["node"], closed["primary"]);
        let problems = status["problems"].to_string();
        assert!(problems.contains("is closed for a stop"), "{problems}");
    }
    let said = probe(lab, closed["primary"].as_str().unwrap());
    assert!(said.contains("NOREPLICAS"), "{said}");
}

#[test]
fn each_copy_of_a_closed_lab_alone_goes_on_with_every_record() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    let (code, closed, errors) = close(&lab, &[]);
    assert_eq!(code, Some(0), "{closed:#}{errors}");
    assert_eq!(closed["primary"], "redis-a");
    assert_eq!(closed["complete"], json!(DATA_NODES));
    assert_eq!(closed["others"], json!([]));
    assert_stays_closed(&lab, &closed);
    writer.signal(Signal::TERM);
    writer.finish();

    // The Sentinels first, as `halab up` does.
    lab.stop();
    start(&mut lab, &["redis-b"]);
    wait_serves_alone(&lab, "redis-b");
    lab.assert_nothing_lost(&ledger);
    start(&mut lab, &["redis-a"]);
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);

    // The primary first, as a hand may: nobody is to take over from it.
    let (code, closed, errors) = close(&lab, &[]);
    assert_eq!(code, Some(0), "{closed:#}{errors}");
    assert_eq!(closed["complete"], json!(["redis-b", "redis-a"]));
    assert_closed(&lab, &closed);
    for node in ["redis-b", "redis-a"].iter().chain(&SENTINELS) {
        lab.runner.stop_node(node);
    }
    assert!(!lab.log("redis-b").contains("handed over"));
    start(&mut lab, &["redis-a"]);
    wait_serves_alone(&lab, "redis-a");
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_reopened_lab_goes_on_and_no_copy_says_that_it_is_closed() {
    let lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    let (code, closed, errors) = close(&lab, &[]);
    assert_eq!(code, Some(0), "{closed:#}{errors}");
    // Nothing of another writer is acknowledged.
    let other = lab.start_writer_into("other.ledger", &["--count", "1", "--patience", "1s"]);
    let (code, summary, log) = other.finish();
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("the lab is closed"), "{log}");
    assert_eq!(summary["acknowledged"], 0, "{summary:#}");
    assert_stays_closed(&lab, &closed);

    let (code, said) = reopen(&lab);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("redis-a accepts writes again"), "{said}");
    wait_until("every copy to be open again", || {
        DATA_NODES
            .iter()
            .all(|node| !lab.holds(node).contains("closed"))
    });
    writer.wait_invoked(invoked(&ledger) + 20_000);
    for node in DATA_NODES {
        assert!(!lab.holds(node).contains("closed"), "{node}");
    }
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);

    let (code, said) = reopen(&lab);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("nothing to reopen"), "{said}");
}

#[test]
fn a_replica_that_is_down_is_named_and_waits_at_the_next_start() {
    let mut lab = TestLab::start();
    lab.runner.kill_node("redis-b");
    wait_until("the primary to be the only copy", || {
        lab.holds("redis-a").contains("only copy")
    });
    let writer = lab.start_writer(&["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    let (code, closed, errors) = close(&lab, &[]);
    assert_eq!(code, Some(1), "{closed:#}{errors}");
    assert_eq!(closed["complete"], json!(["redis-a"]));
    assert_eq!(closed["others"], json!(["redis-b"]));
    let (_, said) = reopen(&lab);
    assert!(said.contains("redis-a accepts writes again"), "{said}");
    let output = lab.halab(&["close"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the copy of redis-a is complete, that of redis-b is not"),
        "{said}"
    );

    lab.stop();
    let before = lab.log("redis-b").len();
    start(&mut lab, &["redis-b"]);
    wait_until("the copy that lacks records to wait", || {
        lab.log("redis-b")[before..].contains("halab choose")
    });
    assert_eq!(lab.role("redis-b"), "parked");
    start(&mut lab, &["redis-a"]);
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-a"));
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn without_a_majority_of_the_sentinels_nothing_is_closed_and_the_remedy_is_named() {
    let mut lab = TestLab::start();
    lab.runner.stop_node("sentinel-1");
    lab.runner.stop_node("sentinel-2");
    let (code, closed, errors) = close(&lab, &[]);
    assert_eq!(code, Some(4), "{errors}");
    assert_eq!(closed, Value::Null);
    for part in ["1 of 3 Sentinels answered", "start the missing Sentinels"] {
        assert!(errors.contains(part), "{errors}");
    }
    assert_eq!(probe(&lab, "redis-a").trim(), "OK");
    for node in DATA_NODES {
        assert!(!lab.holds(node).contains("closed"), "{node}");
    }
}

#[test]
fn at_the_end_closes_when_it_is_told_to_end_and_not_before() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m"]);
    let ledger = writer.ledger.clone();
    let child = lab
        .command()
        .args(["close", "--at-end", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it to wait for SIGTERM", || catches_sigterm(child.id()));
    writer.wait_invoked(20_000);
    for node in DATA_NODES {
        assert!(!lab.holds(node).contains("closed"), "{node}");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let closed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(closed["complete"], json!(DATA_NODES));
    assert_closed(&lab, &closed);
    writer.signal(Signal::TERM);
    writer.finish();
    lab.stop();
    start(&mut lab, &["redis-b"]);
    wait_serves_alone(&lab, "redis-b");
    lab.assert_nothing_lost(&ledger);
}

/// Whether a signal would not just end the process.
fn catches_sigterm(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}
