//! Data nodes and Sentinels that come and go on a lab that runs, under load, with a writer that is
//! never started again.

use std::fs;
use std::process::{Output, Stdio};

use redis_ha_lab::config::{Lab, Node, NodeKind};
use redis_ha_lab::protocol::member_list::{MemberKind, Standing};
use rustix::process::Signal;
use serde_json::Value;

use super::lab::{TestLab, Writer, wait_until};

fn ended_with(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}{text}");
    format!("{said}{text}")
}

/// What is wrong, but for what follows from a change of `lab.toml`.
fn faults(lab: &TestLab) -> Vec<Value> {
    let status = lab.status();
    let problems = status["problems"].as_array().unwrap().iter();
    let expected = ["other-lab-toml", "not-full-member", "member-unstated"];
    let other = problems.filter(|p| !expected.contains(&p["code"].as_str().unwrap()));
    other.cloned().collect()
}

/// Writes another `lab.toml`, with the node in it.
fn state(lab: &mut TestLab, kind: NodeKind, name: &str, host: u8) {
    let (table, port) = match kind {
        NodeKind::Data => ("data_node", 6379),
        NodeKind::Sentinel => ("sentinel", 26379),
    };
    let config = lab.path("lab.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    text +=
        &format!("\n[[{table}]]\nname = \"{name}\"\naddress = \"127.0.0.{host}\"\nport = {port}\n");
    fs::write(&config, text).unwrap();
    read_again(lab);
    lab.runner.add_node(name, kind);
}

/// Writes another `lab.toml`, without the node.
fn unstate(lab: &mut TestLab, kind: NodeKind, name: &str) {
    let table = match kind {
        NodeKind::Data => "data_node",
        NodeKind::Sentinel => "sentinel",
    };
    let config = lab.path("lab.toml");
    let text = fs::read_to_string(&config).unwrap();
    let begin = text
        .find(&format!("[[{table}]]\nname = \"{name}\""))
        .unwrap();
    let rest = &text[begin + 2..];
    let end = rest.find("\n[").map_or(text.len(), |at| begin + 2 + at + 1);
    let mut text = format!("{}{}", &text[..begin], &text[end..]);
    if kind == NodeKind::Data {
        let other = lab.lab.data_nodes.iter().find(|n| n.name != name).unwrap();
        let seed = format!("seed_primary = \"{}\"", other.name);
        text = text.replace(&format!("seed_primary = \"{name}\""), &seed);
    }
    fs::write(&config, text).unwrap();
    read_again(lab);
}

fn read_again(lab: &mut TestLab) {
    let subnet = lab.lab.data_nodes[0].address.octets();
    let config = lab.path("lab.toml");
    let security = lab.lab.security.clone();
    // Four Sentinels are none of a lab.toml; what takes one out of them follows.
    let Ok(read) = redis_ha_lab::config::load(&config, Some("fast")) else {
        return;
    };
    lab.lab = Lab {
        security,
        ..read.relocated([subnet[0], subnet[1], subnet[2]])
    };
}

/// Starts all nodes of `lab.toml` again but these, one at a time, the primary last.
fn restart_each(lab: &mut TestLab, but: &[&str], lost: &str) {
    let primary = lab.primary().unwrap();
    let nodes: Vec<Node> = lab.lab.nodes().cloned().collect();
    let mut names: Vec<String> = nodes.into_iter().map(|n| n.name).collect();
    names.retain(|n| !but.contains(&n.as_str()));
    names.sort_by_key(|name| *name == primary);
    for name in names {
        lab.runner.stop_node(&name);
        lab.runner.start_node(&name).unwrap();
        wait_until("the lab to be healthy but for what is new or lost", || {
            let mut faults = faults(lab).into_iter();
            faults.all(|p| !lost.is_empty() && p.to_string().contains(lost))
        });
    }
}

/// The writer, which was never started again, goes on; then it is ended, and everything is there.
fn assert_goes_on_and_lost_nothing(lab: &TestLab, writer: Writer) {
    let ledger = writer.ledger.clone();
    writer.wait_invoked(super::lab::invoked(&ledger) + 5000);
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    lab.assert_nothing_lost(&ledger);
}

fn members(lab: &TestLab) -> Value {
    let shown = lab.halab(&["member", "list", "--json"]);
    ended_with(&shown, 0);
    serde_json::from_slice(&shown.stdout).unwrap()
}

fn row(listing: &Value, name: &str) -> Value {
    let mut rows = listing["nodes"].as_array().unwrap().iter();
    rows.find(|r| r["name"] == name).unwrap().clone()
}

/// A lab, and a writer that is at work on it until it is ended.
fn under_load() -> (TestLab, Writer) {
    let lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "5000"]);
    writer.wait_invoked(5000);
    (lab, writer)
}

