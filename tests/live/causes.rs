//! `halab status` says why: what was wrong in labs that were broken on purpose, by its code, its
//! cause and its remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use super::lab::{TestLab, wait_until};

/// The problem of that code and node, as `halab status --json` has it.
fn problem(lab: &TestLab, code: &str, node: &str) -> Option<Value> {
    let status = lab.status();
    let mut problems = status["problems"].as_array().unwrap().iter();
    problems
        .find(|p| p["code"] == code && p["node"] == node)
        .cloned()
}

/// Waits for it.
fn wait_problem(lab: &TestLab, code: &str, node: &str) -> Value {
    let mut found = None;
    wait_until(&format!("{code} of {node}"), || {
        found = problem(lab, code, node);
        found.is_some()
    });
    found.unwrap()
}

fn cause(problem: &Value) -> &str {
    problem["cause"].as_str().unwrap_or_default()
}

/// Gives a command to the server of a node, as the operator.
fn cli(lab: &TestLab, node: &str, words: &[&str]) {
    let said = lab.halab(&[&["cli", node, "-e"], words].concat());
    assert!(said.status.success(), "{said:?}");
}

#[test]
fn a_config_line_that_the_server_refuses_is_told_once_and_not_as_damaged_data() {
    let mut lab = TestLab::start();
    let replica = lab.replica();
    lab.runner.stop_node(&replica);
    let conf = lab.path("state").join(&replica).join("redis.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}maxmemry 5gb\n")).unwrap();
    let before = lab.log(&replica).len();
    lab.runner.start_node(&replica).unwrap();
    // Until then the node is still running, and not one to start again.
    wait_until("the node to end", || {
        let ended = lab.runner.ended();
        let of_it = ended.iter().find(|(name, _)| *name == replica);
        of_it.is_some_and(|(_, status)| !status.success())
    });
    let problem = wait_problem(&lab, "config-refused", &replica);
    for part in [
        "its node exited",
        "maxmemry ...",
        "Bad directive",
        "redis.conf",
        "line ",
    ] {
        assert!(cause(&problem).contains(part), "{part} in {problem:#}");
    }
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains("correct or remove that line")
    );
    wait_until("it to be older", || {
        let note = &lab.status()["supervisors"][&replica]["up"]["log_problem"];
        note["ago_s"].as_u64() >= Some(2)
    });
    let log = lab.log(&replica);
    let log = &log[before..];
    assert_eq!(log.matches("server started").count(), 1, "{log}");
    assert!(!log.contains("append-only file is damaged"), "{log}");
    // The line is removed, and the node is as before.
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace("maxmemry 5gb\n", "")).unwrap();
    lab.runner.start_node(&replica).unwrap();
    lab.wait_healthy();
}

#[test]
fn a_stale_password_of_a_replica_is_told_with_what_its_server_says() {
    let lab = TestLab::start();
    let replica = lab.replica();
    cli(
        &lab,
        &replica,
        &["CONFIG", "SET", "masterauth", "stale-password-of-before"],
    );
    // The link is made anew, with that password.
    let primary = lab.primary().unwrap();
    cli(&lab, &primary, &["CLIENT", "KILL", "TYPE", "replica"]);
    let problem = wait_problem(&lab, "replica-password-refused", &replica);
    assert!(cause(&problem).contains("WRONGPASS"), "{problem:#}");
    // It tries again every second.
    assert!(cause(&problem).contains(" s ago: "), "{problem:#}");
    assert!(problem["log_line_ago_s"].as_u64() < Some(60), "{problem:#}");
    assert!(problem["log_line_ago_s"].is_u64(), "{problem:#}");
    assert!(
        !problem.to_string().contains("stale-password"),
        "{problem:#}"
    );
}

#[test]
fn a_wrong_password_on_one_node_names_that_node() {
    let lab = TestLab::start();
    let replica = lab.replica();
    // As with a secrets folder of its own in which the password of the Sentinels differs.
    cli(
        &lab,
        &replica,
        &[
            "ACL",
            "SETUSER",
            "sentinel",
            "resetpass",
            ">another-password-of-it",
        ],
    );
    cli(&lab, &replica, &["CLIENT", "KILL", "TYPE", "normal"]);
    let problem = wait_problem(&lab, "password-refused", &replica);
    let what = problem["what"].as_str().unwrap();
    assert!(
        what.contains(&replica) && what.contains("sentinel"),
        "{problem:#}"
    );
    assert!(cause(&problem).contains("WRONGPASS"), "{problem:#}");
}

