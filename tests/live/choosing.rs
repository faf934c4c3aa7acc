//! `halab choose`: an operator says with which copy the lab goes on.

use std::fs;
use std::path::{Path, PathBuf};

use super::lab::{TestLab, wait_until};

/// Runs `halab choose`: its exit code, and all that it says.
fn choose(lab: &TestLab, arguments: &[&str]) -> (Option<i32>, String) {
    let output = lab.halab(&[&["choose"], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn config(lab: &TestLab, node: &str, key: &str) -> String {
    let output = lab.halab(&["cli", node, "-e", "config", "get", key]);
    assert!(output.status.success(), "{node}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The line about a node.
fn about<'a>(said: &'a str, node: &str) -> &'a str {
    let line = said
        .lines()
        .find(|line| line.trim_start().starts_with(node));
    line.unwrap_or_else(|| panic!("nothing about {node}: {said}"))
}

fn data(lab: &TestLab, node: &str) -> PathBuf {
    lab.path("state").join(node).join("data")
}

/// Whether a file in the folder has the text.
fn is_in(folder: &Path, text: &str) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files.into_iter().any(|file| {
        let bytes = fs::read(file.path()).unwrap();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

/// Writes so many records; the run, and its ledger.
fn write(lab: &TestLab, name: &str, count: &str) -> (String, PathBuf) {
    let writer = lab.start_writer_into(name, &["--count", count]);
    let ledger = writer.ledger.clone();
    let summary = writer.assert_all_acknowledged();
    (summary["run"].as_str().unwrap().to_owned(), ledger)
}

#[test]
fn a_stale_copy_waits_until_it_is_chosen_and_what_is_given_up_stays_on_disk() {
    let mut lab = TestLab::start();
    let (_, before) = write(&lab, "before.ledger", "20000");
    // In order: killed, it may lack its last second on disk.
    lab.runner.stop_node("redis-b");
    wait_until("the primary to be the only copy", || {
        lab.holds("redis-a").contains("only copy")
    });
    let (given_up, _) = write(&lab, "given-up.ledger", "20000");
    // What is known of a node that is away is what it has noted.
    wait_until("it to note that it is", || {
        let note = fs::read_to_string(lab.path("state").join("redis-a/holds"));
        note.unwrap_or_default().contains("only copy")
    });
    lab.runner.kill_node("redis-a");

    // It can't know what was acknowledged without it.
    let logged = lab.log("redis-b").len();
    lab.runner.start_node("redis-b").unwrap();
    wait_until("the stale copy to wait, and to say what helps", || {
        lab.log("redis-b")[logged..].contains("halab choose")
    });
    let output = lab.halab(&["status"]);
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{status}");
    let (_, held) = status
        .split_once("what the data nodes hold:")
        .unwrap_or_else(|| panic!("{status}"));
    assert!(
        about(held, "redis-a").contains(" or later, only copy (last seen by its node)"),
        "{status}"
    );
    let stale = lab.holds("redis-b");
    assert!(stale.contains("(redis-a), mark "), "{stale}");
    assert!(about(held, "redis-b").contains(&stale), "{status}");

    // Shown, and nothing else.
    let (code, said) = choose(&lab, &["redis-b"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        about(&said, "redis-b").ends_with(&format!("{stale}: the lab continues with this copy")),
        "{said}"
    );
    assert!(about(&said, "redis-a").contains("not known"), "{said}");
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(lab.role("redis-b"), "parked");
    assert_eq!(lab.holds("redis-b"), stale);
    assert!(config(&lab, "redis-b", "replica-priority").ends_with("\n0\n"));
    let (code, said) = choose(&lab, &["redis-a", "--yes"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("start it first"), "{said}");
    assert_eq!(lab.role("redis-b"), "parked");

    let (code, said) = choose(&lab, &["redis-b", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("redis-b is primary"), "{said}");
    wait_until("the Sentinels to name it", || {
        lab.primary().as_deref() == Some("redis-b")
    });
    lab.assert_nothing_lost(&before);
    let (_, after) = write(&lab, "after.ledger", "20000");

    // It was not there to be given up: that is a decision of its own.
    let logged = lab.log("redis-a").len();
    lab.runner.start_node("redis-a").unwrap();
    wait_until("the other copy to be kept, and to say what helps", || {
        lab.log("redis-a")[logged..].contains("halab choose")
    });
    let apart = lab.holds("redis-a");
    assert!(apart.ends_with(", only copy"), "{apart}");
    let (code, said) = choose(&lab, &["redis-a"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("redis-b is primary"), "{said}");
    let (code, said) = choose(&lab, &["redis-b"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        about(&said, "redis-a").contains(&format!("{apart}: may hold more: kept aside")),
        "{said}"
    );
    assert_eq!(lab.holds("redis-a"), apart);
    let kept = data(&lab, "redis-a").join("appendonlydir.kept-1");
    assert!(!kept.exists());

    let (code, said) = choose(&lab, &["redis-b", "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("redis-b stays primary"), "{said}");
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-b"));
    for ledger in [&before, &after] {
        lab.assert_nothing_lost(ledger);
    }
    assert!(is_in(&kept, &given_up), "nothing of it is kept");
    assert!(!is_in(
        &data(&lab, "redis-a").join("appendonlydir"),
        &given_up
    ));

    // Nor does a later start remove it.
    lab.runner.stop_node("redis-a");
    lab.runner.start_node("redis-a").unwrap();
    lab.wait_healthy();
    assert!(is_in(&kept, &given_up), "it was removed");
}

#[test]
fn a_healthy_lab_has_nothing_to_choose() {
    let lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m"]);
    writer.wait_invoked(20_000);
    let ledger = writer.ledger.clone();
    for (node, why) in [
        ("redis-b", "redis-a is primary and accepts writes"),
        ("redis-a", "nothing has to be chosen"),
    ] {
        for yes in [&[][..], &["--yes"]] {
            let (code, said) = choose(&lab, &[&[node], yes].concat());
            assert_eq!(code, Some(5), "{node} {yes:?}: {said}");
            assert!(said.contains(why), "{said}");
        }
    }
    assert!(config(&lab, "redis-b", "replica-priority").ends_with("\n10\n"));
    writer.signal(rustix::process::Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn what_is_no_data_node_can_not_be_chosen() {
    let lab = TestLab::start();
    for (name, why) in [
        ("redis-c", "redis-c"),
        ("sentinel-1", "sentinel-1 is a Sentinel and holds no data"),
    ] {
        let (code, said) = choose(&lab, &[name, "--yes"]);
        assert_eq!(code, Some(2), "{said}");
        for part in [why, "redis-a", "redis-b"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
