//! Peers that lie, played on real sockets: what they say is never acknowledged, never followed, and
//! never fills the memory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_ha_lab::access::{Secrets, User};
use redis_ha_lab::client::Connector;
use redis_ha_lab::handover::{HandoverError, hand_over_unless};
use redis_ha_lab::runner::ClaimedSubnet;
use redis_ha_lab::sentinel::SentinelClients;
use tokio_util::sync::CancellationToken;

use super::lab::{DEADLINE, HALAB, TestLab, is_running, wait_until};
use super::liar::{Liar, Say, array};

/// What the writer, or a node, may have had in memory at most. It is a third of this with the truth
/// alone, and a liar says that much in a third of a second.
const PEAK_KIB: u64 = 32 * 1024;

/// A Sentinel that names `primary`, healthy, at this epoch, with the replica that makes it look
/// right.
pub fn sentinel_that_names(
    primary: SocketAddrV4,
    epoch: u64,
) -> impl Fn(&str) -> Say + Send + Sync {
    move |command| {
        let (ip, port) = (primary.ip().to_string(), primary.port().to_string());
        let epoch = epoch.to_string();
        Say::Bytes(match command.split(' ').nth(1) {
            Some("MASTER") => array(&[
                "name",
                "halab",
                "ip",
                &ip,
                "port",
                &port,
                "runid",
                "7".repeat(40).as_str(),
                "flags",
                "master",
                "last-ok-ping-reply",
                "10",
                "role-reported",
                "master",
                "info-refresh",
                "10",
                "config-epoch",
                &epoch,
                "num-slaves",
                "0",
                "num-other-sentinels",
                "2",
                "quorum",
                "2",
            ]),
            Some("REPLICAS") => b"*0\r\n".to_vec(),
            _ => b"+OK\r\n".to_vec(),
        })
    }
}

/// Something that would be written to, if anybody came.
fn primary_that_takes_everything(command: &str) -> Say {
    Say::Bytes(match command.split(' ').next() {
        Some("ROLE") => b"*3\r\n$6\r\nmaster\r\n:1000000\r\n*0\r\n".to_vec(),
        Some("WAIT") => b":9\r\n".to_vec(),
        Some("INFO") => b"$13\r\nrole:master\r\n\r\n".to_vec(),
        Some("PING") => b"+PONG\r\n".to_vec(),
        _ => b"+OK\r\n".to_vec(),
    })
}

/// What is no answer to what `halab` asks. Others that connect there are real servers, which some
/// of it would end (docs/security.md); they get an error.
fn nonsense() -> Vec<(&'static str, Box<super::liar::Answers>)> {
    let megabyte = || vec![b'a'; 1 << 20];
    let forever = |begin: &[u8], then: Vec<u8>| Say::Forever(begin.to_vec(), then);
    let all = [
        (
            "a string without an end",
            forever(b"$536870912\r\n", megabyte()),
        ),
        ("a line without an end", forever(b"+", megabyte())),
        (
            "an array without an end",
            forever(b"*2000000000\r\n", b"$1\r\na\r\n".repeat(10_000)),
        ),
        ("arrays in arrays", forever(b"", b"*1\r\n".repeat(10_000))),
        (
            "answers that nobody asked for",
            forever(b"", b"+OK\r\n".repeat(10_000)),
        ),
        (
            "half an answer",
            Say::Last(b"*26\r\n$4\r\nname\r\n$5\r\nha".to_vec()),
        ),
        (
            "another protocol",
            Say::Last(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ),
        (
            "an error with control characters",
            Say::Bytes(b"-ERR \x1b[2J\x07\r\n".to_vec()),
        ),
    ];
    let asked_by_halab = ["SENTINEL", "PSUBSCRIBE", "ROLE", "INFO server"];
    all.into_iter()
        .map(|(what, say)| -> (_, Box<super::liar::Answers>) {
            let answers = move |command: &str| {
                if command.starts_with("AUTH") {
                    Say::Bytes(b"+OK\r\n".to_vec())
                } else if asked_by_halab.iter().any(|c| command.starts_with(c)) {
                    say.clone()
                } else {
                    Say::Bytes(b"-ERR no\r\n".to_vec())
                }
            };
            (what, Box::new(answers))
        })
        .collect()
}

/// The most memory that the process has had, while it lives.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // Before it has become the program, its memory is that of this test.
    let is_halab = status.starts_with("Name:\thalab\n");
    let mut lines = status.lines().filter(|_| is_halab);
    let line = lines.find(|l| l.starts_with("VmHWM:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn stranger(lab: &TestLab) -> SocketAddrV4 {
    let [a, b, c, _] = lab.lab.data_nodes[0].address.octets();
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, 99), 6379)
}

