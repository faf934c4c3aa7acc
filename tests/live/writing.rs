//! Writing and verifying while nothing goes wrong, and when the writer itself does.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::lab::{Shape, TestLab, wait_until};

#[test]
fn a_thousand_records_are_acknowledged_and_found_on_every_node() {
    let lab = TestLab::start();
    let writer = lab.start_writer(&[]);
    let ledger = writer.ledger.clone();
    let summary = writer.assert_all_acknowledged();
    assert_eq!(summary["acknowledged"], 1000);
    assert_eq!(summary["replicated"], 1000);
    let report = lab.assert_nothing_lost(&ledger);
    assert_eq!(report["primary"]["counts"]["acknowledged"], 1000);
    assert_eq!(report["replicas"][0]["report"]["verdict"], "holds");
}

#[test]
fn a_lab_of_three_data_nodes_and_five_sentinels_confirms_on_all() {
    let lab = TestLab::start_as(Shape {
        data_nodes: 3,
        sentinels: 5,
        ..Shape::default()
    });
    let writer = lab.start_writer(&["--count", "5000"]);
    let ledger = writer.ledger.clone();
    let summary = writer.assert_all_acknowledged();
    assert_eq!(summary["replicated"], 5000);
    let report = lab.assert_nothing_lost(&ledger);
    assert_eq!(report["replicas"].as_array().unwrap().len(), 2);
}

#[test]
fn ctrl_c_ends_the_writer_with_its_summary_and_nothing_unknown() {
    let lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "2000"]);
    writer.wait_invoked(1000);
    let ledger = writer.ledger.clone();
    writer.signal(Signal::INT);
    let summary = writer.assert_all_acknowledged();
    assert!(summary["acknowledged"].as_u64().unwrap() > 0);
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_killed_writer_resumes_its_run_from_the_ledger() {
    let lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "2000000"]);
    writer.wait_invoked(20_000);
    let ledger = writer.ledger.clone();
    writer.signal(Signal::KILL);
    assert_eq!(writer.finish().0, None);
    lab.assert_nothing_lost(&ledger);
    // What was left unknown is sent again first, then the count is filled up.
    let before = lab.halab(&[
        "verify",
        "--json",
        "--ledger",
        &ledger.display().to_string(),
    ]);
    let before: serde_json::Value = serde_json::from_slice(&before.stdout).unwrap();
    let known = before["primary"]["counts"]["invoked"].as_u64().unwrap();
    let count = (known + 1000).to_string();
    let summary = lab
        .start_writer(&["--resume", "--count", &count])
        .assert_all_acknowledged();
    assert_eq!(summary["invoked"], known + 1000);
    let report = lab.assert_nothing_lost(&ledger);
    assert_eq!(report["primary"]["counts"]["unknown"], 0);
}

#[test]
fn what_a_killed_writer_left_unknown_stays_so_when_its_resumption_ends_early() {
    let mut lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "2000000"]);
    writer.wait_invoked(20_000);
    let ledger = writer.ledger.clone();
    writer.signal(Signal::KILL);
    writer.finish();
    for name in ["sentinel-1", "sentinel-2"] {
        lab.runner.kill_node(name);
    }
    // It can't connect to anyone, so it sends nothing itself; the killed one had.
    let (code, summary, log) = lab.start_writer(&["--resume", "--patience", "1s"]).finish();
    assert_eq!(code, Some(4), "{log}");
    assert!(summary["unknown"].as_u64().unwrap() > 0, "{summary:#}");
    assert_eq!(summary["failed"], 0, "{summary:#}");
    for name in ["sentinel-1", "sentinel-2"] {
        lab.runner.start_node(name).unwrap();
    }
    lab.wait_healthy();
    lab.assert_nothing_lost(&ledger);
}

#[test]
fn a_ledger_is_never_overwritten() {
    let lab = TestLab::start();
    lab.start_writer(&[]).assert_all_acknowledged();
    let (code, _, log) = lab.start_writer(&[]).finish();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("writer.ledger"), "{log}");
}

#[test]
fn without_a_majority_of_sentinels_the_writer_gives_up_and_says_why() {
    let mut lab = TestLab::start();
    for name in ["sentinel-1", "sentinel-2"] {
        lab.runner.kill_node(name);
    }
    let (code, summary, log) = lab.start_writer(&["--patience", "1s"]).finish();
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("1 of 3 Sentinels answered"), "{log}");
    assert_eq!(summary["acknowledged"], 0);
}

