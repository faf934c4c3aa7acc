//! `halab verify` while the lab changes under it: what is not lost is never called lost, and what
//! is lost always is.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis_ha_lab::checker::History;
use redis_ha_lab::ledger::LedgerReader;
use redis_ha_lab::record::Batch;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::hostile::sentinel_that_names;
use super::lab::{TestLab, wait_until};
use super::liar::{Liar, Say, array};

/// A verification is started that often, as long as fewer than `AT_ONCE` are at work.
const EVERY: Duration = Duration::from_millis(50);
const AT_ONCE: usize = 16;

/// Writes some thousand records, and returns their ledger.
fn records(lab: &TestLab) -> String {
    let writer = lab.start_writer(&["--count", "3000"]);
    let ledger = writer.ledger.display().to_string();
    writer.assert_all_acknowledged();
    ledger
}

fn start_verify(lab: &TestLab, ledger: &str, more: &[&str]) -> Child {
    lab.command()
        .args(["verify", "--json", "--ledger", ledger])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn verify(lab: &TestLab, ledger: &str, more: &[&str]) -> Output {
    let child = start_verify(lab, ledger, more);
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{:?} {}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)))
}

fn history(ledger: &Path) -> History {
    History::read(&mut LedgerReader::open(ledger).unwrap()).unwrap()
}

/// The key of a record of the ledger's run.
fn key(ledger: &str, seq: u64) -> String {
    let header = history(Path::new(ledger)).header().clone();
    let mut key = Vec::new();
    Batch::new(header.run, header.start).push_key(seq, &mut key);
    String::from_utf8(key).unwrap()
}