/// Writes for a moment beside the liar: everything must be acknowledged, and memory stay small.
fn write_beside(lab: &TestLab, what: &str, count: u64) {
    let begun = Instant::now();
    let writer = lab.start_writer(&[
        "--count",
        &count.to_string(),
        "--rate",
        "5000",
        "--patience",
        "45s",
    ]);
    let ledger = writer.ledger.clone();
    let mut peak = 0;
    while let Some(pid) = writer.running() {
        peak = peak.max(peak_kib(pid));
        std::thread::sleep(Duration::from_millis(10));
    }
    let summary = writer.assert_all_acknowledged();
    assert!(
        peak > 0 && peak < PEAK_KIB,
        "{what}: the writer had {peak} KiB; {summary:#}"
    );
    lab.assert_nothing_lost(&ledger);
    fs::remove_file(&ledger).unwrap();
    for node in &lab.lab.data_nodes {
        if let Some(pid) = lab.runner.pid_of(&node.name) {
            let peak = peak_kib(pid);
            assert!(
                peak < PEAK_KIB,
                "{what}: the parent of {} had {peak} KiB",
                node.name
            );
        }
    }
    eprintln!("{what}: {:.1} s, {peak} KiB", begun.elapsed().as_secs_f64());
}

#[test]
fn one_sentinel_that_lies_changes_nothing() {
    let mut lab = TestLab::start();
    let stranger = stranger(&lab);
    let taker = Liar::start(stranger, Box::new(primary_that_takes_everything));
    let address = lab.lab.sentinels[2].socket();
    lab.runner.kill_node("sentinel-3");
    let mut lies = nonsense();
    lies.push((
        "a stranger at a higher epoch",
        Box::new(sentinel_that_names(stranger, 999)),
    ));
    let replica = lab.lab.data_nodes[1].socket();
    lies.push((
        "the replica at a higher epoch",
        Box::new(sentinel_that_names(replica, u64::MAX)),
    ));
    // Events interrupt the round of questions, which a slow answer prolongs.
    for (what, answer_time) in [
        (
            "a change of the primary, published without an end",
            Duration::ZERO,
        ),
        (
            "the same, by a Sentinel that answers slowly",
            Duration::from_millis(40),
        ),
    ] {
        lies.push((
            what,
            Box::new(move |command| {
                let subscribed = b"*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n".to_vec();
                let news = array(&[
                    "pmessage",
                    "*",
                    "+switch-master",
                    "halab 127.0.0.1 1 127.0.0.2 2",
                ]);
                if command.starts_with("PSUBSCRIBE") {
                    return Say::Forever(subscribed, news.repeat(1000));
                }
                if command.starts_with("SENTINEL") {
                    std::thread::sleep(answer_time);
                }
                sentinel_that_names(stranger, 999)(command)
            }),
        ));
    }
    for (what, answers) in lies {
        let liar = Liar::start(address, answers);
        write_beside(&lab, what, 2000);
        assert!(!liar.heard().is_empty(), "{what}: nobody asked the liar");
    }
    assert_eq!(
        taker.heard(),
        Vec::<String>::new(),
        "the stranger was talked to"
    );
    assert_eq!(lab.primary().as_deref(), Some("redis-a"));
}

#[test]
fn two_sentinels_that_lie_alike_get_no_record() {
    let mut lab = TestLab::start();
    let stranger = stranger(&lab);
    let taker = Liar::start(stranger, Box::new(primary_that_takes_everything));
    let liars: Vec<Liar> = [1, 2]
        .into_iter()
        .map(|i| {
            let node = lab.lab.sentinels[i].clone();
            lab.runner.kill_node(&node.name);
            Liar::start(node.socket(), Box::new(sentinel_that_names(stranger, 999)))
        })
        .collect();
    let writer = lab.start_writer(&["--count", "1000", "--patience", "3s"]);
    let (code, summary, log) = writer.finish();
    assert_eq!(code, Some(4), "{summary:#}\n{log}");
    assert_eq!(summary["acknowledged"], 0, "{summary:#}");
    assert!(
        log.contains("which is not a data node of this lab"),
        "no word of the stranger:\n{log}"
    );
    wait_until("the nodes to say that they don't follow", || {
        lab.log("redis-b").contains("not followed")
    });
    assert_eq!(
        taker.heard(),
        Vec::<String>::new(),
        "the stranger was talked to"
    );
    drop(liars);
    lab.runner.ended();
    for name in ["sentinel-2", "sentinel-3"] {
        lab.runner.start_node(name).unwrap();
    }
    lab.wait_healthy();
    fs::remove_file(lab.path("writer.ledger")).unwrap();
    write_beside(&lab, "the truth", 2000);
}

#[test]
fn a_data_node_that_talks_nonsense_confirms_nothing_and_fills_no_memory() {
    let mut lab = TestLab::start();
    let replica = lab.lab.data_nodes[1].clone();
    lab.runner.kill_node(&replica.name);
    for (what, answers) in nonsense() {
        let liar = Liar::start(replica.socket(), answers);
        write_beside(&lab, what, 2000);
        assert!(!liar.heard().is_empty(), "{what}: nobody asked the liar");
    }
    lab.runner.ended();
    lab.runner.start_node(&replica.name).unwrap();
    lab.wait_healthy();
}

