//! A replica completes its copy under a load that would fill the primary's buffer for it before
//! that.

use super::lab::{Shape, TestLab, invoked, wait_until};

fn ask(lab: &TestLab, node: &str, words: &[&str]) -> String {
    let output = lab.halab(&[&["cli", node, "-e"], words].concat());
    assert!(output.status.success(), "{node}: {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_copy_completes_under_a_load_that_outruns_it() {
    // With the normal time limits: how long writes may be held up follows from them.
    let mut lab = TestLab::start_as(Shape {
        profile: None,
        ..Shape::default()
    });
    let primary = lab.primary().unwrap();
    let filled = lab.start_writer(&["--count", "100000"]);
    let ledger = filled.ledger.clone();
    filled.assert_all_acknowledged();
    for (parameter, value) in [
        // The copy takes 20 s or more, and the load fills the buffer in 8.
        ("rdb-key-save-delay", "20"),
        ("client-output-buffer-limit", "replica 64mb 0 0"),
        ("repl-backlog-size", "16384"),
    ] {
        ask(&lab, &primary, &["config", "set", parameter, value]);
    }
    ask(&lab, &primary, &["config", "rewrite"]);
    // Little is in progress at a time: that is let in even where writes are held up.
    let load = [
        "--duration",
        "10m",
        "--rate",
        "100000",
        "--connections",
        "4",
        "--in-flight",
        "1",
    ];
    let writer = lab.start_writer_into("second.ledger", &load);
    let second = writer.ledger.clone();
    writer.wait_invoked(10_000);

    ask(&lab, &primary, &["acl", "setuser", "replication", "off"]);
    ask(&lab, &primary, &["client", "kill", "type", "replica"]);
    let before = invoked(&second);
    wait_until("more to be written than the backlog holds", || {
        invoked(&second) > before + 1000
    });
    let copies = |lab: &TestLab| {
        lab.log(&primary)
            .matches("Background RDB transfer started")
            .count()
    };
    let copied = copies(&lab);
    ask(&lab, &primary, &["acl", "setuser", "replication", "on"]);
    wait_until("a copy to begin", || copies(&lab) > copied);
    wait_until("the replica to be in sync", || {
        lab.of_node(&primary, "halab_node_replicas_online") == Some(1.0)
    });
    assert_eq!(copies(&lab), copied + 1, "the replica had to begin again");
    let held_up = lab.of_node(&primary, "halab_node_pauses_for_copies_seconds_total");
    assert!(held_up.unwrap() > 0.0);
    lab.wait_healthy();
    // The limit is that of the file again.
    let limit = ["config", "get", "client-output-buffer-limit"];
    wait_until("the limit to be as before", || {
        ask(&lab, &primary, &limit).contains("slave 67108864 0 0")
    });
    writer.signal(rustix::process::Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
    lab.assert_nothing_lost(&second);
}