/// Asks a data node as the operator.
fn ask(lab: &TestLab, node: &str, words: &[&str]) -> String {
    let output = lab.halab(&[&["cli", "--user", "operator", node], words].concat());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Kills the server of the primary, and goes on starting verifications until the lab is whole
/// again. All that they said, once each has ended.
fn verify_over_a_failover(lab: &TestLab, ledger: &str) -> Vec<Output> {
    let primary = lab.primary().unwrap();
    lab.signal_server(&primary, Signal::KILL);
    let mut healthy = lab
        .command()
        .args(["status", "--wait", "60s"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut running: Vec<Child> = Vec::new();
    let mut said = Vec::new();
    let mut next = Instant::now();
    let mut whole = false;
    while !whole || !running.is_empty() {
        if !whole && Instant::now() >= next && running.len() < AT_ONCE {
            running.push(start_verify(lab, ledger, &[]));
            next = Instant::now() + EVERY;
        }
        for mut child in running.extract_if(.., |child| child.try_wait().unwrap().is_some()) {
            child.wait().unwrap();
            said.push(child.wait_with_output().unwrap());
        }
        whole = whole || healthy.try_wait().unwrap().is_some();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        healthy.wait().unwrap().success(),
        "the lab did not become whole again"
    );
    assert_ne!(lab.primary().unwrap(), primary, "there was no failover");
    said
}

#[test]
fn nothing_is_called_lost_during_a_failover() {
    let lab = TestLab::start();
    // What the killed node has to copy before it has the records again, which takes it a moment.
    lab.start_writer_into("more.ledger", &["--count", "300000"])
        .assert_all_acknowledged();
    let ledger = records(&lab);
    let (mut held, mut open) = (0, 0);
    for _ in 0..3 {
        for output in verify_over_a_failover(&lab, &ledger) {
            match output.status.code() {
                Some(0) => held += 1,
                Some(3) => open += 1,
                _ => panic!("{}", text(&output)),
            }
        }
    }
    eprintln!("{held} held, {open} inconclusive");
    assert!(held > 0);
    let output = verify(&lab, &ledger, &["--scan"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(report(&output)["primary"]["counts"]["ok"], 3000);
}

#[test]
fn a_record_that_is_lost_is_called_lost_also_during_a_failover() {
    let lab = TestLab::start();
    let ledger = records(&lab);
    let gone = key(&ledger, 1234);
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    assert_eq!(ask(&lab, &primary, &["del", &gone]), "1");
    wait_until("the deletion to be replicated", || {
        ask(&lab, &replica, &["exists", &gone]) == "0"
    });
    let output = verify(&lab, &ledger, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report = report(&output);
    for node in [&report["primary"], &report["replicas"][0]["report"]] {
        assert_eq!(node["lost"]["ranges"][0]["start"], 1234, "{report:#}");
        assert_eq!(node["lost"]["count"], 1, "{report:#}");
    }
    let said = verify_over_a_failover(&lab, &ledger);
    assert!(
        said.iter().any(|output| output.status.code() == Some(1)),
        "nobody found the loss"
    );
    for output in said {
        assert!(
            matches!(output.status.code(), Some(1 | 3)),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn a_primary_that_does_not_come_back_is_not_called_empty() {
    let mut lab = TestLab::start();
    let ledger = records(&lab);
    // Nobody is left to be promoted, so the Sentinels go on naming it.
    lab.runner.kill_node("redis-b");
    lab.runner.kill_node("redis-a");
    let output = verify(&lab, &ledger, &["--wait", "500ms"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let report = report(&output);
    assert_eq!(report["verdict"], "inconclusive");
    assert_eq!(report["primary"]["node"], "redis-a");
    assert_eq!(report["primary"]["lost"]["count"], 0);
    assert_eq!(report["primary"]["unread"]["count"], 3000);
    let why = report["primary"]["reasons"].to_string();
    assert!(why.contains("redis-a: cannot connect to"), "{why}");
    assert!(
        report["changes"][0]
            .as_str()
            .unwrap()
            .contains("cannot connect")
    );
}

#[test]
fn the_newest_records_of_a_writer_at_work_are_no_strangers() {
    let lab = TestLab::start();
    let writer = lab.start_writer(&["--duration", "10m", "--rate", "5000"]);
    writer.wait_invoked(5000);
    let ledger = writer.ledger.display().to_string();
    for more in [&[][..], &["--scan"]] {
        let output = verify(&lab, &ledger, more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let report = report(&output);
        assert_eq!(report["primary"]["ledger"]["end"], "open", "{report:#}");
        assert_eq!(report["primary"]["unexpected"]["count"], 0, "{report:#}");
    }
    writer.signal(Signal::TERM);
    writer.assert_all_acknowledged();
    // One that was never sent is.
    let stranger = key(&ledger, history(Path::new(&ledger)).invoked());
    assert_eq!(
        ask(&lab, &lab.primary().unwrap(), &["set", &stranger, "x"]),
        "OK"
    );
    let output = verify(&lab, &ledger, &["--scan"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(report(&output)["primary"]["unexpected"]["count"], 1);
}

/// A data node of which nothing is true; it has no record, and answers every `SCAN` with another
/// one to come.
#[derive(Debug, Clone)]
struct Pretence {
    run_id: String,
    history: String,
    /// As a replica: of whom.
    of: Option<SocketAddrV4>,
    offset: u64,
}

impl Pretence {
    fn primary() -> Self {
        Pretence {
            run_id: "a".repeat(40),
            history: "b".repeat(40),
            of: None,
            offset: 1000,
        }
    }

    fn answers(&self, command: &str) -> Say {
        let mut words = command.split(' ');
        Say::Bytes(match words.next() {
            Some("INFO") => {
                let role = match self.of {
                    None => "role:master".to_owned(),
                    Some(of) => format!(
                        "role:slave\r\nmaster_host:{}\r\nmaster_port:{}\r\nmaster_link_status:up\r\n\
                         slave_repl_offset:{}\r\nslave_priority:100",
                        of.ip(),
                        of.port(),
                        self.offset
                    ),
                };
                let Pretence {
                    run_id,
                    history,
                    offset,
                    ..
                } = self;
                let info = format!(
                    "run_id:{run_id}\r\n{role}\r\nmaster_replid:{history}\r\nmaster_repl_offset:{offset}\r\n"
                );
                format!("${}\r\n{info}\r\n", info.len()).into_bytes()
            }
            Some("ROLE") => match self.of {
                None => format!("*3\r\n$6\r\nmaster\r\n:{}\r\n*0\r\n", self.offset),
                Some(of) => format!(
                    "*5\r\n$5\r\nslave\r\n${}\r\n{}\r\n:{}\r\n$9\r\nconnected\r\n:{}\r\n",
                    of.ip().to_string().len(),
                    of.ip(),
                    of.port(),
                    self.offset
                ),
            }
            .into_bytes(),
            Some("MGET") => {
                let nothing: Vec<_> = words.map(|_| "$-1\r\n").collect();
                format!("*{}\r\n{}", nothing.len(), nothing.concat()).into_bytes()
            }
            Some("SCAN") => [b"*2\r\n$1\r\n7\r\n".to_vec(), array(&[])].concat(),
            _ => b"+OK\r\n".to_vec(),
        })
    }
}

/// What is different of a pretence, given something that was not said before.
type Changes = fn(Pretence, String) -> Pretence;

const STEADY: Changes = |pretence, _| pretence;
const RESTARTS: Changes = |pretence, run_id| Pretence { run_id, ..pretence };
const IN_OTHER_HISTORIES: Changes = |pretence, history| Pretence {
    history,
    ..pretence
};
const BEHIND: Changes = |pretence, _| Pretence {
    offset: 1,
    ..pretence
};

/// A number that was not said before.
fn new(asked: &AtomicU64) -> u64 {
    asked.fetch_add(1, Ordering::SeqCst)
}

fn changing(pretence: Pretence, changes: Changes) -> impl Fn(&str) -> Say + Send + Sync {
    let asked = AtomicU64::new(1);
    move |command| changes(pretence.clone(), format!("{:040}", new(&asked))).answers(command)
}

#[test]
fn an_empty_primary_has_lost_everything_only_if_it_was_the_primary_all_the_time() {
    let mut lab = TestLab::start();
    let ledger = records(&lab);
    lab.runner.stop();
    let primary = lab.lab.data_nodes[0].socket();
    for (changes, epoch_rises, code, why) in [
        (STEADY, false, 1, ""),
        (RESTARTS, false, 3, "redis-a was restarted"),
        (
            IN_OTHER_HISTORIES,
            false,
            3,
            "redis-a has changed its replication history",
        ),
        (STEADY, true, 3, "the Sentinels now name redis-a at epoch"),
    ] {
        let data = Liar::start(primary, Box::new(changing(Pretence::primary(), changes)));
        let sentinels = lab.lab.sentinels.iter().map(|node| {
            let asked = AtomicU64::new(1);
            let answers = move |command: &str| {
                let asks = command.starts_with("SENTINEL MASTER");
                let epoch = if epoch_rises && asks { new(&asked) } else { 1 };
                sentinel_that_names(primary, epoch)(command)
            };
            Liar::start(node.socket(), Box::new(answers))
        });
        let sentinels: Vec<Liar> = sentinels.collect();
        let output = verify(&lab, &ledger, &["--wait", "500ms"]);
        assert_eq!(output.status.code(), Some(code), "{why}: {}", text(&output));
        let report = report(&output);
        let reasons = report["primary"]["reasons"].to_string();
        assert!(reasons.contains(why), "{report:#}");
        let lost = if code == 1 { 3000 } else { 0 };
        assert_eq!(
            report["primary"]["lost"]["count"], lost,
            "{why}: {report:#}"
        );
        drop((data, sentinels));
    }
}

/// An empty replica of redis-a in the place of redis-b, in sync but for what `changes` makes of it.
fn in_place_of_the_replica(lab: &mut TestLab, changes: Changes) -> Liar {
    let info = ask(lab, "redis-a", &["info", "replication"]);
    let mut lines = info.lines();
    let history = lines.find_map(|line| line.trim().strip_prefix("master_replid:"));
    if lab.runner.pid_of("redis-b").is_some() {
        lab.runner.kill_node("redis-b");
    }
    let pretence = Pretence {
        history: history.unwrap().to_owned(),
        of: Some(lab.lab.data_nodes[0].socket()),
        offset: 1_000_000_000_000,
        ..Pretence::primary()
    };
    let at = lab.lab.data_nodes[1].socket();
    Liar::start(at, Box::new(changing(pretence, changes)))
}

#[test]
fn an_empty_replica_has_lost_everything_only_if_it_was_in_sync_all_the_time() {
    let mut lab = TestLab::start();
    let ledger = records(&lab);
    for (changes, code, why) in [
        (STEADY, 1, None),
        (RESTARTS, 3, Some("redis-b was restarted")),
        (
            IN_OTHER_HISTORIES,
            3,
            Some("redis-b is in another replication history than redis-a"),
        ),
        (BEHIND, 3, Some("redis-b did not catch up: at offset 1 of")),
    ] {
        let liar = in_place_of_the_replica(&mut lab, changes);
        let output = verify(&lab, &ledger, &["--wait", "500ms"]);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{why:?}: {}",
            text(&output)
        );
        let report = report(&output);
        assert_eq!(report["primary"]["verdict"], "holds", "{report:#}");
        let replica = &report["replicas"][0];
        match why {
            None => assert_eq!(replica["report"]["lost"]["count"], 3000, "{report:#}"),
            Some(why) => {
                let said = replica["not_read"].as_str().unwrap();
                assert!(said.starts_with(why), "{said}");
            }
        }
        drop(liar);
    }
}

#[test]
fn a_stop_during_the_last_scan_gives_no_verdict() {
    let mut lab = TestLab::start();
    let ledger = records(&lab);
    let liar = in_place_of_the_replica(&mut lab, STEADY);
    let child = start_verify(&lab, &ledger, &["--scan"]);
    wait_until("the scan", || {
        liar.heard()
            .iter()
            .any(|command| command.starts_with("SCAN"))
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(
        text(&output).contains("stopped before"),
        "{}",
        text(&output)
    );
    assert_eq!(output.stdout, b"", "a verdict after a stop");
}