#[test]
fn a_silent_sentinel_holds_up_no_call_for_a_failover() {
    let subnet = ClaimedSubnet::claim().unwrap();
    let mut lab = redis_ha_lab::config::load(Path::new("lab.toml"), None)
        .unwrap()
        .relocated(subnet.octets());
    lab.security.acl = false;
    let primary = lab.data_nodes[0].socket();
    let asked = |liar: &Liar| liar.heard().iter().any(|c| c.contains("FAILOVER"));
    // It takes connections and never says a word.
    let _silent = TcpListener::bind(lab.sentinels[0].socket()).unwrap();
    let others: Vec<Liar> = lab.sentinels[1..]
        .iter()
        .map(|node| Liar::start(node.socket(), Box::new(sentinel_that_names(primary, 1))))
        .collect();
    // Whoever waits for the silent one waits for longer than this test.
    let connector = Connector::new(&lab, User::Operator).with_limit(Duration::from_secs(3600));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sentinels = runtime.block_on(async { SentinelClients::new(&lab, connector) });
    let call = |from| {
        runtime.block_on(async {
            tokio::time::timeout(DEADLINE, sentinels.call_failover(from))
                .await
                .expect("the call waits for the silent Sentinel")
        })
    };
    call(primary).unwrap();
    // Two calls at once would be two failovers.
    assert_eq!(others.iter().filter(|liar| asked(liar)).count(), 1);
}

#[test]
fn a_sentinel_that_names_another_primary_is_not_called_for_a_failover() {
    let subnet = ClaimedSubnet::claim().unwrap();
    let mut lab = redis_ha_lab::config::load(Path::new("lab.toml"), None)
        .unwrap()
        .relocated(subnet.octets());
    lab.security.acl = false;
    let [old, new] = [0, 1].map(|i| lab.data_nodes[i].socket());
    let liars: Vec<Liar> = lab
        .sentinels
        .iter()
        .map(|node| Liar::start(node.socket(), Box::new(sentinel_that_names(new, 1))))
        .collect();
    let connector = Connector::new(&lab, User::Operator).with_limit(Duration::from_secs(5));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let refused = runtime
        .block_on(async {
            SentinelClients::new(&lab, connector)
                .call_failover(old)
                .await
        })
        .unwrap_err();
    assert!(
        refused.contains(&format!("names {new} already")),
        "{refused}"
    );
    for liar in &liars {
        assert!(liar.heard().iter().any(|c| c.contains("MASTER")));
        assert!(!liar.heard().iter().any(|c| c.contains("FAILOVER")));
    }
}

#[test]
fn a_handover_that_is_stopped_before_its_call_makes_none() {
    let subnet = ClaimedSubnet::claim().unwrap();
    let mut lab = redis_ha_lab::config::load(Path::new("lab.toml"), None)
        .unwrap()
        .relocated(subnet.octets());
    lab.security.acl = false;
    // The handover waits for them for longer than this test.
    let sentinels = lab.sentinels.iter();
    let _silent: Vec<TcpListener> = sentinels
        .map(|node| TcpListener::bind(node.socket()).unwrap())
        .collect();
    let connector = Connector::new(&lab, User::Operator).with_limit(Duration::from_secs(3600));
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let handover = hand_over_unless(&lab, &connector, &stop);
        let stopped = async {
            stop.cancel();
            std::future::pending().await
        };
        tokio::select! {
            biased;
            ended = tokio::time::timeout(DEADLINE, handover) => ended.expect("it waits for the Sentinels"),
            () = stopped => unreachable!(),
        }
    });
    assert!(matches!(ended, Err(HandoverError::Stopped)), "{ended:?}");
}

#[test]
fn sentinels_that_talk_nonsense_are_given_up_in_time_and_in_little_memory() {
    let subnet = ClaimedSubnet::claim().unwrap();
    let lab = redis_ha_lab::config::load(Path::new("lab.toml"), None)
        .unwrap()
        .relocated(subnet.octets());
    let secrets = tempfile::tempdir().unwrap();
    Secrets::at(secrets.path()).make_missing(&lab).unwrap();
    for (what, answers) in nonsense() {
        let answers: Arc<super::liar::Answers> = answers.into();
        let liars: Vec<Liar> = lab
            .sentinels
            .iter()
            .map(|node| {
                let answers = answers.clone();
                Liar::start(node.socket(), Box::new(move |command| answers(command)))
            })
            .collect();
        let mut command = Command::new(HALAB);
        command.args([
            "write",
            "--patience",
            "500ms",
            "--metrics",
            "off",
            "--subnet",
        ]);
        let child = command
            .arg(subnet.to_string())
            .arg("--secrets")
            .arg(secrets.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let mut peak = 0;
        wait_until("the writer to give up", || {
            peak = peak.max(peak_kib(pid));
            !is_running(pid)
        });
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{what}: {said}");
        assert!(said.contains("0 of 3 Sentinels answered"), "{what}: {said}");
        assert!(!said.contains('\x1b'), "{what}: {said:?}");
        assert!(peak > 0 && peak < PEAK_KIB, "{what}: {peak} KiB");
        assert!(liars.iter().all(|liar| !liar.heard().is_empty()), "{what}");
    }
}
