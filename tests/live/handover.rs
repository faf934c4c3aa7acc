//! Planned changes of the primary: no failed write, nothing lost.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Shape, TestLab, invoked};

#[test]
fn a_handover_under_load_loses_nothing_and_fails_no_write() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    for to in ["redis-b", "redis-a"] {
        let output = lab.halab(&["handover", "--json"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["to"], to);
        lab.wait_healthy();
        assert_eq!(lab.primary().as_deref(), Some(to));
        writer.wait_invoked(invoked(&ledger) + 20_000);
    }
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_rolling_restart_of_every_node_under_load_loses_nothing() {
    // The original's down-after: a node that is stopped in order must not cost it.
    let mut lab = TestLab::start_as(Shape {
        profile: None,
        ..Shape::default()
    });
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "20000"]);
    let ledger = writer.ledger.clone();
    let names: Vec<String> = lab.lab.nodes().map(|n| n.name.clone()).collect();
    for name in names {
        writer.wait_invoked(invoked(&ledger) + 10_000);
        lab.runner.stop_node(&name);
        writer.wait_invoked(invoked(&ledger) + 10_000);
        lab.runner.start_node(&name).unwrap();
        lab.wait_healthy();
    }
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    assert!(
        lab.log("redis-a").contains("handed over"),
        "redis-a stopped as primary"
    );
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_data_node_that_is_stopped_is_no_candidate_to_any_sentinel_by_then() {
    // Where its address ends with it, a Sentinel that lists it takes it for connected until
    // down-after: see docs/protocol.md.
    let mut lab = TestLab::start();
    for leaving in ["redis-b", "redis-a"] {
        let address = lab.lab.node(leaving).unwrap().address.to_string();
        lab.runner.stop_node(leaving);
        assert!(!on_all_sentinels(&lab, "replicas").contains(&address));
        // They know it all the same: the other node would not take the role without its data,
        // thinking itself alone.
        let known = on_all_sentinels(&lab, "master");
        assert_eq!(known.matches("num-slaves\n1\n").count(), 3, "{known}");
        lab.runner.start_node(leaving).unwrap();
        lab.wait_healthy();
        assert!(on_all_sentinels(&lab, "replicas").contains(&address));
    }
}

fn on_all_sentinels(lab: &TestLab, question: &str) -> String {
    let name = &lab.lab.primary_name;
    let ask = |sentinel: &str| {
        let said = lab.halab(&["cli", sentinel, "-e", "sentinel", question, name]);
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    ["sentinel-1", "sentinel-2", "sentinel-3"].map(ask).concat()
}

#[test]
fn without_another_node_in_sync_there_is_no_handover_and_it_says_why() {
    let mut lab = TestLab::start();
    lab.runner.kill_node("redis-b");
    super::lab::wait_until("the primary to miss its replica", || {
        lab.status()["data_nodes"][0]["up"]["replicas"] == 0
    });
    let output = lab.halab(&["handover"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("no other data node is in sync"), "{text}");
    assert_eq!(lab.primary().as_deref(), Some("redis-a"));
}

/// For a while the Sentinels, and the primary, take a server that hangs for one in sync.
#[test]
fn a_handover_asks_the_candidate_itself() {
    let mut lab = TestLab::start();
    // The parent first: it would take a stopped server for a hung one.
    lab.runner.signal_node("redis-b", Signal::STOP);
    lab.signal_server("redis-b", Signal::STOP);
    let output = lab.halab(&["handover"]);
    lab.signal_server("redis-b", Signal::CONT);
    lab.runner.signal_node("redis-b", Signal::CONT);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("in sync and promotable; wait"), "{text}");
    assert_eq!(lab.primary().as_deref(), Some("redis-a"));
}

/// Changes a right of a user on one server, without its file: until the server's next start.
fn set_right(lab: &TestLab, node: &str, user: &str, right: &str) {
    let said = lab.halab(&["cli", node, "-e", "acl", "setuser", user, right]);
    assert!(said.status.success(), "{said:?}");
}

#[test]
fn a_handover_that_cannot_pause_writes_goes_on_to_demote_the_old_primary() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "20000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(10_000);
    // Taken by the Sentinels, and then the first command to the old primary fails.
    set_right(&lab, "redis-a", "operator", "-client|pause");
    let output = lab.halab(&["handover", "--json"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("writes were not paused"), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["to"], "redis-b");
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
    writer.wait_invoked(invoked(&ledger) + 10_000);
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_handover_whose_connection_to_the_old_primary_breaks_is_carried_out() {
    let mut lab = TestLab::start();
    let child = lab
        .command()
        .args(["handover", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let name = lab.lab.primary_name.clone();
    super::lab::wait_until("the failover to be in progress", || {
        let ask = ["cli", "sentinel-1", "-e", "sentinel", "master", &name];
        let said = String::from_utf8(lab.halab(&ask).stdout).unwrap();
        said.contains("failover_in_progress") || !super::lab::is_running(child.id())
    });
    // Between the call and the promotion, unless the machine is busy; then somewhat later.
    let kill = ["cli", "redis-a", "-e", "client", "kill", "user", "operator"];
    let killed = lab.halab(&kill);
    assert!(killed.status.success(), "{killed:?}");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["to"], "redis-b");
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
}

#[test]
fn a_handover_that_cannot_demote_the_old_primary_says_who_is_primary_now() {
    let mut lab = TestLab::start();
    // Nobody can: neither the handover, nor the Sentinels, nor the parent.
    for user in ["operator", "sentinel"] {
        set_right(&lab, "redis-a", user, "-replicaof");
        set_right(&lab, "redis-a", user, "-slaveof");
    }
    lab.runner.signal_node("redis-a", Signal::STOP);
    let output = lab.halab(&["handover"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("redis-b is primary now, but redis-a could not be made its replica"),
        "{text}"
    );
    // As after any failover, its own parent does it.
    lab.runner.signal_node("redis-a", Signal::CONT);
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
}

#[test]
fn a_handover_without_a_promotion_says_that_the_failover_is_still_under_way() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "20000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(10_000);
    // It is in sync, and then it does not take the promotion.
    set_right(&lab, "redis-b", "sentinel", "-slaveof");
    let log = lab.path("handover.log");
    let mut handover = lab
        .command()
        .arg("handover")
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    super::lab::wait_until("the call", || said().contains("failover called"));
    // It can't be revoked, which the first Ctrl-C reports.
    kill_process(Pid::from_child(&handover), Signal::INT).unwrap();
    let code = handover.wait().unwrap().code();
    set_right(&lab, "redis-b", "sentinel", "+slaveof");
    let text = said();
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("cannot be revoked; completing"), "{text}");
    assert!(text.contains("writes continue on redis-a"), "{text}");
    assert!(
        text.contains("is still in progress and may promote a node later"),
        "{text}"
    );
    lab.wait_healthy();
    writer.wait_invoked(invoked(&ledger) + 10_000);
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_failover_called_by_hand_loses_nothing_acknowledged() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    // As an operator would, without a pause of writes: clients that trust +OK lose here.
    let name = &lab.lab.primary_name;
    let called = lab.halab(&["cli", "sentinel-1", "-e", "sentinel", "failover", name]);
    assert!(called.status.success(), "{called:?}");
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    lab.wait_healthy();
    writer.wait_invoked(invoked(&ledger) + 20_000);
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}
