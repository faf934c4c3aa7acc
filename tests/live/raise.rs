//! How a replica becomes promotable, and how it assures that it is not.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::lab::{TestLab, wait_until};

const CHANNEL: &str = "halab:not-promotable";

/// What the server of a node answers, as text.
fn ask(lab: &TestLab, node: &str, words: &[&str]) -> String {
    let output = lab.halab(&[&["cli", node, "-e"], words].concat());
    assert!(output.status.success(), "{node}: {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assured(lab: &TestLab, node: &str) -> usize {
    let answer = ask(lab, node, &["pubsub", "numsub", CHANNEL]);
    answer.lines().last().unwrap().trim().parse().unwrap()
}

#[test]
fn a_replica_is_not_raised_while_anyone_could_count_on_its_assurance_and_says_why() {
    let lab = TestLab::start();
    let replica = lab.replica();
    let promotable = || lab.of_node(&replica, "halab_node_promotable") == Some(1.0);
    let raises = |outcome: &str| {
        let series = format!("halab_node_raises_total{{outcome=\"{outcome}\"}}");
        lab.of_node(&replica, &series).unwrap()
    };
    assert_eq!(assured(&lab, &replica), 0, "it is promotable");
    assert_eq!(raises("done"), 1.0);

    // To whoever asks the server, that is the node itself.
    let mut stranger: Command = lab.command();
    let mut stranger = stranger
        .args(["cli", &replica, "subscribe", CHANNEL])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the stranger to be subscribed", || {
        assured(&lab, &replica) == 1
    });
    let before = raises("failed");
    ask(&lab, &replica, &["config", "set", "replica-priority", "0"]);
    wait_until("a failed raise", || raises("failed") > before);
    assert!(!promotable());
    wait_until("the node to say why", || {
        lab.log(&replica)
            .contains("another client is subscribed to halab:not-promotable on its server")
    });
    let status = lab.status();
    let problems = status["problems"].to_string();
    assert!(
        problems.contains(&format!("{replica} is in sync and not promotable yet")),
        "{problems}"
    );

    // The program that is subscribed is a child of that one, which passes its own end on.
    for child in super::lab::children_of(stranger.id()) {
        let pid = rustix::process::Pid::from_raw(child).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    wait_until("the replica to be promotable again", promotable);
    assert_eq!(raises("done"), 2.0);
    assert_eq!(assured(&lab, &replica), 0);
}

#[test]
fn a_node_that_assures_that_it_is_not_promotable_is_taken_at_its_word_at_once() {
    let lab = TestLab::start();
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    // The link is gone for good, and the replica is not: to itself and to the Sentinels it is up.
    ask(&lab, &primary, &["acl", "setuser", "replication", "off"]);
    ask(&lab, &primary, &["client", "kill", "type", "replica"]);
    wait_until("the replica to be lowered", || {
        lab.of_node(&replica, "halab_node_promotable") == Some(0.0)
    });
    wait_until("its assurance", || assured(&lab, &replica) == 1);

    // To this writer what the Sentinels know counts after a minute.
    let config = lab.path("patient.toml");
    let text = fs::read_to_string(lab.path("lab.toml")).unwrap();
    let longest = text.replace("raise_limit_ms = 500", "raise_limit_ms = 60000");
    assert_ne!(longest, text);
    fs::write(&config, longest).unwrap();
    let output = lab
        .command_with(&[("--config", &config)])
        .args(["write", "--json", "--count", "200", "--patience", "30s"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["witnessed"], 200, "{summary}");
}
