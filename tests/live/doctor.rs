//! `halab doctor`: each thing that is short is found by its code, and in a healthy lab nothing is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use super::lab::{HALAB, TestLab, redis_server, wait_until};

/// What was found, by `halab doctor --json`.
struct Found {
    code: Option<i32>,
    report: Value,
}

impl Found {
    fn of(output: &Output) -> Self {
        Found {
            code: output.status.code(),
            report: serde_json::from_slice(&output.stdout).unwrap(),
        }
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.report["findings"].as_array().unwrap().iter()
    }

    fn find(&self, place: &str, code: &str) -> Option<&Value> {
        self.findings()
            .find(|f| f["where"] == place && f["code"] == code)
    }

    fn severity(&self, place: &str, code: &str) -> Option<&str> {
        self.find(place, code)?["severity"].as_str()
    }

    /// Place and code of all of that severity.
    fn all(&self, severity: &str) -> Vec<(&str, &str)> {
        let of = self.findings().filter(|f| f["severity"] == severity);
        of.map(|f| (f["where"].as_str().unwrap(), f["code"].as_str().unwrap()))
            .collect()
    }
}

impl TestLab {
    fn doctor(&self) -> Found {
        Found::of(&self.halab(&["doctor", "--json"]))
    }

    fn config_set(&self, node: &str, key: &str, value: &str) {
        let output = self.halab(&["cli", node, "-e", "CONFIG", "SET", key, value]);
        assert!(output.status.success(), "{output:?}");
    }
}

/// A node that the test starts in its own way; ended with the test.
struct OtherNode(Child);

impl OtherNode {
    fn start(mut command: Command) -> Self {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        OtherNode(quiet.spawn().unwrap())
    }
}

