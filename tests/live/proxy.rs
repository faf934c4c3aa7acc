//! `halab proxy`: any client is answered as by one server, and what is answered is kept.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Commands, Connection, RedisError, RedisResult};
use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Shape, TestLab, wait_until};

/// Clients that write at the same time.
const CLIENTS: usize = 10;

/// A running proxy; killed when dropped.
struct Proxy {
    child: Child,
    url: String,
    address: String,
    log: PathBuf,
}

impl Proxy {
    /// For clients that log in as the operator.
    fn start(lab: &TestLab, arguments: &[&str]) -> Self {
        let [a, b, c, _] = lab.lab.data_nodes[0].address.octets();
        let address = format!("{a}.{b}.{c}.51:6379");
        let path = lab.path("proxy.log");
        let log = File::create(&path).unwrap();
        let child = lab
            .command()
            .arg("proxy")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut proxy = Proxy {
            child,
            url: String::new(),
            address,
            log: path,
        };
        proxy.log_in_as(lab, "operator", "operator");
        wait_until("the proxy to serve", || proxy.connected().is_ok());
        proxy
    }

    /// For clients that log in as the application `shop`.
    fn start_for_shop(lab: &TestLab, arguments: &[&str]) -> Self {
        let mut proxy = Self::start(lab, arguments);
        proxy.log_in_as(lab, "shop", "app-shop");
        proxy
    }

    fn log_in_as(&mut self, lab: &TestLab, user: &str, file: &str) {
        let password = fs::read_to_string(lab.path("state/secrets").join(file)).unwrap();
        self.url = format!("redis://{user}:{}@{}/", password.trim(), self.address);
    }

    fn connected(&self) -> RedisResult<Connection> {
        let client = redis::Client::open(self.url.as_str())?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(20))?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(connection)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the log of the proxy:\n{log}");
        }
    }
}

/// What one client has seen.
#[derive(Debug, Default)]
struct Seen {
    answered: Vec<String>,
    failures: Vec<RedisError>,
    longest: Duration,
}

/// Writes one key after the other until `stop` is set. A call that fails is not repeated.
fn write_keys(proxy: &Proxy, client: usize, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut connection = proxy.connected().unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("shop:{client}:{number}");
        number += 1;
        let begun = Instant::now();
        match connection.set::<_, _, ()>(&key, number) {
            Ok(()) => seen.answered.push(key),
            Err(error) => {
                seen.failures.push(error);
                wait_until("the proxy to accept a client again", || {
                    proxy.connected().is_ok_and(|new| {
                        connection = new;
                        true
                    })
                });
            }
        }
        seen.longest = seen.longest.max(begun.elapsed());
    }
    seen
}

/// What clients have seen that write while `disturb` runs, and for a while before and after it.
fn clients_during(proxy: &Proxy, disturb: impl FnOnce()) -> Vec<Seen> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || write_keys(proxy, client, stop)))
            .collect();
        thread::sleep(Duration::from_secs(1));
        disturb();
        thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    })
}

/// Each client has at most `limit` calls that failed.
fn assert_failed_at_most(limit: usize, clients: &[Seen]) {
    let failures: Vec<_> = clients.iter().map(|client| &client.failures).collect();
    assert!(failures.iter().all(|of| of.len() <= limit), "{failures:?}");
}

/// Every answered key is on the primary.
fn assert_kept(proxy: &Proxy, clients: &[Seen]) {
    let mut connection = proxy.connected().unwrap();
    for seen in clients {
        assert!(seen.answered.len() > 10, "{}", seen.answered.len());
        for keys in seen.answered.chunks(500) {
            let found: Vec<Option<u64>> = connection.mget(keys).unwrap();
            let missing = keys.iter().zip(found).find(|(_, value)| value.is_none());
            assert_eq!(missing, None);
        }
    }
}

