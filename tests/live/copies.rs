//! What becomes of a node's copy when another node is promoted: it is followed only by those that
//! it holds no less than, and no copy is given up before another is complete.

use rustix::process::Signal;

use super::lab::{TestLab, wait_until};

fn set(lab: &TestLab, node: &str, parameter: &str, value: &str) {
    wait_until(&format!("{node} takes {parameter} {value}"), || {
        let said = lab.halab(&["cli", node, "-e", "config", "set", parameter, value]);
        said.status.success()
    });
}

#[test]
fn a_node_at_its_memory_limit_is_followed_all_the_same() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    // A replica goes beyond it; as a primary it refuses writes.
    set(&lab, "redis-b", "maxmemory", "1mb");
    let output = lab.halab(&["handover"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    wait_until("nothing to be wrong but the limit", || {
        let status = lab.status();
        let problems = status["problems"].as_array().unwrap();
        problems.len() == 1
            && problems[0]["code"] == "memory-full"
            && problems[0]["node"] == "redis-b"
    });
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
    lab.assert_nothing_lost(&ledger);
    set(&lab, "redis-b", "maxmemory", "0");
    lab.wait_healthy();
}

#[test]
fn the_promoted_node_may_be_lost_before_it_has_been_copied() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    // It waits for so many seconds before it sends a full copy.
    set(&lab, "redis-b", "repl-diskless-sync-delay", "60");
    lab.signal_server("redis-a", Signal::KILL);
    assert_eq!(lab.wait_failover_from("redis-a"), "redis-b");
    let says = |lab: &TestLab, words: &str| lab.log("redis-a").contains(words);
    wait_until("redis-a follows redis-b without its data", || {
        says(&lab, "role decided") && says(&lab, "this node's data is set aside")
    });
    lab.runner.kill_node("redis-b");
    wait_until("redis-a has its own data again", || {
        says(&lab, "the data that was set aside is restored")
    });
    lab.runner.start_node("redis-b").unwrap();
    // A Sentinel has had it written into its file.
    set(&lab, "redis-b", "repl-diskless-sync-delay", "0");
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);
}
