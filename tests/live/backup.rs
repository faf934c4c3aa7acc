//! `halab backup` and `halab restore`: of a lab under load, into one that has lost everything, and
//! what is refused.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use redis_ha_lab::ledger::{Entry, LedgerReader};
use rustix::process::Signal;
use serde_json::Value;

use super::lab::{Shape, TestLab, halab, wait_until};

fn words(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Makes a backup; its folder, and what is told of it.
fn back_up(lab: &TestLab, arguments: &[&str]) -> (PathBuf, Value) {
    let into = lab.path("backups").display().to_string();
    let output = lab.halab(&[&["backup", "--json", &into], arguments].concat());
    assert!(output.status.success(), "{}", words(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    (told["folder"].as_str().unwrap().into(), told)
}

fn restore(lab: &TestLab, backup: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let backup = backup.display().to_string();
    let output = lab.halab(&[&["restore", &backup], arguments].concat());
    (output.status.code(), words(&output))
}

fn state(lab: &TestLab, node: &str) -> PathBuf {
    lab.path("state").join(node)
}

fn kill_all(lab: &mut TestLab) {
    let names: Vec<String> = lab.lab.nodes().map(|node| node.name.clone()).collect();
    for name in names {
        lab.runner.kill_node(&name);
    }
}

/// Everything that any node had on disk is gone. The secrets are the operator's to keep.
fn lose_everything(lab: &mut TestLab) {
    kill_all(lab);
    for node in lab.lab.nodes() {
        fs::remove_dir_all(state(lab, &node.name)).unwrap();
    }
}

fn start_all(lab: &mut TestLab) {
    let names: Vec<String> = lab.lab.nodes().map(|node| node.name.clone()).collect();
    for name in names {
        lab.runner.start_node(&name).unwrap();
    }
    lab.wait_healthy();
}

fn write(lab: &TestLab, ledger: &str) -> PathBuf {
    let writer = lab.start_writer_into(ledger, &["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    ledger
}

/// A ledger of only what the writer knew to be acknowledged at that moment.
fn cut_at_now(ledger: &Path, to: &Path) -> u64 {
    fs::copy(ledger, to).unwrap();
    let reader = LedgerReader::open(to).unwrap();
    let acknowledged = |entry: Entry| match entry {
        Entry::Settled(settled) if settled.outcome.is_acknowledged() => {
            settled.seqs.iter().map(|seqs| seqs.end - seqs.start).sum()
        }
        _ => 0,
    };
    reader.map_while(Result::ok).map(acknowledged).sum()
}

#[test]
fn what_was_acknowledged_before_a_backup_under_load_is_there_after_everything_was_lost() {
    for tls in [false, true] {
        let mut lab = TestLab::start_as(Shape {
            tls,
            mutual_tls: tls,
            ..Shape::default()
        });
        let first = write(&lab, "first.ledger");
        let writer = lab.start_writer(&["--duration", "10m"]);
        writer.wait_invoked(50_000);
        let before = lab.path("before.ledger");
        let acknowledged = cut_at_now(&writer.ledger, &before);
        assert!(acknowledged > 0);
        let (backup, told) = back_up(&lab, &[]);
        assert_eq!(told["node"], "redis-b", "{told:#}");
        assert_eq!(told["from_primary"], false);
        assert!(told["offset"].as_u64() >= told["offset_before"].as_u64());
        // Nobody takes it for a replica, or remembers it.
        let status = lab.status();
        assert_eq!(status["healthy"], true, "{status:#}");
        writer.signal(Signal::TERM);
        writer.assert_all_acknowledged();
        let output = lab.halab(&["backup", "--check", &backup.display().to_string()]);
        assert!(output.status.success(), "{}", words(&output));
        assert!(words(&output).contains(": intact"), "{}", words(&output));

        lose_everything(&mut lab);
        let (code, said) = restore(&lab, &backup, &[]);
        assert_eq!(code, Some(0), "{said}");
        start_all(&mut lab);
        assert_eq!(lab.primary().as_deref(), Some("redis-a"));
        for ledger in [&first, &before] {
            // The cut ledger knows nothing of what was written later.
            let ledger = ledger.display().to_string();
            let output = lab.halab(&["verify", "--json", "--ledger", &ledger]);
            assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        }
        // The lab has the identity of before, and another term.
        assert!(
            lab.holds("redis-a").starts_with("term 1000"),
            "{}",
            lab.holds("redis-a")
        );
        let after = write(&lab, "after.ledger");
        lab.assert_nothing_lost(&after);
        // A backup of the restored lab, and of a primary that has no replica.
        lab.runner.kill_node("redis-b");
        wait_until("the primary to be the only copy", || {
            lab.holds("redis-a").contains("only copy")
        });
        let (again, told) = back_up(&lab, &[]);
        assert_eq!(
            (&told["node"], &told["from_primary"]),
            (&"redis-a".into(), &true.into())
        );
        assert_ne!(again, backup);
        let status = lab.status();
        assert_eq!(
            status["strangers"].as_array().map_or(0, Vec::len),
            0,
            "{status:#}"
        );
    }
}

#[test]
fn a_backup_does_not_replace_what_is_newer_and_what_comes_back_later_is_kept() {
    let mut lab = TestLab::start();
    let old = write(&lab, "old.ledger");
    let (backup, _) = back_up(&lab, &["--from", "redis-a"]);
    let new = write(&lab, "new.ledger");
    // While it runs.
    let (code, said) = restore(&lab, &backup, &[]);
    assert_eq!(code, Some(5), "{said}");
    for part in [
        "nothing was restored",
        "redis-a holds term ",
        "it is up",
        "stop the data nodes first",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    lab.assert_nothing_lost(&new);
    lab.stop();
    // And when it is stopped.
    let (code, said) = restore(&lab, &backup, &[]);
    assert_eq!(code, Some(5), "{said}");
    assert!(
        said.contains("redis-b holds term") && said.contains("--set-aside"),
        "{said}"
    );
    lab.start_again();
    for ledger in [&old, &new] {
        lab.assert_nothing_lost(ledger);
    }

    // One node is lost; the other one's disk is away, and comes back later.
    lab.stop();
    let away = lab.path("away");
    fs::rename(state(&lab, "redis-b"), &away).unwrap();
    fs::remove_dir_all(state(&lab, "redis-a")).unwrap();
    let (code, said) = restore(&lab, &backup, &[]);
    assert_eq!(code, Some(0), "{said}");
    fs::rename(&away, state(&lab, "redis-b")).unwrap();
    for node in [
        "sentinel-1",
        "sentinel-2",
        "sentinel-3",
        "redis-a",
        "redis-b",
    ] {
        lab.runner.start_node(node).unwrap();
    }
    wait_until("both to wait for an operator", || {
        ["redis-a", "redis-b"].iter().all(|node| {
            let log = lab.log(node);
            log.rfind("each of the copies may hold").is_some()
        })
    });
    let held = lab.holds("redis-b");
    assert!(held.starts_with("term "), "{held}");
    assert!(!held.starts_with("term 1000"), "{held}");
    // The newer one is chosen: nothing of it was lost.
    let output = lab.halab(&["choose", "redis-b", "--yes"]);
    assert!(output.status.success(), "{}", words(&output));
    lab.wait_healthy();
    for ledger in [&old, &new] {
        lab.assert_nothing_lost(ledger);
    }

    // What is here is given up, and kept.
    lab.stop();
    let (code, said) = restore(&lab, &backup, &["--set-aside"]);
    assert_eq!(code, Some(0), "{said}");
    for node in ["redis-a", "redis-b"] {
        let kept = state(&lab, node).join("data/appendonlydir.kept-1");
        assert!(
            kept.join("appendonly.aof.manifest").exists(),
            "{node}: {said}"
        );
    }
    lab.start_again();
    lab.assert_nothing_lost(&old);
    let output = lab.halab(&["verify", "--ledger", &new.display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
}

#[test]
fn a_backup_that_is_killed_leaves_none_and_one_goes_on_across_a_failover() {
    let lab = TestLab::start();
    write(&lab, "some.ledger");
    let into = lab.path("backups");
    // Killed at whatever moment: no folder that looks like a backup is not whole.
    for moment in 0..12_u64 {
        let mut child = lab
            .command()
            .arg("backup")
            .arg(&into)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(moment * 10));
        // It may have ended.
        let _ = child.kill();
        child.wait().unwrap();
        for entry in fs::read_dir(&into).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with('.') {
                check(&entry.path());
            }
        }
    }
    let (backup, _) = back_up(&lab, &[]);
    check(&backup);
    let left = fs::read_dir(&into).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );

    // The primary dies; the backup is asked for at that moment.
    lab.signal_server("redis-a", Signal::KILL);
    let (backup, told) = back_up(&lab, &["--timeout", "60s"]);
    check(&backup);
    assert_eq!(told["primary"], "redis-b", "{told:#}");
}

fn check(backup: &Path) {
    let mut command: Command = halab();
    let output = command
        .args(["backup", "--check"])
        .arg(backup)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn what_can_not_be_a_backup_or_is_damaged_is_not_restored() {
    let mut lab = TestLab::start();
    write(&lab, "some.ledger");
    let (backup, _) = back_up(&lab, &[]);
    let output = lab.halab(&["backup", "x", "--from", "sentinel-1"]);
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    // Nobody to be asked.
    for sentinel in ["sentinel-1", "sentinel-2"] {
        lab.runner.kill_node(sentinel);
    }
    let into = lab.path("none").display().to_string();
    let output = lab.halab(&["backup", &into, "--timeout", "2s"]);
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    assert!(
        words(&output).contains("no backup within 2s"),
        "{}",
        words(&output)
    );
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);

    lose_everything(&mut lab);
    let (code, said) = restore(&lab, &lab.path("none"), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is not a complete backup"), "{said}");
    let data = backup.join("data.rdb");
    let whole = fs::read(&data).unwrap();
    let mut wrong = whole.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    fs::write(&data, wrong).unwrap();
    let (code, said) = restore(&lab, &backup, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("is damaged") && said.contains("use another backup"),
        "{said}"
    );
    assert!(!state(&lab, "redis-a").join("data/appendonlydir").exists());
    let (code, said) = restore(&lab, &backup, &["--node", "sentinel-1"]);
    assert_eq!(code, Some(2), "{said}");
    fs::write(&data, whole).unwrap();
    // Cut short before, it is simply made again.
    let left = state(&lab, "redis-a").join("data/appendonlydir.restoring");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("appendonly.aof.1.base.rdb"), "half").unwrap();
    let (code, said) = restore(&lab, &backup, &[]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = restore(&lab, &backup, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("already"), "{said}");
    start_all(&mut lab);
    lab.assert_nothing_lost(&lab.path("some.ledger"));
}

/// The files of a folder, by their names.
fn content(folder: &Path) -> Option<BTreeMap<OsString, Vec<u8>>> {
    let entries = fs::read_dir(folder).ok()?;
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name(), fs::read(entry.path()).unwrap())
    });
    Some(files.collect())
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Where that copy is in the state folder of a node: its files, or what was set aside.
fn find(state: &Path, node: &str, copy: &BTreeMap<OsString, Vec<u8>>) -> Option<PathBuf> {
    let entries = fs::read_dir(state.join(node).join("data")).unwrap();
    let mut folders = entries.map(|entry| entry.unwrap().path());
    folders.find(|folder| {
        let name = folder.file_name().unwrap().to_string_lossy();
        let counts = name == "appendonlydir" || name.starts_with("appendonlydir.kept-");
        counts && content(folder).as_ref() == Some(copy)
    })
}

#[test]
fn a_restore_that_is_killed_loses_nothing_and_the_same_command_again_completes_it() {
    const MOMENTS: u32 = 12;
    const NODES: [&str; 2] = ["redis-a", "redis-b"];
    let mut lab = TestLab::start();
    let old = write(&lab, "old.ledger");
    let (backup, _) = back_up(&lab, &[]);
    let new = write(&lab, "new.ledger");
    lab.stop();
    let serving = lab.path("state");
    let held = NODES.map(|node| content(&serving.join(node).join("data/appendonlydir")).unwrap());
    let restoring = |state: &Path| {
        let mut command = lab.command_with(&[("--state", state)]);
        command.args(["restore", "--set-aside"]).arg(&backup);
        command
    };
    let copied = |name: String| {
        let state = lab.path(&name);
        copy_folder(&serving, &state);
        state
    };
    let whole = copied("whole".into());
    let begun = Instant::now();
    let output = restoring(&whole).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let takes = begun.elapsed();

    // Spread over the time that one takes, and as soon as a step is seen.
    let seen = ["restoring", "restored", "kept-1"];
    let moments = (0..MOMENTS).map(|n| (takes * n / MOMENTS, None));
    let at_steps = seen.map(|step| (Duration::ZERO, Some(format!("appendonlydir.{step}"))));
    let mut state = whole;
    let mut cut_short = 0;
    for (number, (moment, step)) in moments.chain(at_steps).enumerate() {
        state = copied(format!("killed-{number}"));
        let mut child = restoring(&state)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        match &step {
            None => std::thread::sleep(moment),
            Some(name) => {
                let place = state.join("redis-a/data").join(name);
                while !place.exists() && child.try_wait().unwrap().is_none() {
                    std::hint::spin_loop();
                }
            }
        }
        // It may have ended.
        let _ = child.kill();
        cut_short += u32::from(!child.wait().unwrap().success());
        for (node, held) in NODES.iter().zip(&held) {
            assert!(find(&state, node, held).is_some(), "{number}: {node}");
        }
        let output = restoring(&state).output().unwrap();
        assert!(output.status.success(), "{number}: {}", words(&output));
        for (node, held) in NODES.iter().zip(&held) {
            let kept = find(&state, node, held);
            let is_kept =
                kept.is_some_and(|kept| kept.file_name() != Some("appendonlydir".as_ref()));
            assert!(is_kept, "{number}: {node}");
        }
    }
    assert!(cut_short > 0);

    // With the backup, and then with what was held before.
    fs::rename(&serving, lab.path("before")).unwrap();
    fs::rename(&state, &serving).unwrap();
    lab.start_again();
    lab.assert_nothing_lost(&old);
    lab.stop();
    for (node, held) in NODES.iter().zip(&held) {
        let kept = find(&serving, node, held).unwrap();
        let files = serving.join(node).join("data/appendonlydir");
        fs::rename(&files, files.with_extension("backup")).unwrap();
        fs::rename(kept, &files).unwrap();
    }
    lab.start_again();
    for ledger in [&old, &new] {
        lab.assert_nothing_lost(ledger);
    }
}