#[test]
fn a_primary_that_refuses_writes_is_named_with_what_helps() {
    let lab = TestLab::start();
    let maxmemory = |value| {
        let set = ["cli", "redis-a", "-e", "config", "set", "maxmemory", value];
        assert!(lab.halab(&set).status.success());
    };
    maxmemory("1");
    let (code, summary, log) = lab.start_writer(&["--patience", "1s"]).finish();
    assert_eq!(code, Some(4), "{log}");
    let remedy = "maxmemory is reached (OOM): raise it or delete keys";
    // Told when it begins, and as the reason for giving up; not for each batch in between.
    assert_eq!(log.matches(remedy).count(), 2, "{log}");
    assert_eq!(summary["acknowledged"], 0);
    // Refused before they were executed.
    assert_eq!(summary["failed"], summary["invoked"]);

    maxmemory("0");
    lab.start_writer_into("later.ledger", &[])
        .assert_all_acknowledged();
    lab.assert_nothing_lost(&lab.path("later.ledger"));
}

/// redis-cli on the primary: one connection for several commands, since a full server refuses
/// another.
struct CliSession {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl CliSession {
    fn start(lab: &TestLab) -> Self {
        let mut command = lab.command();
        let command = command.args(["cli", &lab.primary().unwrap(), "-e"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        CliSession {
            stdin: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    /// The first line of the answer.
    fn ask(&mut self, command: &str) -> String {
        writeln!(self.stdin, "{command}").unwrap();
        self.answers.next().unwrap().unwrap()
    }

    fn end(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().unwrap().success());
    }
}

/// The log of a writer whose connections the primary no longer accepts, after this command there.
fn log_of_a_refused_writer(command: &str) -> String {
    let lab = TestLab::start();
    let writer = lab.start_writer(&["--count", "100000000", "--rate", "500", "--patience", "3s"]);
    writer.wait_invoked(1000);
    let mut cli = CliSession::start(&lab);
    assert_eq!(cli.ask(command), "OK");
    cli.ask("CLIENT KILL USER writer");
    cli.end();
    let (code, summary, log) = writer.finish();
    assert_eq!(code, Some(4), "{log}");
    assert!(summary["acknowledged"].as_u64() > Some(0), "{summary:#}");
    log
}

#[test]
fn a_writer_whose_password_is_no_longer_accepted_gives_that_reason() {
    let log = log_of_a_refused_writer("ACL SETUSER writer resetpass >another-password");
    assert!(log.contains("WRONGPASS"), "{log}");
    assert!(log.lines().count() < 20, "{log}");
}

#[test]
fn a_writer_that_a_full_server_refuses_gives_that_reason() {
    let log = log_of_a_refused_writer("CONFIG SET maxclients 1");
    assert!(log.contains("max number of clients reached"), "{log}");
    assert!(log.lines().count() < 20, "{log}");
}

#[test]
fn connections_that_a_full_server_refuses_are_counted_and_the_others_write_on() {
    let lab = TestLab::start();
    let info = lab.halab(&["cli", &lab.primary().unwrap(), "-e", "INFO", "clients"]);
    let info = String::from_utf8(info.stdout).unwrap();
    let mut lines = info.lines();
    let clients = lines.find_map(|l| l.strip_prefix("connected_clients:"));
    let clients: u32 = clients.unwrap().trim().parse().unwrap();
    let mut cli = CliSession::start(&lab);
    let mut limit = clients;
    let mut set_limit = |to: u32| assert_eq!(cli.ask(&format!("CONFIG SET maxclients {to}")), "OK");
    set_limit(limit);
    let writer = lab.start_writer(&["--count", "100000000", "--connections", "30"]);
    let refused = || lab.of_writer("halab_writer_refused_connections");
    let acknowledged = "halab_writer_records_acknowledged_total{acknowledgement=\"replicated\"}";
    // Room for discovery, the keeper and a few of the connections that write: step by step, since
    // the lab's own connections come and go. Refused ones are tried again after 2 s at most.
    let mut raised = Instant::now();
    wait_until("some connections to be refused, others to write", || {
        if lab.of_writer(acknowledged) > Some(10_000.0) {
            return refused() > Some(0.0);
        }
        if raised.elapsed() > Duration::from_secs(3) {
            limit += 2;
            set_limit(limit);
            raised = Instant::now();
        }
        false
    });
    let before = lab.of_writer(acknowledged).unwrap();
    wait_until("the others to write on", || {
        lab.of_writer(acknowledged) > Some(before + 10_000.0)
    });
    assert!(refused() > Some(0.0));
    set_limit(200);
    cli.end();
    wait_until("the connections to be accepted", || refused() == Some(0.0));
    writer.signal(Signal::INT);
    let ledger = writer.ledger.clone();
    let (code, summary, log) = writer.finish();
    assert_eq!(summary["failed"], 0, "{code:?} {summary:#}\n{log}");
    assert_eq!(summary["unknown"], 0, "{summary:#}\n{log}");
    lab.assert_nothing_lost(&ledger);
}
