//! Servers of two versions in one lab: an upgrade in the right order, and what is refused in the
//! wrong one.

use super::lab::{TestLab, invoked, two_servers, wait_until};

fn says(lab: &TestLab, node: &str, words: &str) -> bool {
    lab.log(node).contains(words)
}

/// Stops a node in order and starts it again, with the server that is in place by then.
fn restart(lab: &mut TestLab, node: &str) {
    lab.runner.stop_node(node);
    lab.runner.start_node(node).unwrap();
}

#[test]
fn an_upgrade_of_every_node_under_load_loses_nothing_and_fails_no_write() {
    let [from, to] = two_servers();
    let mut lab = TestLab::start_on(&from);
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "20000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(10_000);
    lab.turn_to(&to);
    for node in [
        "sentinel-1",
        "sentinel-2",
        "sentinel-3",
        "redis-b",
        "redis-a",
    ] {
        writer.wait_invoked(invoked(&ledger) + 5_000);
        restart(&mut lab, node);
        lab.wait_healthy();
    }
    writer.wait_invoked(invoked(&ledger) + 5_000);
    writer.signal(rustix::process::Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
    for node in ["redis-a", "redis-b"] {
        let info = lab.halab(&["cli", node, "-e", "info", "server"]);
        let info = String::from_utf8(info.stdout).unwrap();
        assert!(info.contains(&format!("_version:{}", to.version)), "{info}");
    }
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
}

#[test]
fn a_replica_that_cannot_read_its_primary_keeps_its_data_and_says_so_until_it_is_upgraded() {
    let [from, to] = two_servers();
    let mut lab = TestLab::start_on(&from);
    let writer = lab.start_writer(&["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    // The replica first, and then the primary is changed, and nobody goes on.
    lab.turn_to(&to);
    restart(&mut lab, "redis-b");
    lab.wait_healthy();
    let output = lab.halab(&["handover"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    wait_until("redis-a refuses to follow", || {
        says(&lab, "redis-a", "so it does not follow")
    });
    let refused = format!(
        "{} cannot read what the primary's {} writes",
        from.title(),
        to.title()
    );
    assert!(says(&lab, "redis-a", &refused));
    // Records that are acknowledged meanwhile are on one node only.
    let alone = lab.start_writer_into("alone.ledger", &["--count", "5000"]);
    let later = alone.ledger.clone();
    alone.assert_all_acknowledged();
    assert!(!says(&lab, "redis-a", "Can't handle RDB format"));
    restart(&mut lab, "redis-a");
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);
    lab.assert_nothing_lost(&later);
}

#[test]
fn data_of_a_newer_server_is_not_touched_by_an_older_one_and_serves_again_with_the_newer() {
    let [from, to] = two_servers();
    let mut lab = TestLab::start_on(&to);
    let writer = lab.start_writer(&["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    // A downgrade of both.
    lab.runner.stop_node("redis-b");
    lab.runner.stop_node("redis-a");
    lab.turn_to(&from);
    let refused = format!(
        "{} cannot read what {} wrote on this disk",
        from.title(),
        to.title()
    );
    for node in ["redis-a", "redis-b"] {
        lab.runner.start_node(node).unwrap();
        wait_until(&format!("{node} refuses its data"), || {
            says(&lab, node, &refused)
        });
        assert_eq!(lab.server_pid(node), None);
    }
    // The nodes run, and see that the server is another one.
    lab.turn_to(&to);
    lab.wait_healthy();
    assert!(!says(&lab, "redis-a", "append-only file is damaged"));
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn the_upgrade_of_a_replica_can_be_taken_back() {
    let [from, to] = two_servers();
    let mut lab = TestLab::start_on(&from);
    let writer = lab.start_writer(&["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    lab.turn_to(&to);
    restart(&mut lab, "redis-b");
    lab.wait_healthy();
    lab.turn_to(&from);
    restart(&mut lab, "redis-b");
    lab.wait_healthy();
    assert!(says(
        &lab,
        "redis-b",
        "wrote on this disk, so it is not started"
    ));
    assert!(says(&lab, "redis-b", "this node's data is set aside"));
    assert_eq!(lab.primary().as_deref(), Some("redis-a"));
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn what_a_newer_server_took_alone_is_not_given_up_for_an_older_copy() {
    let [from, to] = two_servers();
    let mut lab = TestLab::start_on(&from);
    let first = lab.start_writer(&["--count", "5000"]);
    let first_ledger = first.ledger.clone();
    first.assert_all_acknowledged();
    for words in [&["handover"][..], &["close"]] {
        let output = lab.halab(words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    lab.runner.stop_node("redis-a");
    lab.runner.stop_node("redis-b");
    // The primary goes on with the newer server, and the other one is not started.
    lab.turn_to(&to);
    lab.runner.start_node("redis-b").unwrap();
    wait_until("redis-b serves", || lab.role("redis-b") == "primary");
    let alone = lab.start_writer_into("alone.ledger", &["--count", "5000"]);
    let ledger = alone.ledger.clone();
    alone.assert_all_acknowledged();
    // All of it is taken back.
    lab.runner.stop_node("redis-b");
    lab.turn_to(&from);
    lab.runner.start_node("redis-a").unwrap();
    lab.runner.start_node("redis-b").unwrap();
    wait_until("redis-a serves what it has", || {
        lab.role("redis-a") == "primary"
    });
    wait_until("redis-b keeps what it has", || {
        says(&lab, "redis-b", "the primary lacks some of it")
    });
    // With the newer server it is there, and an operator goes on with it.
    lab.turn_to(&to);
    restart(&mut lab, "redis-a");
    wait_until("redis-b is up", || lab.role("redis-b") == "parked");
    let output = lab.halab(&["choose", "redis-b", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    lab.wait_healthy();
    lab.assert_nothing_lost(&first_ledger);
    lab.assert_nothing_lost(&ledger);
}
