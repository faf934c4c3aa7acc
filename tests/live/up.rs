//! `halab up`, and single nodes of it that are stopped and started on request.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::lab::{DEADLINE, TestLab, children_of, wait_until};

/// A running `halab up`; its nodes end with it.
struct Up(Child);

impl Up {
    fn start(lab: &mut TestLab) -> Self {
        lab.runner.stop();
        let child = lab
            .command()
            .args(["up", "--no-monitoring", "--no-proxy"])
            .stdout(Stdio::null())
            .stderr(File::create(lab.path("up.log")).unwrap())
            .spawn()
            .unwrap();
        let up = Up(child);
        lab.wait_healthy();
        up
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Ends it as Ctrl-C does. Returns its exit code.
    fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        wait_until("halab up to end", || !self.is_running());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(lab: &TestLab, option: &str, node: &str) -> Output {
    lab.halab(&["up", option, node])
}

/// What it prints on standard output.
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What it prints on standard error, with this exit code.
fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether this node serves.
fn runs(lab: &TestLab, node: &str) -> bool {
    lab.halab(&["health", node]).status.success()
}

#[test]
fn one_node_of_halab_up_is_stopped_and_started_on_request() {
    let mut lab = TestLab::start();
    let nobody = refused(&ask(&lab, "--stop", "redis-a"), 5);
    assert!(nobody.contains("start the lab: halab up"), "{nobody}");

    let mut up = Up::start(&mut lab);
    let primary = lab.primary().unwrap();
    let unknown = refused(&ask(&lab, "--stop", "redis-z"), 2);
    assert!(unknown.contains("redis-a, redis-b"), "{unknown}");
    assert_eq!(
        done(&ask(&lab, "--start", &primary)),
        format!("{primary} runs already")
    );

    // A planned stop of the primary: it hands over.
    assert_eq!(
        done(&ask(&lab, "--stop", &primary)),
        format!("stopped {primary}")
    );
    assert!(!runs(&lab, &primary));
    let new = lab.primary().unwrap();
    assert_ne!(new, primary);
    assert_eq!(
        done(&ask(&lab, "--stop", &primary)),
        format!("{primary} does not run")
    );
    assert_eq!(
        done(&ask(&lab, "--start", &primary)),
        format!("started {primary}")
    );
    lab.wait_healthy();
    assert_eq!(lab.role(&primary), "replica");

    // All of them, and halab up goes on.
    let names: Vec<String> = lab.lab.nodes().map(|node| node.name.clone()).collect();
    for name in &names {
        done(&ask(&lab, "--stop", name));
    }
    assert!(up.is_running());
    for name in &names {
        done(&ask(&lab, "--start", name));
    }
    lab.wait_healthy();
    assert_eq!(up.end(), Some(0));
    assert!(!lab.path("state/up.sock").exists());
    let log = fs::read_to_string(lab.path("up.log")).unwrap();
    assert!(!log.contains("node exited"), "{log}");
}

/// Kills the supervisor of a node, whose server ends with it.
fn kill_node(up: &Up, node: &str) {
    let is_of_node = |pid: &i32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        words.ends_with(&format!("\0node\0{node}\0"))
    };
    let pid = children_of(up.0.id()).into_iter().find(is_of_node).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_node_that_ended_by_itself_is_a_failure_of_halab_up_until_it_is_started_again() {
    let mut lab = TestLab::start();
    let up = Up::start(&mut lab);
    let log = || fs::read_to_string(lab.path("up.log")).unwrap();
    kill_node(&up, "redis-a");
    wait_until("halab up to notice", || log().contains("node exited"));
    done(&ask(&lab, "--start", "redis-a"));
    lab.wait_healthy();
    assert_eq!(up.end(), Some(0));

    let up = Up::start(&mut lab);
    let log = || fs::read_to_string(lab.path("up.log")).unwrap();
    kill_node(&up, "redis-b");
    wait_until("halab up to notice", || log().contains("node exited"));
    assert_eq!(up.end(), Some(4));
}

#[test]
fn the_page_of_halab_up_stops_and_starts_a_node() {
    let mut lab = TestLab::start();
    let up = Up::start(&mut lab);
    let page = lab.lab.monitoring.as_ref().unwrap().web_socket();
    let token = || fs::read_to_string(lab.path("state/web/token"));
    wait_until("the page", || {
        token().is_ok() && TcpStream::connect(page).is_ok()
    });
    let token = token().unwrap();
    let replica = lab.replica();
    for fault in ["stop-node", "start-node"] {
        let body =
            format!("{{\"fault\": \"{fault}\", \"node\": \"{replica}\", \"confirmed\": true}}");
        let mut stream = TcpStream::connect(page).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            stream,
            "POST /api/faults HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            token.trim(),
            body.len(),
        )
        .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        assert!(fault == "start-node" || !runs(&lab, &replica));
    }
    lab.wait_healthy();
    assert_eq!(up.end(), Some(0));
}

#[test]
fn a_second_halab_up_in_a_state_folder_is_refused_and_touches_nothing() {
    let mut lab = TestLab::start();
    let up = Up::start(&mut lab);
    done(&ask(&lab, "--stop", "redis-b"));
    let second = lab.halab(&["up", "--no-monitoring", "--no-proxy", "--no-web"]);
    let why = refused(&second, 5);
    assert!(why.contains("another `halab up` runs"), "{why}");
    // Neither started by it nor closed.
    assert!(!runs(&lab, "redis-b"));
    assert!(runs(&lab, "redis-a"));
    done(&ask(&lab, "--start", "redis-b"));
    lab.wait_healthy();
    assert_eq!(up.end(), Some(0));
}
