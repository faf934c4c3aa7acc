//! `halab node`: what it refuses, and what it leaves behind.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::lab::{HALAB, TestLab, children_of, is_running, wait_until};

#[test]
fn a_state_folder_in_use_is_refused_and_left_alone() {
    let lab = TestLab::start();
    let output = lab.halab(&["node", "redis-a"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4));
    assert!(text.contains("is in use by another halab node"), "{text}");
}

#[test]
fn a_killed_node_has_ended_together_with_its_server() {
    let mut lab = TestLab::start();
    for name in [
        "redis-a",
        "redis-b",
        "sentinel-1",
        "sentinel-2",
        "sentinel-3",
    ] {
        let server = lab.server_pid(name).unwrap();
        lab.runner.kill_node(name);
        assert!(
            !is_running(server.try_into().unwrap()),
            "{name}: its server is still there"
        );
    }
}

#[test]
fn an_address_that_is_taken_is_refused_and_nothing_is_made() {
    let mut lab = TestLab::start();
    lab.runner.stop_node("sentinel-3");
    let address = lab.lab.node("sentinel-3").unwrap().socket();
    let _other = TcpListener::bind(address).unwrap();
    let elsewhere = lab.path("elsewhere");
    let output = lab
        .command_with(&[("--state", &elsewhere)])
        .args(["node", "sentinel-3"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4));
    assert!(text.contains("another server uses it"), "{text}");
    assert!(!elsewhere.exists());
}

/// A Sentinel in a network namespace of its own, which gets the Sentinel's address only when the
/// node has said that it waits. Arguments: `halab`, the state folder, a file for the log.
const LATE_ADDRESS: &str = r#"
ip link set lo up
"$1" --config lab.toml --state "$2" node sentinel-1 > "$3" 2>&1 &
node=$!
trap 'kill $node' EXIT
await() {
    for _ in $(seq 600); do
        if "$@"; then return; fi
        sleep 0.1
    done
    echo "not within a minute: $*" >&2
    exit 1
}
await grep -q "waiting for the address" "$3"
kill -0 $node
ip address add 10.77.0.21/32 dev lo
await "$1" --config lab.toml --state "$2" health sentinel-1
"#;

#[test]
fn a_node_waits_for_an_address_that_comes_late() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = std::fs::read_to_string("lab.toml").unwrap();
    let elsewhere = shipped.replace("127.0.0.", "10.77.0.");
    std::fs::write(dir.path().join("lab.toml"), elsewhere).unwrap();
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-ec",
            LATE_ADDRESS,
            "sh",
        ])
        .arg(HALAB)
        .args(["state", "node.log"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let log = std::fs::read_to_string(dir.path().join("node.log")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{log}");
}

#[test]
fn a_server_that_is_missing_or_too_old_is_refused_and_nothing_is_made() {
    let mut lab = TestLab::start();
    lab.runner.stop_node("sentinel-3");
    let elsewhere = lab.path("elsewhere");
    let old = lab.path("redis-server-6");
    std::fs::write(
        &old,
        "#!/bin/sh\necho 'Redis server v=6.2.7 sha=0:0 bits=64'\n",
    )
    .unwrap();
    let mut permissions = std::fs::metadata(&old).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&old, permissions).unwrap();
    let missing = lab.path("no-such-server");
    for (server, reason) in [(missing, "no-such-server"), (old, "at least Redis 7.0")] {
        let output = lab
            .command_with(&[("--state", &elsewhere), ("--redis-server", &server)])
            .args(["node", "sentinel-3"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4));
        assert!(text.contains(reason), "{text}");
        assert!(!elsewhere.exists());
    }
}

#[test]
fn a_killed_parent_leaves_no_server_behind() {
    let mut lab = TestLab::start();
    let server = lab.server_pid("redis-b").unwrap();
    lab.runner.kill_node("redis-b");
    let pid = Pid::from_raw(server).unwrap();
    wait_until("the server to end with its parent", || {
        test_kill_process(pid).is_err()
    });
    // And the next start finds its state and joins again.
    lab.runner.start_node("redis-b").unwrap();
    lab.wait_healthy();
    assert_eq!(lab.primary().as_deref(), Some("redis-a"));
}

#[test]
fn a_second_ctrl_c_ends_a_lab_whose_nodes_do_not_stop() {
    let mut lab = TestLab::start();
    lab.runner.stop();
    let log = lab.path("up.log");
    let mut up = lab
        .command()
        .args(["up", "--no-monitoring", "--no-proxy", "--no-web"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    lab.wait_healthy();
    let nodes = children_of(up.id());
    assert_eq!(nodes.len(), 5);
    let parents = nodes.iter().map(|pid| u32::try_from(*pid).unwrap());
    let servers: Vec<i32> = parents.flat_map(children_of).collect();
    assert_eq!(servers.len(), 5);
    // It does not hear that it is to stop.
    let pid = |pid| Pid::from_raw(pid).unwrap();
    kill_process(pid(nodes[0]), Signal::STOP).unwrap();
    let interrupt = || kill_process(Pid::from_child(&up), Signal::INT).unwrap();
    interrupt();
    wait_until("the first Ctrl-C to be heard", || {
        std::fs::read_to_string(&log)
            .unwrap()
            .contains("stopping all nodes")
    });
    interrupt();
    // By the second signal, and not by the end of its patience.
    assert_eq!(up.wait().unwrap().code(), Some(130));
    for process in nodes.into_iter().chain(servers) {
        wait_until("every process of the lab to end", || {
            !is_running(u32::try_from(process).unwrap())
        });
    }
}

#[test]
fn a_node_ends_with_the_status_of_its_server() {
    let mut lab = TestLab::start();
    lab.runner.stop_node("sentinel-3");
    let mut node = lab
        .command()
        .args(["node", "sentinel-3"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = None;
    wait_until("the Sentinel's server", || {
        server = children_of(node.id()).into_iter().next();
        server.is_some() && serves(&lab, "sentinel-3")
    });
    kill_process(Pid::from_raw(server.unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(128 + 9));
}

fn serves(lab: &TestLab, node: &str) -> bool {
    let mut health: Command = lab.command();
    health
        .args(["health", node])
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .success()
}