#[test]
fn a_killed_primary_is_a_pause_and_what_was_answered_is_kept() {
    let mut lab = TestLab::start();
    let proxy = Proxy::start(&lab, &[]);
    let primary = lab.primary().unwrap();
    let seen = clients_during(&proxy, || {
        lab.signal_server(&primary, Signal::KILL);
        lab.wait_failover_from(&primary);
        lab.wait_healthy();
    });
    assert_failed_at_most(1, &seen);
    assert_kept(&proxy, &seen);
}

#[test]
fn with_retry_a_killed_primary_fails_no_call() {
    let mut lab = TestLab::start();
    let proxy = Proxy::start(&lab, &["--unanswered", "retry"]);
    let primary = lab.primary().unwrap();
    let seen = clients_during(&proxy, || {
        lab.signal_server(&primary, Signal::KILL);
        lab.wait_failover_from(&primary);
        lab.wait_healthy();
    });
    assert_failed_at_most(0, &seen);
    assert_kept(&proxy, &seen);
}

/// How a client sends its commands.
#[derive(Debug, Clone, Copy)]
enum Sending {
    OneByOne,
    Pipelined,
    InTransactions,
    ByScript,
}

/// Counts up a key of its own until `stop` is set; every answer must be the next number. Returns
/// the last one, and the error that ended it.
fn count_up(
    proxy: &Proxy,
    client: usize,
    how: Sending,
    stop: &AtomicBool,
) -> (u64, Option<RedisError>) {
    let mut connection = proxy.connected().unwrap();
    let key = format!("shop:count:{client}");
    let mut pipe = redis::pipe();
    let commands = match how {
        Sending::OneByOne | Sending::ByScript => 1,
        Sending::Pipelined => 50,
        Sending::InTransactions => 3,
    };
    for _ in 0..commands {
        match how {
            Sending::ByScript => {
                let script = "return redis.call('INCR', KEYS[1])";
                pipe.cmd("EVAL").arg(script).arg(1).arg(&key);
            }
            _ => {
                pipe.incr(&key, 1);
            }
        }
    }
    if matches!(how, Sending::InTransactions) {
        pipe.atomic();
    }
    let mut last = 0;
    while !stop.load(Ordering::Relaxed) {
        let answers: Vec<u64> = match pipe.query(&mut connection) {
            Ok(answers) => answers,
            Err(error) => return (last, Some(error)),
        };
        let expected: Vec<u64> = (last + 1..=last + commands).collect();
        assert_eq!(answers, expected, "client {client}, {how:?}");
        last += commands;
    }
    (last, None)
}