impl Drop for OtherNode {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).unwrap();
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A program in the place of `program`, for which no more than so many files may be open.
fn with_few_open_files(program: &Path, folder: &Path, files: u64) -> std::path::PathBuf {
    // Whoever may pass all limits raises this one again, as Redis does at its start.
    let bound = if geteuid().is_root() {
        "setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource "
    } else {
        ""
    };
    let script = folder.join("few-open-files");
    let text = format!(
        "#!/bin/sh\nulimit -n {files}\nexec {bound}'{}' \"$@\"\n",
        program.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    script
}

#[test]
fn a_healthy_lab_is_short_of_nothing_and_every_node_is_known() {
    let lab = TestLab::start();
    let known = |found: &Found| {
        let unknown = found.all("not_known");
        unknown.iter().all(|(place, _)| *place == "host")
    };
    // A node states its disk and memory moments after its start.
    wait_until("all of the nodes to be known", || known(&lab.doctor()));
    let found = lab.doctor();
    assert_eq!(found.all("short"), [], "{:#}", found.report);
    assert_eq!(found.code, Some(0));
    assert_eq!(found.report["enough"], true);
    for node in ["redis-a", "redis-b"] {
        assert_eq!(found.severity(node, "rewrite-space"), Some("ok"));
        // The shipped lab sets none.
        assert_eq!(found.severity(node, "maxmemory"), Some("warning"));
    }
    let text = lab.halab(&["doctor"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("0 short"), "{text}");
}

#[test]
fn maxmemory_above_the_memory_limit_is_short_on_that_node_alone() {
    let lab = TestLab::start();
    lab.config_set("redis-a", "maxmemory", "1000000gb");
    wait_until("the node to state its memory limit", || {
        lab.doctor().severity("redis-a", "maxmemory") == Some("short")
    });
    let found = lab.doctor();
    assert_eq!(found.all("short"), [("redis-a", "maxmemory")]);
    assert_eq!(found.code, Some(1));
    let finding = found.find("redis-a", "maxmemory").unwrap();
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(remedy.contains("CONFIG SET maxmemory"), "{remedy}");
    assert_eq!(finding["measured"]["unit"], "bytes");
}

#[test]
fn a_policy_that_evicts_is_short() {
    let lab = TestLab::start();
    lab.config_set("redis-b", "maxmemory-policy", "allkeys-lru");
    let found = lab.doctor();
    assert_eq!(found.all("short"), [("redis-b", "eviction")]);
    assert_eq!(found.code, Some(1));
}

#[test]
fn few_open_files_are_short_before_the_start_and_on_the_running_node() {
    let mut lab = TestLab::start();
    let limited = with_few_open_files(HALAB.as_ref(), lab.folder.path(), 256);
    let command = lab.command();
    let output = Command::new(limited)
        .args(command.get_args())
        .args(["doctor", "--json"])
        .output()
        .unwrap();
    let found = Found::of(&output);
    assert_eq!(found.all("short"), [("host", "open-files")]);
    let measured = &found.find("host", "open-files").unwrap()["measured"];
    assert_eq!(measured["value"], 256);
    assert_eq!(found.code, Some(1));

    let node = lab.replica();
    lab.runner.stop_node(&node);
    let server = which::which(redis_server()).unwrap();
    let server = with_few_open_files(&server, lab.folder.path(), 256);
    let mut command = lab.command_with(&[("--redis-server", &server)]);
    command.args(["node", &node]);
    let _node = OtherNode::start(command);
    lab.wait_healthy();
    let found = lab.doctor();
    assert_eq!(found.all("short"), [(node.as_str(), "max-clients")]);
    // Redis keeps 32 for itself.
    let measured = &found.find(&node, "max-clients").unwrap()["measured"];
    assert_eq!(measured["value"], 224);
    assert_eq!(found.code, Some(1));
}

#[test]
fn a_small_disk_is_short_before_the_start_and_on_the_running_node() {
    let mut lab = TestLab::start();
    let node = lab.replica();
    lab.runner.stop_node(&node);
    // A disk of its own, in a mount namespace that nobody else sees.
    let on_small_disk = |folder: &Path, command: &Command| {
        let mut small = Command::new("unshare");
        small
            .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
            .arg("mount -t tmpfs -o size=48m,mode=700 halab \"$0\"; exec \"$@\"")
            .arg(folder)
            .arg(HALAB)
            .args(command.get_args());
        small
    };
    let mut doctor = lab.command();
    doctor.args(["doctor", "--json"]);
    let state = lab.path("state");
    let found = Found::of(&on_small_disk(&state, &doctor).output().unwrap());
    assert_eq!(found.all("short"), [("host", "disk-space")]);
    assert_eq!(found.code, Some(1));

    let mut command = lab.command();
    command.args(["node", &node]);
    let _node = OtherNode::start(on_small_disk(&state.join(&node), &command));
    lab.wait_healthy();
    wait_until("the node to state its disk", || {
        lab.doctor().severity(&node, "rewrite-space") == Some("short")
    });
    let found = lab.doctor();
    assert_eq!(found.all("short"), [(node.as_str(), "rewrite-space")]);
    let remedy = found.find(&node, "rewrite-space").unwrap()["remedy"].as_str();
    assert!(remedy.unwrap().contains("MiB on the disk"), "{remedy:?}");
}

#[test]
fn what_a_killed_rewrite_left_is_removed_and_counted() {
    let lab = TestLab::start();
    let node = lab.replica();
    let counted = || lab.of_node(&node, "halab_node_unfinished_files_removed_total");
    assert_eq!(counted(), Some(0.0));
    lab.start_writer(&["--count", "20"])
        .assert_all_acknowledged();
    // So slow that it is cut short for certain: 20 keys take 10 s.
    lab.config_set(&node, "rdb-key-save-delay", "500000");
    // The one after its first copy may still be in progress.
    wait_until("a rewrite to begin", || {
        let begun = lab.halab(&["cli", &node, "-e", "BGREWRITEAOF"]);
        begun.status.success()
    });
    let data = lab.path("state").join(&node).join("data");
    let unfinished = || {
        let entries = fs::read_dir(&data).unwrap().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("temp-")).count()
    };
    wait_until("a rewrite in progress", || unfinished() == 1);
    lab.signal_server(&node, Signal::KILL);
    wait_until("its file to be removed", || counted() == Some(1.0));
    assert_eq!(unfinished(), 0);
    assert!(
        lab.log(&node)
            .contains("removed a file that a killed server left unfinished or replaced")
    );
}
