//! Loss of one node under load: nothing acknowledged is lost, and the lab stays writable.

use rustix::process::Signal;

use super::lab::{Shape, TestLab, invoked};

#[test]
fn acknowledged_writes_survive_a_killed_primary_server() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "400000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    lab.signal_server("redis-a", Signal::KILL);
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    let summary = writer.assert_all_acknowledged();
    assert_eq!(summary["primary_changes"], 1, "{summary:#}");
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn acknowledged_writes_survive_a_killed_primary_node_and_a_cold_restart() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "400000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    lab.runner.kill_node("redis-a");
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    // Writable without the lost node: the Sentinels bear witness.
    let summary = writer.assert_all_acknowledged();
    assert!(summary["witnessed"].as_u64().unwrap() > 0, "{summary:#}");
    lab.assert_nothing_lost(&ledger);

    lab.runner.start_node("redis-a").unwrap();
    lab.wait_healthy();
    assert_eq!(lab.replica(), "redis-a");
    lab.assert_nothing_lost(&ledger);

    lab.runner.stop();
    let names: Vec<String> = lab.lab.nodes().map(|n| n.name.clone()).collect();
    for name in names {
        lab.runner.start_node(&name).unwrap();
    }
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_hung_server_is_killed_by_its_parent_and_loses_nothing() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "200000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    lab.signal_server("redis-a", Signal::STOP);
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    writer.assert_all_acknowledged();
    lab.wait_healthy();
    assert!(lab.log("redis-a").contains("the server hangs; killing it"));
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_whole_node_that_hangs_and_wakes_after_the_failover_loses_nothing() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "400000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    // The parent first: it would take a stopped server for a hung one.
    lab.runner.signal_node("redis-a", Signal::STOP);
    lab.signal_server("redis-a", Signal::STOP);
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    lab.signal_server("redis-a", Signal::CONT);
    lab.runner.signal_node("redis-a", Signal::CONT);
    writer.assert_all_acknowledged();
    lab.wait_healthy();
    assert_eq!(lab.replica(), "redis-a");
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_primary_restarted_inside_down_after_loses_nothing_with_or_without_its_data() {
    // The original's down-after of 5 s: the node is back long before a Sentinel would act.
    let mut lab = TestLab::start_as(Shape {
        profile: None,
        ..Shape::default()
    });
    for keep_data in [true, false] {
        lab.wait_healthy();
        let primary = lab.primary().unwrap();
        let writer = lab.start_writer(&["--count", "200000"]);
        let ledger = writer.ledger.clone();
        writer.wait_invoked(20_000);
        lab.runner.kill_node(&primary);
        if !keep_data {
            std::fs::remove_dir_all(lab.path("state").join(&primary)).unwrap();
        }
        lab.runner.start_node(&primary).unwrap();
        writer.assert_all_acknowledged();
        lab.wait_healthy();
        assert_ne!(lab.primary().unwrap(), primary);
        lab.assert_nothing_lost(&ledger);
        std::fs::remove_file(&ledger).unwrap();
    }
}

#[test]
fn a_killed_replica_stops_no_writes_and_loses_nothing() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "300000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    lab.runner.kill_node("redis-b");
    let summary = writer.assert_all_acknowledged();
    assert!(summary["witnessed"].as_u64().unwrap() > 0, "{summary:#}");
    assert_eq!(summary["primary_changes"], 0);
    lab.runner.start_node("redis-b").unwrap();
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn policy_replicated_waits_for_a_lost_replica_and_loses_nothing() {
    let mut lab = TestLab::start();
    lab.runner.kill_node("redis-b");
    let writer = lab.start_writer(&["--policy", "replicated", "--count", "1000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(100);
    lab.runner.start_node("redis-b").unwrap();
    let summary = writer.assert_all_acknowledged();
    assert_eq!(summary["replicated"], 1000);
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn with_one_sentinel_lost_the_primary_still_fails_over() {
    let mut lab = TestLab::start();
    lab.runner.kill_node("sentinel-2");
    let writer = lab.start_writer(&["--count", "100000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(10_000);
    lab.runner.kill_node("redis-a");
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn with_two_sentinels_lost_nobody_is_promoted_and_the_writer_waits() {
    let mut lab = TestLab::start();
    for name in ["sentinel-1", "sentinel-2"] {
        lab.runner.kill_node(name);
    }
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "1000"]);
    let ledger = writer.ledger.clone();
    lab.runner.kill_node("redis-a");
    // Twice as long as a failover would have taken.
    let down_after = lab.lab.timing.down_after;
    std::thread::sleep(2 * down_after + std::time::Duration::from_secs(2));
    let info = lab.halab(&["health", "redis-b"]);
    assert_eq!(info.status.code(), Some(1), "redis-b was promoted");
    for name in ["sentinel-1", "sentinel-2"] {
        lab.runner.start_node(name).unwrap();
    }
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    let before = invoked(&ledger);
    writer.wait_invoked(before + 1000);
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn the_new_primary_may_be_lost_too_once_the_old_one_is_in_sync() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "20000"]);
    let ledger = writer.ledger.clone();
    for (lost, next) in [("redis-a", "redis-b"), ("redis-b", "redis-a")] {
        writer.wait_invoked(invoked(&ledger) + 10_000);
        lab.signal_server(lost, Signal::KILL);
        assert_eq!(lab.wait_failover_from(lost), next);
        lab.wait_healthy();
    }
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn three_data_nodes_survive_the_loss_of_their_primary() {
    let mut lab = TestLab::start_as(Shape {
        data_nodes: 3,
        sentinels: 5,
        ..Shape::default()
    });
    let writer = lab.start_writer(&["--count", "200000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(20_000);
    lab.runner.kill_node("redis-a");
    lab.wait_failover_from("redis-a");
    writer.assert_all_acknowledged();
    lab.runner.start_node("redis-a").unwrap();
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);
}