#[test]
fn a_handover_fails_no_call_and_repeats_none() {
    let mut lab = TestLab::start_as(Shape {
        app: true,
        ..Shape::default()
    });
    let proxy = Proxy::start_for_shop(&lab, &[]);
    let stop = AtomicBool::new(false);
    let ways = [
        Sending::OneByOne,
        Sending::Pipelined,
        Sending::InTransactions,
        Sending::ByScript,
    ];
    let counted: Vec<(u64, Option<RedisError>)> = thread::scope(|scope| {
        let (stop, proxy) = (&stop, &proxy);
        let clients: Vec<_> = (0..4 * ways.len())
            .map(|client| {
                let how = ways[client % ways.len()];
                scope.spawn(move || count_up(proxy, client, how, stop))
            })
            .collect();
        for _ in 0..3 {
            let output = lab.halab(&["handover"]);
            assert!(output.status.success(), "{output:?}");
            lab.wait_healthy();
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    let mut connection = proxy.connected().unwrap();
    for (client, (last, error)) in counted.into_iter().enumerate() {
        let how = ways[client % ways.len()];
        assert!(last > 10, "client {client}, {how:?}: {last}");
        let found: u64 = connection.get(format!("shop:count:{client}")).unwrap();
        match (how, &error) {
            // A replica would have answered it too, so the proxy cannot know that it was executed.
            (Sending::ByScript, Some(_)) => assert!(found == last || found == last + 1),
            (_, None) => assert_eq!(found, last, "client {client}, {how:?}"),
            (_, Some(error)) => panic!("client {client}, {how:?}: {error}"),
        }
    }
}

/// A script may answer with an error that looks like that of a replica.
#[test]
fn an_application_s_own_error_is_passed_on_and_ends_no_session() {
    let lab = TestLab::start();
    let proxy = Proxy::start(&lab, &[]);
    let mut connection = proxy.connected().unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        let script = "return redis.error_reply('READONLY this is the shop')";
        let answer: RedisResult<()> = redis::cmd("EVAL").arg(script).arg(0).query(&mut connection);
        assert!(answer.unwrap_err().to_string().contains("this is the shop"));
        let set: RedisResult<()> = connection.set("shop:1", 1);
        set.unwrap();
    }
    // Not the time for which a command waits for a primary.
    assert!(begun.elapsed() < Duration::from_secs(9));
}

/// Without a second name on the servers, a client of the proxy is one like any other there.
#[test]
fn a_handover_fails_at_most_one_call_of_a_client_that_is_no_application() {
    let mut lab = TestLab::start();
    let proxy = Proxy::start(&lab, &[]);
    let seen = clients_during(&proxy, || {
        let output = lab.halab(&["handover"]);
        assert!(output.status.success(), "{output:?}");
        lab.wait_healthy();
    });
    assert_failed_at_most(1, &seen);
    assert_kept(&proxy, &seen);
}

#[test]
fn a_session_is_carried_over_to_the_next_primary() {
    let mut lab = TestLab::start();
    let proxy = Proxy::start(&lab, &[]);
    let mut connection = proxy.connected().unwrap();
    let ask = |connection: &mut Connection, command: &str| -> RedisResult<redis::Value> {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        for word in words {
            cmd.arg(word);
        }
        cmd.query(connection)
    };
    for command in [
        "SELECT 3",
        "CLIENT SETNAME shop",
        "SET watched 1",
        "WATCH watched",
    ] {
        ask(&mut connection, command).unwrap();
    }
    let mut queueing = proxy.connected().unwrap();
    for command in ["SELECT 3", "MULTI", "INCR counted"] {
        ask(&mut queueing, command).unwrap();
    }
    let subscriber = proxy.connected().unwrap();
    let mut subscriber = subscriber;
    let mut messages = subscriber.as_pubsub();
    messages.subscribe("news").unwrap();

    let output = lab.halab(&["handover"]);
    assert!(output.status.success(), "{output:?}");
    lab.wait_healthy();

    let text = |value: redis::Value| redis::from_redis_value::<String>(value).unwrap();
    assert_eq!(
        text(ask(&mut connection, "CLIENT GETNAME").unwrap()),
        "shop"
    );
    assert_eq!(text(ask(&mut connection, "GET watched").unwrap()), "1");
    // What was watched may have changed meanwhile.
    ask(&mut connection, "MULTI").unwrap();
    ask(&mut connection, "SET watched 2").unwrap();
    assert_eq!(ask(&mut connection, "EXEC").unwrap(), redis::Value::Nil);
    assert_eq!(text(ask(&mut connection, "GET watched").unwrap()), "1");
    // The queued command is executed once.
    let executed: Vec<u64> = redis::from_redis_value(ask(&mut queueing, "EXEC").unwrap()).unwrap();
    assert_eq!(executed, [1]);
    // The subscription may be restored a moment later than the first command.
    wait_until("a subscriber", || {
        let said = ask(&mut connection, "PUBLISH news hello").unwrap();
        redis::from_redis_value::<u64>(said).unwrap() > 0
    });
    let message: String = messages.get_message().unwrap().get_payload().unwrap();
    assert_eq!(message, "hello");
}

#[test]
fn pipelines_of_any_size_are_answered_in_order_and_hostile_clients_harm_no_other() {
    let lab = TestLab::start();
    let proxy = Proxy::start(&lab, &["--max-command-mib", "1"]);
    // More commands in one packet than are taken at once.
    let mut connection = proxy.connected().unwrap();
    let mut pipeline = redis::pipe();
    for number in 0..20_000_u64 {
        pipeline.cmd("ECHO").arg(number);
    }
    let answers: Vec<u64> = pipeline.query(&mut connection).unwrap();
    assert!(answers.iter().copied().eq(0..20_000));
    // A value that is longer than what is held at once.
    let long = vec![b'x'; 900_000];
    let _: () = connection.set("long", &long).unwrap();
    for _ in 0..3 {
        assert_eq!(connection.get::<_, Vec<u8>>("long").unwrap(), long);
    }

    let hostile = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&proxy.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(answer(hostile(b"*1\r\nGET\r\n")).contains("Protocol error: expected '$'"));
    let too_long = answer(hostile(b"*2\r\n$3\r\nGET\r\n$2000000\r\n"));
    assert!(
        too_long.contains("longer than the proxy accepts"),
        "{too_long}"
    );
    // Half a command, and one that does not read its answers.
    let _half = hostile(b"*2\r\n$3\r\nGE");
    let mut deaf = proxy.connected().unwrap();
    for _ in 0..200 {
        let get = redis::cmd("GET").arg("long").get_packed_command();
        if deaf.send_packed_command(&get).is_err() {
            break;
        }
    }
    let answered: String = redis::cmd("PING").query(&mut connection).unwrap();
    assert_eq!(answered, "PONG");
    for refused in ["MONITOR", "PSYNC", "CLUSTER"] {
        let error = redis::cmd(refused)
            .query::<()>(&mut connection)
            .unwrap_err();
        assert!(error.to_string().contains("halab proxy"), "{error}");
    }
}

#[test]
fn a_stopped_proxy_answers_what_was_sent() {
    let lab = TestLab::start();
    let mut proxy = Proxy::start(&lab, &[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (stop, proxy) = (&stop, &proxy);
        let writer = scope.spawn(move || {
            let mut connection = proxy.connected().unwrap();
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                match connection.incr::<_, _, u64>("n", 1) {
                    Ok(n) => answered = n,
                    Err(_) => break,
                }
            }
            answered
        });
        thread::sleep(Duration::from_millis(500));
        proxy.signal(Signal::TERM);
        let answered = writer.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        let primary = lab.primary().unwrap();
        let kept = lab.halab(&["cli", &primary, "-e", "get", "n"]);
        let kept: u64 = String::from_utf8_lossy(&kept.stdout)
            .trim()
            .parse()
            .unwrap();
        // Sent and not answered is at most one.
        assert!(
            answered > 10 && (answered..=answered + 1).contains(&kept),
            "{answered} {kept}"
        );
    });
    assert!(proxy.child.wait().unwrap().success());
}

#[test]
fn connections_to_the_primary_that_are_killed_are_replaced_unseen_by_readers() {
    /// Those of the lab's own parts, too.
    const KILLED: u64 = 200;
    let lab = TestLab::start();
    let proxy = Proxy::start(&lab, &[]);
    let primary = lab.lab.node(&lab.primary().unwrap()).unwrap().socket();
    let direct = proxy.url.replace(&proxy.address, &primary.to_string());
    let (stop, killed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let (stop, killed, proxy) = (&stop, &killed, &proxy);
        let killer = scope.spawn(move || {
            let client = redis::Client::open(direct).unwrap();
            let mut connection = client.get_connection().unwrap();
            while !stop.load(Ordering::Relaxed) {
                let kill = redis::cmd("CLIENT")
                    .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
                    .query::<u64>(&mut connection);
                killed.fetch_add(kill.unwrap(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(15));
            }
        });
        let readers = (0..4).map(|reader| {
            scope.spawn(move || {
                let mut connection = proxy.connected().unwrap();
                for command in [&["SELECT", "2"][..], &["CLIENT", "SETNAME", "reader"]] {
                    let (name, arguments) = command.split_first().unwrap();
                    let mut cmd = redis::cmd(name);
                    cmd.arg(arguments).query::<()>(&mut connection).unwrap();
                }
                let mut round = 0;
                while killed.load(Ordering::Relaxed) < KILLED {
                    round += 1;
                    let mut pipeline = redis::pipe();
                    for number in 0..20 {
                        pipeline
                            .cmd("ECHO")
                            .arg(format!("{reader}:{round}:{number}"));
                    }
                    let answers: Vec<String> = pipeline.query(&mut connection).unwrap();
                    let sent = (0..20).map(|number| format!("{reader}:{round}:{number}"));
                    assert!(
                        answers.into_iter().eq(sent),
                        "reader {reader}, round {round}"
                    );
                }
                let name: String = redis::cmd("CLIENT")
                    .arg("GETNAME")
                    .query(&mut connection)
                    .unwrap();
                assert_eq!(name, "reader");
            })
        });
        let readers: Vec<_> = readers.collect();
        let read = readers.into_iter().map(thread::ScopedJoinHandle::join);
        let read: Vec<_> = read.collect();
        stop.store(true, Ordering::Relaxed);
        killer.join().unwrap();
        assert!(read.iter().all(Result::is_ok), "{read:?}");
    });
}

#[test]
fn policy_none_answers_without_a_confirmation() {
    let lab = TestLab::start();
    let proxy = Proxy::start(&lab, &["--policy", "none"]);
    let mut connection = proxy.connected().unwrap();
    let _: () = connection.set("k", 1).unwrap();
    assert_eq!(connection.get::<_, u64>("k").unwrap(), 1);
}

/// How often the server of a node has executed a command.
fn executed(lab: &TestLab, node: &str, command: &str) -> u64 {
    let output = lab.halab(&["cli", node, "-e", "INFO", "commandstats"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| {
        let counts = line.strip_prefix(&format!("cmdstat_{command}:calls="))?;
        counts.split(',').next()
    });
    line.map_or(0, |calls| calls.parse().unwrap())
}

/// The messages of rounds that the replica passes on confirm, so that `WAIT` is not needed. While
/// the proxy does not receive them, `WAIT` is.
#[test]
fn rounds_are_confirmed_by_the_replicas_messages_and_without_them_by_wait() {
    let lab = TestLab::start_as(Shape {
        app: true,
        ..Shape::default()
    });
    let proxy = Proxy::start_for_shop(&lab, &[]);
    let (primary, replica) = (lab.primary().unwrap(), lab.replica());
    let mut client = proxy.connected().unwrap();
    let mut number = 0;
    let mut waits_of_writes = |count| {
        let before = executed(&lab, &primary, "wait");
        for _ in 0..count {
            number += 1;
            client.set::<_, _, ()>("shop:k", number).unwrap();
        }
        executed(&lab, &primary, "wait") - before
    };
    // A message may be late on a busy machine.
    wait_until("writes without WAIT", || waits_of_writes(100) < 20);

    let kill = [
        "cli", &replica, "-e", "CLIENT", "KILL", "TYPE", "pubsub", "USER", "proxy",
    ];
    wait_until("WAIT without messages", || {
        assert!(lab.halab(&kill).status.success());
        waits_of_writes(5) >= 5
    });
    // It subscribes again.
    wait_until("writes without WAIT again", || waits_of_writes(100) < 20);
}

/// Time for which the replica stands still: less than the one after which its node kills it.
const STANDSTILL: Duration = Duration::from_millis(300);

/// A client that reads when it likes.
struct RawClient(TcpStream);

impl RawClient {
    fn connect(proxy: &Proxy) -> Self {
        let login = proxy.url.strip_prefix("redis://").unwrap();
        let (user, rest) = login.split_once(':').unwrap();
        let (password, _) = rest.split_once('@').unwrap();
        let mut client = RawClient(TcpStream::connect(&proxy.address).unwrap());
        client.send(&["AUTH", user, password]);
        client.expect("+OK\r\n");
        client
    }

    fn send(&mut self, words: &[&str]) {
        let mut command = redis::Cmd::new();
        command.arg(words);
        self.0.write_all(&command.get_packed_command()).unwrap();
    }

    fn expect(&mut self, answer: &str) {
        let limit = Some(Duration::from_secs(20));
        self.0.set_read_timeout(limit).unwrap();
        let mut bytes = vec![0; answer.len()];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), answer);
    }

    /// It receives nothing for some time.
    fn expect_nothing(&mut self) {
        self.0.set_read_timeout(Some(STANDSTILL)).unwrap();
        let mut byte = [0];
        let read = self.0.read(&mut byte);
        assert!(read.is_err(), "{read:?} {byte:?}");
    }
}

