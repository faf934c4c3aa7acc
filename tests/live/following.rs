//! A replica that copies its primary's data is not in sync before it has confirmed what there is.

use super::lab::{TestLab, invoked, wait_until};

fn ask(lab: &TestLab, node: &str, words: &[&str]) -> String {
    let output = lab.halab(&[&["cli", node, "-e"], words].concat());
    assert!(output.status.success(), "{node}: {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn writes_go_on_while_a_replica_loads_its_copy() {
    let mut lab = TestLab::start();
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    let filled = lab.start_writer(&["--count", "20000"]);
    let ledger = filled.ledger.clone();
    filled.assert_all_acknowledged();
    // One record after the other: what has been invoked is acknowledged, but for the last.
    let one_by_one = [
        "--count",
        "1000000",
        "--connections",
        "1",
        "--in-flight",
        "1",
        "--batch",
        "1",
    ];
    let writer = lab.start_writer_into("second.ledger", &one_by_one);
    writer.wait_invoked(100);

    // The replica has to copy everything anew, and takes its time for each key. It answers
    // meanwhile.
    for (parameter, value) in [
        ("key-load-delay", "300"),
        ("loading-process-events-interval-bytes", "1024"),
    ] {
        ask(&lab, &replica, &["config", "set", parameter, value]);
    }
    ask(&lab, &primary, &["acl", "setuser", "replication", "off"]);
    ask(
        &lab,
        &primary,
        &["config", "set", "repl-backlog-size", "16384"],
    );
    ask(&lab, &primary, &["client", "kill", "type", "replica"]);
    let before = invoked(&writer.ledger);
    wait_until("more to be written than the backlog holds", || {
        invoked(&writer.ledger) > before + 1000
    });
    ask(&lab, &primary, &["acl", "setuser", "replication", "on"]);

    let info = |node: &str| ask(&lab, node, &["info"]);
    wait_until("the copy to have been sent", || {
        info(&primary).contains("state=online") && info(&replica).contains("\nloading:1")
    });
    let sent = invoked(&writer.ledger);
    let (mut looks, mut last) = (0, sent);
    loop {
        let in_sync = lab.of_node(&primary, "halab_node_replicas_online");
        let written = invoked(&writer.ledger);
        // Only what was seen before it was loaded counts.
        if !info(&replica).contains("\nloading:1") {
            break;
        }
        assert_eq!(in_sync, Some(0.0), "after {looks} looks");
        looks += 1;
        last = written;
        // The Sentinels' word takes `raise_limit_ms` for each.
        if written > sent + 4 {
            break;
        }
    }
    assert!(
        last > sent + 2,
        "{} records: writes waited for a replica that loads its copy",
        last - sent
    );
    assert!(looks > 0);
    lab.wait_healthy();
    drop(writer);
    lab.assert_nothing_lost(&ledger);
}
