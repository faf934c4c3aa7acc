//! Who belongs to a lab: strangers that the Sentinels know, nodes that they have forgotten.

use std::fs;
use std::net::SocketAddrV4;
use std::process::{Child, Command, Output, Stdio};

use redis_ha_lab::protocol::member_list::{MEMBER_LIST_KEY, MemberKind};
use rustix::process::Signal;
use serde_json::Value;

use super::lab::{Shape, TestLab, redis_server, wait_until};

/// A lab of three data nodes whose third is lost and taken out of `lab.toml`. The Sentinels know it
/// still.
fn lab_with_a_ghost() -> (TestLab, SocketAddrV4) {
    let mut lab = TestLab::start_as(Shape {
        data_nodes: 3,
        ..Shape::default()
    });
    let ghost = lab.lab.node("redis-c").unwrap().socket();
    lab.runner.kill_node("redis-c");
    let config = lab.path("lab.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (before, rest) = text
        .split_once("[[data_node]]\nname = \"redis-c\"")
        .unwrap();
    let (_, after) = rest.split_once("[[").unwrap();
    fs::write(&config, format!("{before}[[{after}")).unwrap();
    lab.lab.data_nodes.retain(|n| n.name != "redis-c");
    // Lost, and not stated: it is a member still, so the next loss would be a second one.
    wait_until("status to say that a member is lost", || {
        problems(&lab).iter().any(|p| {
            p.starts_with("redis-c is not reachable") && p.contains("halab member remove redis-c")
        })
    });
    // Not a member any more, as by halab member remove, which was ended before the Sentinels had
    // forgotten it.
    let without = lab
        .member_list()
        .without(MemberKind::Data, "redis-c")
        .to_text();
    let primary = lab.primary().unwrap();
    ended_with(
        &lab.halab(&["cli", &primary, "-e", "SET", MEMBER_LIST_KEY, &without]),
        0,
    );
    // With the new lab.toml; the primary last, which hands over.
    for node in [
        "sentinel-1",
        "sentinel-2",
        "sentinel-3",
        "redis-b",
        "redis-a",
    ] {
        lab.runner.stop_node(node);
        lab.runner.start_node(node).unwrap();
        // The nodes that are not restarted yet run with the lab.toml from before.
        let expected =
            |p: &String| p.contains("of lab.toml") || p.contains("with another lab.toml");
        wait_until("the lab to be healthy but for the stranger", || {
            problems(&lab).iter().all(expected)
        });
    }
    (lab, ghost)
}

fn problems(lab: &TestLab) -> Vec<String> {
    let status = lab.status();
    let problems = status["problems"].as_array().unwrap().iter();
    let text = |p: &Value| {
        format!(
            "{}: {} {}",
            p["what"].as_str().unwrap(),
            p["cause"],
            p["remedy"]
        )
    };
    problems.map(text).collect()
}

/// A Redis of somebody else, without a password.
struct Foreign(Child);

impl Foreign {
    fn start(lab: &TestLab, at: SocketAddrV4) -> Self {
        let folder = lab.path("foreign");
        fs::create_dir_all(&folder).unwrap();
        let server = Command::new(redis_server())
            .args(["--bind", &at.ip().to_string()])
            .args(["--port", &at.port().to_string()])
            .args(["--protected-mode", "no", "--save", "", "--dir"])
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Foreign(server)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ended_with(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}{text}");
    text
}

fn stranger(lab: &TestLab) -> Value {
    lab.status()["strangers"][0].clone()
}

/// Waits until every Sentinel could promote the stranger: they make it a replica, and its priority
/// is the default.
fn wait_promotable_to_all(lab: &TestLab) {
    wait_until(
        "the foreign server to be promotable to all Sentinels",
        || {
            let status = lab.status();
            let mut sentinels = status["sentinels"].as_array().unwrap().iter();
            sentinels.all(|s| s["up"]["strangers"][0]["state"] == "promotable")
        },
    );
}

#[test]
fn a_data_node_that_left_lab_toml_is_a_stranger_until_it_is_forgotten() {
    let (mut lab, ghost) = lab_with_a_ghost();
    let status = lab.status();
    assert_eq!(status["healthy"], false);
    assert_eq!(stranger(&lab)["address"], ghost.to_string());
    assert_eq!(stranger(&lab)["known_to"].as_array().unwrap().len(), 3);
    let shown = lab.halab(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("stranger") && shown.contains("halab forget"),
        "{shown}"
    );

    let writer = lab.start_writer(&["--duration", "10m", "--rate", "5000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(5000);
    let periods = sentinel_periods(&lab);
    let done = lab.halab(&["forget", "--json"]);
    ended_with(&done, 0);
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    eprintln!("{done:#}");
    assert_eq!(done["strangers"][0]["address"], ghost.to_string());
    let reset = done["reset"].as_array().unwrap().iter();
    let reset: Vec<&str> = reset.map(|r| r["sentinel"].as_str().unwrap()).collect();
    assert_eq!(reset, ["sentinel-1", "sentinel-2", "sentinel-3"]);
    lab.wait_healthy();
    assert_eq!(sentinel_periods(&lab), periods);
    assert!(periods.contains("250"), "{periods}");
    // Epochs are kept: the handover of before is the newest configuration still.
    assert_eq!(lab.status()["primary"], status["primary"]);
    // And there is nothing to do a second time.
    let again = lab.halab(&["forget"]);
    ended_with(&again, 0);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to forget"));
    // The lab fails over as before.
    let primary = lab.primary().unwrap();
    lab.signal_server(&primary, Signal::KILL);
    lab.wait_failover_from(&primary);
    lab.wait_healthy();
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

/// The periods that `halab node` has shortened, as each Sentinel has them.
fn sentinel_periods(lab: &TestLab) -> String {
    let ask = |sentinel: &str| {
        let said = lab.halab(&["cli", sentinel, "-e", "sentinel", "debug"]);
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    ["sentinel-1", "sentinel-2", "sentinel-3"].map(ask).concat()
}

/// The priorities that a Sentinel has of the replicas, the lowest first.
fn priorities(lab: &TestLab) -> Vec<u64> {
    let name = &lab.lab.primary_name;
    let said = lab.halab(&["cli", "sentinel-1", "-e", "sentinel", "replicas", name]);
    let said = String::from_utf8(said.stdout).unwrap();
    let mut lines = said.lines();
    let mut found = Vec::new();
    while lines.by_ref().any(|line| line == "slave-priority") {
        found.push(lines.next().unwrap().parse().unwrap());
    }
    found.sort_unstable();
    found
}

#[test]
fn a_foreign_server_at_the_address_of_a_lost_node_is_never_promoted_by_a_node() {
    let (mut lab, ghost) = lab_with_a_ghost();
    let foreign = Foreign::start(&lab, ghost);
    wait_promotable_to_all(&lab);
    assert_eq!(lab.status()["healthy"], false);
    // No Sentinel would prefer it.
    let priorities = priorities(&lab);
    assert_eq!(priorities, [10, 100], "of the replica, of the stranger");
    let refused = ended_with(&lab.halab(&["handover"]), 5);
    assert!(refused.contains(&ghost.to_string()), "{refused}");
    assert!(refused.contains("halab forget"), "{refused}");
    let refused = ended_with(&lab.halab(&["forget"]), 5);
    assert!(refused.contains(&ghost.to_string()), "{refused}");

    let writer = lab.start_writer(&["--duration", "10m", "--rate", "5000"]);
    let ledger = writer.ledger.clone();
    writer.wait_invoked(5000);
    let primary = lab.primary().unwrap();
    wait_promotable_to_all(&lab);
    lab.signal_server(&primary, Signal::KILL);
    wait_until("the node to say why it calls no failover", || {
        lab.log(&primary)
            .contains("which is not a data node of lab.toml")
            // Where the stranger was too slow to be seen as promotable just then, one is called.
            || lab.log(&primary).contains("failover called")
    });
    // It goes on with its own data; or, on a machine so busy that this takes longer than
    // down-after, the Sentinels promote the node that they prefer, by its priority.
    wait_until("a primary of the lab", || {
        problems(&lab).iter().all(|p| p.contains("of lab.toml"))
    });
    writer.wait_invoked(super::lab::invoked(&ledger) + 5000);
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();

    // Without the replica, nobody bears witness: the stranger could be promoted without having the
    // writes.
    wait_until("the lab to be whole but for the stranger", || {
        problems(&lab).iter().all(|p| p.contains("of lab.toml"))
    });
    // A failover has the stranger follow the new primary, and ends its connections: it may be out
    // of sight afterwards.
    if lab.primary() == Some(primary) {
        let replica = lab.replica();
        lab.runner.kill_node(&replica);
        let alone = lab.start_writer_into("alone.ledger", &["--count", "100", "--patience", "8s"]);
        let (_, summary, log) = alone.finish();
        assert_eq!(summary["acknowledged"], 0, "{summary:#}\n{log}");
        lab.runner.start_node(&replica).unwrap();
    }

    drop(foreign);
    wait_until("the foreign server to be forgotten", || {
        lab.halab(&["forget"]).status.success()
    });
    lab.wait_healthy();
    ended_with(&lab.halab(&["handover"]), 0);
    lab.assert_nothing_lost(&ledger);
}

fn reset_all(lab: &TestLab) {
    for sentinel in ["sentinel-1", "sentinel-2", "sentinel-3"] {
        let name = &lab.lab.primary_name;
        let said = lab.halab(&["cli", sentinel, "-e", "sentinel", "reset", name]);
        assert!(said.status.success(), "{said:?}");
    }
}

#[test]
fn after_a_reset_of_all_sentinels_and_the_loss_of_the_primary_status_says_what_helps() {
    let mut lab = TestLab::start();
    // So that its disk has all that the replica has, however soon it is killed.
    let always = [
        "cli",
        "redis-a",
        "-e",
        "config",
        "set",
        "appendfsync",
        "always",
    ];
    assert!(lab.halab(&always).status.success());
    let writer = lab.start_writer(&["--count", "2000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    // The primary is gone first, or they would know everyone again within a second.
    lab.runner.kill_node("redis-a");
    reset_all(&lab);
    let mut said = Vec::new();
    wait_until("status to say it", || {
        said = problems(&lab);
        said.iter()
            .any(|p| p.contains("no Sentinel knows a replica"))
    });
    let all = said.join("\n");
    assert!(all.contains("start redis-a"), "{all}");
    assert!(all.contains("docs/runbook.md"), "{all}");
    assert!(all.contains("redis-b holds a copy up to offset"), "{all}");
    assert!(all.contains("sentinel-1 does not know redis-b"), "{all}");
    // And that helps.
    lab.runner.start_node("redis-a").unwrap();
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_second_name_that_a_sentinel_monitors_is_told() {
    let mut lab = TestLab::start();
    let at = lab.lab.data_nodes[0].socket();
    let (ip, port) = (at.ip().to_string(), at.port().to_string());
    let monitor = [
        "cli",
        "sentinel-2",
        "-e",
        "sentinel",
        "monitor",
        "other",
        &ip,
        &port,
        "2",
    ];
    let said = lab.halab(&monitor);
    assert!(said.status.success(), "{said:?}");
    let told = problems(&lab).join("\n");
    assert!(told.contains("sentinel-2 monitors other besides"), "{told}");
    let said = lab.halab(&["cli", "sentinel-2", "-e", "sentinel", "remove", "other"]);
    assert!(said.status.success(), "{said:?}");
    lab.wait_healthy();
}

#[test]
fn a_stopped_lab_moves_to_other_addresses_and_another_name_with_all_its_records() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "20000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    // So that not the seed primary is the one to be found.
    ended_with(&lab.halab(&["handover"]), 0);
    lab.wait_healthy();
    let (old_primary, old_subnet) = (
        lab.status()["primary"].clone(),
        lab.lab.data_nodes[0].address,
    );
    assert_eq!(old_primary["node"], "redis-b");
    // A lab that runs is not moved.
    let running = ended_with(&lab.halab(&["move", "--from-subnet", "127.0.0"]), 5);
    assert!(
        running.contains("in use by another halab node"),
        "{running}"
    );
    lab.stop();

    let before = lab.change_lab_toml("moved");
    assert!(old_subnet.to_string().starts_with(&before));
    for node in ["redis-a", "redis-b", "sentinel-1"] {
        let refused = ended_with(&lab.halab(&["node", node]), 4);
        assert!(refused.contains("`halab move`"), "{refused}");
        assert!(!refused.contains("remove"), "{refused}");
    }
    let wrong = ended_with(&lab.halab(&["move", "--from-subnet", "127.0.99"]), 5);
    assert!(wrong.contains("nothing was moved"), "{wrong}");
    let old = lab.path("old.toml");
    let text = fs::read_to_string(lab.path("lab.toml")).unwrap();
    fs::write(&old, text.replace("\"moved\"", "\"halab\"")).unwrap();
    let from = old.display().to_string();
    let arguments = ["move", "--json", "--from", &from, "--from-subnet", &before];
    let done = lab.halab(&arguments);
    ended_with(&done, 0);
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(
        done["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|n| n["outcome"] == "moved"),
        "{done:#}"
    );
    let again = lab.halab(&["move", "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(
        again["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|n| n["outcome"] == "already"),
        "{again:#}"
    );

    lab.start_again();
    let status = lab.status();
    assert_eq!(status["primary"]["node"], "redis-b");
    let epoch = |of: &Value| of["epoch"].as_u64().unwrap();
    assert!(
        epoch(&status["primary"]) >= epoch(&old_primary),
        "{status:#}"
    );
    assert_eq!(status["strangers"].as_array().map(Vec::len), Some(0));
    lab.assert_nothing_lost(&ledger);
    // And it is a lab as before.
    let writer = lab.start_writer_into("after.ledger", &["--count", "2000"]);
    let after = writer.ledger.clone();
    writer.assert_all_acknowledged();
    ended_with(&lab.halab(&["handover"]), 0);
    lab.wait_healthy();
    lab.assert_nothing_lost(&after);
}

#[test]
fn empty_config_files_cost_no_record_and_no_vote() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "5000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    ended_with(&lab.halab(&["handover"]), 0);
    lab.wait_healthy();
    let primary = lab.status()["primary"].clone();
    lab.runner.stop_node("redis-a");
    lab.runner.stop_node("sentinel-1");
    fs::write(lab.path("state/redis-a/redis.conf"), "").unwrap();
    fs::write(lab.path("state/sentinel-1/sentinel.conf"), "").unwrap();
    // One that has forgotten decides nothing with one other: that is no majority without it.
    lab.runner.stop_node("sentinel-2");
    lab.runner.start_node("sentinel-1").unwrap();
    wait_until("the Sentinel to say what it waits for", || {
        lab.log("sentinel-1").contains("has lost its state")
    });
    assert_eq!(lab.server_pid("sentinel-1"), None);
    lab.runner.start_node("sentinel-2").unwrap();
    lab.runner.start_node("redis-a").unwrap();
    lab.wait_healthy();
    assert_eq!(lab.status()["primary"], primary);
    let conf = fs::read_to_string(lab.path("state/sentinel-1/sentinel.conf")).unwrap();
    let at = lab.lab.node("redis-b").unwrap().address;
    assert!(
        conf.contains(&format!("sentinel monitor halab {at} 6379 2")),
        "{conf}"
    );
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_lost_primary_that_nobody_can_replace_comes_back_with_the_copy_of_another_node() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "2000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    lab.runner.kill_node("redis-a");
    reset_all(&lab);
    // As docs/runbook.md says, where its disk is gone too.
    lab.runner.stop_node("redis-b");
    let (lost, kept) = (lab.path("state/redis-a"), lab.path("state/redis-b/data"));
    fs::remove_dir_all(&lost).unwrap();
    fs::create_dir(&lost).unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .args([&kept, &lost])
        .status()
        .unwrap();
    assert!(copied.success());
    lab.runner.start_node("redis-a").unwrap();
    lab.runner.start_node("redis-b").unwrap();
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-a"));
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_stranger_that_was_promoted_is_got_rid_of_without_losing_a_record() {
    let (mut lab, ghost) = lab_with_a_ghost();
    let writer = lab.start_writer(&["--count", "2000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    let foreign = Foreign::start(&lab, ghost);
    wait_promotable_to_all(&lab);
    // The only one that is left to be promoted, and an operator who does.
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    lab.runner.kill_node(&replica);
    let name = lab.lab.primary_name.clone();
    wait_until("the stranger to be promoted", || {
        lab.halab(&["cli", "sentinel-1", "-e", "sentinel", "failover", &name]);
        lab.primary() == Some(ghost.to_string())
    });
    let told = problems(&lab).join("\n");
    assert!(
        told.contains("is named primary and is not in this lab"),
        "{told}"
    );
    drop(foreign);
    // As docs/runbook.md says, where no node of the lab could be promoted after that.
    lab.stop();
    for sentinel in ["sentinel-1", "sentinel-2", "sentinel-3"] {
        let conf = lab.path(&format!("state/{sentinel}/sentinel.conf"));
        fs::rename(&conf, conf.with_extension("aside")).unwrap();
    }
    let config = lab.path("lab.toml");
    let text = fs::read_to_string(&config).unwrap();
    let seed = |name: &str| format!("seed_primary = \"{name}\"");
    fs::write(&config, text.replace(&seed("redis-a"), &seed(&primary))).unwrap();
    lab.start_again();
    assert_eq!(lab.primary(), Some(primary));
    lab.assert_nothing_lost(&ledger);
}