/// While the replica stands still, the client is not answered. `sent` sends commands that the
/// replica cannot have executed by then.
fn is_not_answered_without_the_replica(
    lab: &TestLab,
    client: &mut RawClient,
    sent: impl FnOnce(&mut RawClient),
) {
    let replica = lab.replica();
    lab.signal_server(&replica, Signal::STOP);
    sent(client);
    client.expect_nothing();
    lab.signal_server(&replica, Signal::CONT);
}

/// Its round is asked while it is blocked. Rounds that others ask later are over when it is
/// answered, and confirm nothing of that.
#[test]
fn a_command_that_was_blocked_is_answered_when_it_is_confirmed() {
    let lab = TestLab::start();
    let proxy = Proxy::start(&lab, &[]);
    let primary = lab.primary().unwrap();
    let [mut blocked, mut other] = [(); 2].map(|()| RawClient::connect(&proxy));
    for turn in ["1", "2", "3"] {
        wait_until("confirmation by messages", || {
            let before = executed(&lab, &primary, "wait");
            blocked.send(&["SET", "k", turn]);
            blocked.expect("+OK\r\n");
            executed(&lab, &primary, "wait") == before
        });
        blocked.send(&["BLPOP", "queue", "0"]);
        for _ in 0..50 {
            other.send(&["SET", "k", turn]);
            other.expect("+OK\r\n");
        }
        is_not_answered_without_the_replica(&lab, &mut blocked, |_| {
            other.send(&["LPUSH", "queue", turn]);
        });
        blocked.expect(&format!("*2\r\n$5\r\nqueue\r\n$1\r\n{turn}\r\n"));
        other.expect(":1\r\n");
    }
}

/// An application may list the channels of a replica, and publish in those of rounds.
#[test]
fn no_application_can_confirm_by_a_message_of_its_own() {
    let lab = TestLab::start_as(Shape {
        app: true,
        ..Shape::default()
    });
    let proxy = Proxy::start_for_shop(&lab, &[]);
    let mut client = RawClient::connect(&proxy);
    let at_replica = |words: &[&str]| {
        let replica = lab.replica();
        let output = lab.halab(&[&["cli", "--user", "shop", &replica, "-e"], words].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut channels = String::new();
    wait_until("subscriptions", || {
        channels = at_replica(&["PUBSUB", "CHANNELS", "halab:round:*"]);
        !channels.trim().is_empty()
    });
    for channel in channels.split_whitespace() {
        let highest = u64::MAX;
        for message in [
            format!("w{highest} {:032}", 0),
            format!("k{highest} {:032}", 0),
        ] {
            let heard = at_replica(&["PUBLISH", channel, &message]);
            assert_eq!(heard.trim(), "1", "{channel}");
        }
    }
    is_not_answered_without_the_replica(&lab, &mut client, |client| {
        client.send(&["SET", "shop:k", "1"]);
    });
    client.expect("+OK\r\n");
}