#[test]
fn a_data_node_is_added_and_another_removed_under_load() {
    let (mut lab, writer) = under_load();

    // Two data nodes: neither can go.
    let replica = lab.replica();
    let refused = ended_with(&lab.halab(&["member", "remove", &replica]), 5);
    assert!(refused.contains("the only sound copy"), "{refused}");
    assert!(refused.contains("halab member add"), "{refused}");

    state(&mut lab, NodeKind::Data, "redis-c", 13);
    let refused = ended_with(&lab.halab(&["member", "add", "redis-c"]), 5);
    assert!(
        refused.contains("redis-a runs with a lab.toml without redis-c at"),
        "{refused}"
    );
    // A third data node that was only started copies, and is never promotable.
    lab.runner.start_node("redis-c").unwrap();
    wait_until("the new node to have said that it is no member", || {
        lab.log("redis-c").contains("halab member add redis-c")
    });
    wait_until("a copy on the new node", || {
        lab.status()["data_nodes"][2]["up"]["link_up"] == true
    });
    let there = lab.status()["data_nodes"][2].clone();
    assert_eq!(there["up"]["promotable"], false, "{there:#}");
    let listing = members(&lab);
    assert_eq!(row(&listing, "redis-c")["member"], "none");
    assert_eq!(
        row(&listing, "redis-b")["differs"][0],
        "does not have redis-c"
    );

    restart_each(&mut lab, &["redis-c"], "");
    let dry = ended_with(&lab.halab(&["member", "add", "redis-c", "--dry-run"]), 0);
    assert!(dry.contains("nothing was changed"), "{dry}");
    assert_eq!(members(&lab)["version"], listing["version"]);
    ended_with(&lab.halab(&["member", "add", "redis-c"]), 0);
    // It is done only when every Sentinel could promote the new one.
    assert_eq!(faults(&lab), Vec::<Value>::new());
    lab.wait_healthy();
    assert_eq!(row(&members(&lab), "redis-c")["member"], "full");
    // And a second time there is nothing to do.
    let version = members(&lab)["version"].clone();
    ended_with(&lab.halab(&["member", "add", "redis-c"]), 0);
    assert_eq!(members(&lab)["version"], version);

    // The writer, started with another lab.toml, goes on with whoever is primary.
    let primary = lab.primary().unwrap();
    let refused = ended_with(&lab.halab(&["member", "remove", &primary]), 5);
    assert!(refused.contains("halab handover"), "{refused}");
    lab.signal_server(&primary, Signal::KILL);
    lab.wait_failover_from(&primary);
    lab.wait_healthy();

    let primary = lab.primary().unwrap();
    let old = ["redis-a", "redis-b"]
        .into_iter()
        .find(|n| *n != primary)
        .unwrap();
    // A closed lab takes no change: that is said at once.
    ended_with(&lab.halab(&["close"]), 0);
    let refused = ended_with(&lab.halab(&["member", "remove", old]), 5);
    assert!(refused.contains("halab close --reopen"), "{refused}");
    ended_with(&lab.halab(&["close", "--reopen"]), 0);
    lab.wait_healthy();
    // Killed where it waits for the node to be stopped, and run again.
    let mut cut = lab
        .command()
        .args(["member", "remove", old])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("no writer to ask for it", || {
        row(&members(&lab), old)["member"] == "none"
    });
    cut.kill().unwrap();
    cut.wait().unwrap();
    lab.runner.stop_node(old);
    ended_with(&lab.halab(&["member", "remove", old]), 0);
    // While lab.toml still states it, nobody needs it, and that is all that is said.
    lab.wait_healthy();
    let problems = lab.status()["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 1, "{problems:#}");
    assert_eq!(problems[0]["code"], "not-full-member", "{problems:#}");
    let remedy = problems[0]["remedy"].as_str().unwrap();
    assert!(
        remedy.contains(&format!("remove {old} from lab.toml")),
        "{problems:#}"
    );
    unstate(&mut lab, NodeKind::Data, old);
    restart_each(&mut lab, &[old], "");
    lab.wait_healthy();
    assert_eq!(lab.status()["strangers"].as_array().unwrap().len(), 0);

    assert_goes_on_and_lost_nothing(&lab, writer);
}

#[test]
fn a_lost_data_node_is_replaced_by_one_of_another_address_under_load() {
    let (mut lab, writer) = under_load();
    let lost = lab.replica();
    lab.runner.kill_node(&lost);
    state(&mut lab, NodeKind::Data, "redis-c", 13);
    lab.runner.start_node("redis-c").unwrap();
    let dry = ["member", "replace", &lost, "redis-c", "--dry-run"];
    // All but the primary, which has nobody to hand over to.
    let primary = lab.primary().unwrap();
    restart_each(&mut lab, &["redis-c", &lost, &primary], &lost);
    ended_with(&lab.halab(&dry), 0);
    let done = ended_with(&lab.halab(&["member", "replace", &lost, "redis-c"]), 0);
    assert!(done.contains("halab handover"), "{done}");
    ended_with(&lab.halab(&["handover"]), 0);
    unstate(&mut lab, NodeKind::Data, &lost);
    restart_each(&mut lab, &[], "");
    lab.wait_healthy();
    let new = lab.primary().unwrap();
    lab.signal_server(&new, Signal::KILL);
    lab.wait_failover_from(&new);
    lab.wait_healthy();
    assert_goes_on_and_lost_nothing(&lab, writer);
}

#[test]
fn a_sentinel_is_replaced_under_load() {
    let (mut lab, writer) = under_load();
    let refused = ended_with(&lab.halab(&["member", "remove", "sentinel-3"]), 5);
    assert!(refused.contains("first add another Sentinel"), "{refused}");
    // It is not who was named at first.
    let primary = lab.primary().unwrap();
    ended_with(&lab.halab(&["handover"]), 0);
    lab.wait_failover_from(&primary);
    lab.wait_healthy();

    state(&mut lab, NodeKind::Sentinel, "sentinel-4", 24);
    unstate(&mut lab, NodeKind::Sentinel, "sentinel-3");
    lab.runner.start_node("sentinel-4").unwrap();
    wait_until("the new Sentinel to say that it is not a member", || {
        lab.log("sentinel-4")
            .contains("halab member add sentinel-4")
    });
    let refused = ended_with(&lab.halab(&["member", "add", "sentinel-4"]), 5);
    assert!(
        refused.contains("redis-a runs with a lab.toml without sentinel-4 at"),
        "{refused}"
    );
    restart_each(&mut lab, &["sentinel-4"], "");
    ended_with(&lab.halab(&["member", "add", "sentinel-4"]), 0);
    assert_eq!(row(&members(&lab), "sentinel-4")["member"], "full");
    wait_until("the new Sentinel to lead failovers", || {
        lab.log("sentinel-4").contains("may lead failovers")
    });
    let dry = ["member", "replace", "sentinel-3", "sentinel-4", "--dry-run"];
    let dry = ended_with(&lab.halab(&dry), 0);
    assert!(dry.contains("sentinel-3 would be removed"), "{dry}");
    let waits = lab
        .command()
        .args(["member", "replace", "sentinel-3", "sentinel-4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lab.runner.stop_node("sentinel-3");
    ended_with(&waits.wait_with_output().unwrap(), 0);
    lab.wait_healthy();
    // Both are members already: that would leave two, and a dry run says so.
    let replace = ["member", "replace", "sentinel-1", "sentinel-2", "--dry-run"];
    let refused = ended_with(&lab.halab(&replace), 5);
    assert!(refused.contains("first add another Sentinel"), "{refused}");
    // A majority of the new three fails over.
    let primary = lab.primary().unwrap();
    lab.runner.kill_node("sentinel-1");
    lab.runner.kill_node(&primary);
    lab.wait_failover_from(&primary);
    lab.runner.start_node("sentinel-1").unwrap();
    lab.runner.start_node(&primary).unwrap();
    lab.wait_healthy();
    assert_goes_on_and_lost_nothing(&lab, writer);
}

fn wait_without_problems(lab: &mut TestLab) {
    lab.wait_healthy();
    wait_until("a lab without any problem", || {
        lab.status()["problems"].as_array().unwrap().is_empty()
    });
}

#[test]
fn sentinels_without_memory_that_start_one_after_the_other_agree_and_lead() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "5000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    lab.stop();
    let sentinels = ["sentinel-1", "sentinel-2", "sentinel-3"];
    for sentinel in sentinels {
        fs::remove_dir_all(lab.path("state").join(sentinel)).unwrap();
    }
    // The data nodes list every Sentinel as a member before the first Sentinel asks them.
    for node in ["redis-a", "redis-b"] {
        lab.runner.start_node(node).unwrap();
        wait_until("its list of members", || {
            let Some(member_list) = lab.member_list_on(node) else {
                return false;
            };
            let full =
                |name| member_list.standing(MemberKind::Sentinel, name) == Some(Standing::Full);
            sentinels.into_iter().all(full)
        });
    }
    // A Sentinel has asked them before it starts its server.
    for node in sentinels {
        lab.runner.start_node(node).unwrap();
        wait_until("its server", || lab.server_pid(node).is_some());
    }
    wait_without_problems(&mut lab);
    lab.assert_nothing_lost(&ledger);
    let primary = lab.primary().unwrap();
    lab.runner.kill_node(&primary);
    lab.wait_failover_from(&primary);
    lab.runner.start_node(&primary).unwrap();
    wait_without_problems(&mut lab);
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn the_members_are_where_lab_toml_has_them_when_a_part_of_the_lab_has_moved() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "5000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    // The primary stays where it is.
    let replica = lab.replica();
    lab.stop();
    let down = ended_with(&lab.halab(&["member", "list"]), 4);
    assert!(down.contains("reports to be primary"), "{down}");
    let config = lab.path("lab.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    let hosts = match replica.as_str() {
        "redis-a" => [("11", "61"), ("21", "71"), ("22", "72"), ("23", "73")],
        _ => [("12", "62"), ("21", "71"), ("22", "72"), ("23", "73")],
    };
    for (before, now) in hosts {
        text = text.replace(&format!("127.0.0.{before}\""), &format!("127.0.0.{now}\""));
    }
    fs::write(&config, text).unwrap();
    read_again(&mut lab);
    ended_with(&lab.halab(&["move"]), 0);
    lab.start_again();
    wait_without_problems(&mut lab);
    let listing = members(&lab);
    for node in listing["nodes"].as_array().unwrap() {
        assert_eq!(node["member"], "full", "{listing:#}");
    }
    lab.assert_nothing_lost(&ledger);
    let writer = lab.start_writer_into("second", &["--count", "5000"]);
    let second = writer.ledger.clone();
    writer.assert_all_acknowledged();
    let primary = lab.primary().unwrap();
    lab.runner.kill_node(&primary);
    lab.wait_failover_from(&primary);
    lab.runner.start_node(&primary).unwrap();
    wait_without_problems(&mut lab);
    lab.assert_nothing_lost(&ledger);
    lab.assert_nothing_lost(&second);
}

#[test]
fn a_lost_sentinel_is_replaced() {
    let mut lab = TestLab::start();
    lab.runner.kill_node("sentinel-3");
    state(&mut lab, NodeKind::Sentinel, "sentinel-4", 24);
    unstate(&mut lab, NodeKind::Sentinel, "sentinel-3");
    lab.runner.start_node("sentinel-4").unwrap();
    restart_each(&mut lab, &["sentinel-4"], "sentinel-3");
    ended_with(
        &lab.halab(&["member", "replace", "sentinel-3", "sentinel-4"]),
        0,
    );
    wait_without_problems(&mut lab);
    let primary = lab.primary().unwrap();
    lab.runner.kill_node(&primary);
    lab.wait_failover_from(&primary);
    lab.runner.start_node(&primary).unwrap();
    wait_without_problems(&mut lab);
}

#[test]
fn another_address_in_one_lab_toml_moves_nobody() {
    let mut lab = TestLab::start();
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    let config = lab.path("lab.toml");
    let text = fs::read_to_string(&config).unwrap();
    let other = text.replace("127.0.0.23\"", "127.0.0.33\"");
    assert_ne!(other, text);

    // A data node that knows another address refuses, and names the remedy; its data is untouched.
    lab.runner.stop_node(&replica);
    fs::write(&config, &other).unwrap();
    let mut command = lab.command();
    let refused = command.args(["node", &replica]).output().unwrap();
    let refused = ended_with(&refused, 4);
    assert!(
        refused.contains("the address of sentinel-3 was"),
        "{refused}"
    );
    assert!(refused.contains("halab move"), "{refused}");

    // One without memory starts, copies, and may be promoted. The member that it has elsewhere is
    // down.
    fs::remove_dir_all(lab.path("state").join(&replica)).unwrap();
    let before = lab.log(&replica).len();
    lab.runner.start_node(&replica).unwrap();
    wait_until("its server, with that lab.toml", || {
        lab.log(&replica)[before..].contains("server started")
    });
    fs::write(&config, &text).unwrap();
    wait_until("it to be promotable", || {
        let nodes = lab.status()["data_nodes"].clone();
        let mut nodes = nodes.as_array().unwrap().iter();
        nodes.any(|n| n["name"] == *replica && n["up"]["promotable"] == true)
    });
    lab.runner.kill_node("sentinel-3");
    lab.runner.kill_node(&primary);
    lab.wait_failover_from(&primary);
    let writer = lab.start_writer(&["--count", "20000", "--rate", "10000"]);
    let ledger = writer.ledger.clone();
    writer.assert_all_acknowledged();
    let at = row(&members(&lab), "sentinel-3")["address"].clone();
    assert!(at.as_str().unwrap().contains(".23:"), "moved to {at}");
    lab.runner.start_node("sentinel-3").unwrap();
    lab.runner.start_node(&primary).unwrap();
    wait_until("both copies to be in sync", || {
        let nodes = lab.status()["data_nodes"].clone();
        let mut nodes = nodes.as_array().unwrap().iter();
        nodes.any(|n| n["name"] == *primary && n["up"]["promotable"] == true)
    });
    lab.assert_nothing_lost(&ledger);
}