#[test]
fn a_command_with_another_labs_passwords_says_that_it_is_its_own() {
    let lab = TestLab::start();
    let other = lab.path("other-secrets");
    let made = lab.halab(&["secrets", "make", other.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let with = |words: &[&str]| {
        let mut command = lab.command();
        command.env("HALAB_SECRETS", &other).args(words);
        command.output().unwrap()
    };
    let said = with(&["status", "--json"]);
    assert_eq!(said.status.code(), Some(1));
    let status: Value = serde_json::from_slice(&said.stdout).unwrap();
    let problems = status["problems"].as_array().unwrap();
    let own = problems
        .iter()
        .find(|p| p["code"] == "own-password-refused");
    assert!(
        own.unwrap()["remedy"]
            .as_str()
            .unwrap()
            .contains("HALAB_SECRETS")
    );
    let said = with(&["handover"]);
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        error.contains("WRONGPASS") && !error.contains("is the lab up?"),
        "{error}"
    );
}

#[test]
fn users_that_an_operator_adds_are_told_before_and_after_they_vanish() {
    let mut lab = TestLab::start();
    let replica = lab.replica();
    cli(
        &lab,
        &replica,
        &[
            "ACL",
            "SETUSER",
            "shop",
            "on",
            ">a-password-of-it",
            "~shop:*",
            "+get",
        ],
    );
    cli(&lab, &replica, &["ACL", "SAVE"]);
    cli(&lab, &replica, &["ACL", "SETUSER", "guest", "on"]);
    wait_until("both users to be told of", || {
        let added = problem(&lab, "users-added", &replica);
        added.is_some_and(|p| p["what"].as_str().unwrap().contains("guest, shop"))
    });
    assert_eq!(lab.status()["healthy"], true);
    lab.runner.stop_node(&replica);
    lab.runner.start_node(&replica).unwrap();
    let problem = wait_problem(&lab, "users-removed", &replica);
    assert!(
        problem["what"].as_str().unwrap().contains("guest, shop"),
        "{problem:#}"
    );
    lab.wait_healthy();
    let kept = lab.path("state").join(&replica).join("users.removed.acl");
    let text = fs::read_to_string(&kept).unwrap();
    assert!(
        text.contains("user shop on") && text.contains("user guest (not saved"),
        "{text}"
    );
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o077, 0);
    assert!(
        lab.log(&replica)
            .contains("users that do not belong to the lab were removed")
    );
    fs::remove_file(&kept).unwrap();
    wait_until("nothing to be told", || {
        lab.status()["problems"].as_array().unwrap().is_empty()
    });
}

#[test]
fn a_primary_at_its_maxmemory_is_not_healthy() {
    let lab = TestLab::start();
    let primary = lab.primary().unwrap();
    cli(&lab, &primary, &["CONFIG", "SET", "maxmemory", "1mb"]);
    let problem = wait_problem(&lab, "memory-full", &primary);
    assert!(cause(&problem).contains("of 1048576 bytes"), "{problem:#}");
    assert_eq!(lab.status()["healthy"], false);
}

#[test]
fn a_member_with_another_lab_toml_is_told_with_what_differs() {
    let mut lab = TestLab::start();
    let config = lab.path("lab.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("quorum = 2", "quorum = 3")).unwrap();
    lab.runner.stop_node("sentinel-3");
    let before = lab.log("sentinel-3").len();
    lab.runner.start_node("sentinel-3").unwrap();
    // It has read the file by then.
    wait_until("sentinel-3 to start again", || {
        lab.log("sentinel-3")[before..].contains("server started")
    });
    fs::write(&config, text).unwrap();
    let problem = wait_problem(&lab, "other-lab-toml", "sentinel-3");
    assert!(
        cause(&problem).contains("it has quorum = 3; it lacks quorum = 2"),
        "{problem:#}"
    );
}

#[test]
fn a_node_that_is_gone_and_one_whose_server_is_gone_are_told_apart() {
    let mut lab = TestLab::start();
    lab.runner.kill_node("sentinel-1");
    let down = wait_problem(&lab, "node-down", "sentinel-1");
    assert!(
        down["remedy"]
            .as_str()
            .unwrap()
            .contains("start the node sentinel-1"),
        "{down:#}"
    );
    // The parent of a data node is there, and its server hangs.
    let replica = lab.replica();
    lab.signal_server(&replica, Signal::KILL);
    wait_until("the end of the server to be known", || {
        let supervisor = &lab.status()["supervisors"][&replica]["up"];
        supervisor["last_end"]
            .as_str()
            .is_some_and(|end| end.contains("9"))
    });
}

#[test]
fn a_list_of_members_that_cannot_be_read_is_told_and_no_writer_goes_by_it() {
    let mut lab = TestLab::start();
    let primary = lab.primary().unwrap();
    cli(&lab, &primary, &["SET", "halab-members", "{}"]);
    let problem = wait_problem(&lab, "members-unusable", &primary);
    assert!(cause(&problem).contains("damaged"), "{problem:#}");
    let mut write = lab.command();
    let write = write.args([
        "write",
        "--count",
        "10",
        "--patience",
        "2s",
        "--metrics",
        "off",
    ]);
    let said = write.output().unwrap();
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success(), "{error}");
    assert!(
        error.contains("list of members is of a later version, damaged"),
        "{error}"
    );
    // Of another type, it is none either.
    cli(&lab, &primary, &["DEL", "halab-members"]);
    lab.wait_healthy();
    cli(&lab, &primary, &["LPUSH", "another", "x"]);
    cli(&lab, &primary, &["RENAME", "another", "halab-members"]);
    wait_problem(&lab, "members-unusable", &primary);
    // As the runbook says.
    cli(&lab, &primary, &["DEL", "halab-members"]);
    lab.wait_healthy();
    let writer = lab.start_writer(&["--count", "1000"]);
    writer.assert_all_acknowledged();
}

#[test]
fn a_planned_stop_is_told_as_such_with_what_is_at_stake_and_without_what_follows_from_it() {
    let mut lab = TestLab::start();
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    lab.runner.stop_node(&replica);
    let down = wait_problem(&lab, "node-down", &replica);
    assert!(
        cause(&down).contains("stopped on request"),
        "not told as a planned stop: {down:#}"
    );
    // The Sentinels can't promote it: that goes without saying.
    wait_until("nothing else to be wrong", || {
        lab.status()["problems"].as_array().unwrap().len() == 1
    });
    let stakes = lab.status()["stakes"].to_string();
    assert!(
        stakes.contains(&format!("{primary} takes writes and is the only data node")),
        "{stakes}"
    );
    let by = |command: &str| {
        let shown = lab.halab(&["status", "--start-command", command]);
        String::from_utf8_lossy(&shown.stdout).into_owned()
    };
    let shown = by("systemctl start {unit}");
    assert!(
        shown.contains(&format!(
            "start the node {replica} (systemctl start halab-data-node@{replica})"
        )),
        "{shown}"
    );
    let shown = by("./lab start");
    assert!(
        shown.contains(&format!("start the node {replica} (./lab start {replica})")),
        "{shown}"
    );
    assert!(shown.contains("at stake:"), "{shown}");
    // A node that is killed leaves no such note, and what it left before is gone.
    lab.runner.start_node(&replica).unwrap();
    lab.wait_healthy();
    lab.runner.kill_node(&replica);
    let down = wait_problem(&lab, "node-down", &replica);
    assert!(!cause(&down).contains("on request"), "{down:#}");
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_named_with_its_limit_and_tmpdir() {
    let lab = TestLab::start();
    let long = lab.path(&"x".repeat(100));
    fs::create_dir(&long).unwrap();
    let mut command = lab.command();
    command
        .env("TMPDIR", &long)
        .args(["cli", "redis-a", "PING"]);
    let said = command.output().unwrap();
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success(), "{error}");
    for part in [long.to_str().unwrap(), "107", "TMPDIR"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}
