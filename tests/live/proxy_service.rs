//! The proxy as a part of the lab: its table in lab.toml, its health, and `halab up`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use redis::Commands;
use redis_ha_lab::http::{Client, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Shape, TestLab, wait_until};

/// A client that sends and reads lines.
pub struct PlainClient {
    reader: BufReader<TcpStream>,
}

impl PlainClient {
    /// Connects to the proxy of the lab; `None` if it does not listen.
    pub fn connect(at: SocketAddrV4) -> Option<Self> {
        let stream = TcpStream::connect(at).ok()?;
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        Some(PlainClient {
            reader: BufReader::new(stream),
        })
    }

    /// Connects once the proxy listens, and logs in as the operator.
    pub fn logged_in(lab: &TestLab, at: SocketAddrV4) -> Self {
        let mut client = None;
        wait_until("the proxy to listen", || {
            client = Self::connect(at);
            client.is_some()
        });
        let mut client = client.unwrap();
        let password = fs::read_to_string(lab.path("state/secrets/operator")).unwrap();
        let answer = client.ask(&format!("AUTH operator {}", password.trim()));
        assert_eq!(answer, "+OK");
        client
    }

    pub fn send(&mut self, command: &str) {
        let line = format!("{command}\r\n");
        self.reader.get_mut().write_all(line.as_bytes()).unwrap();
    }

    /// The next line; empty at the end of the connection.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        // A reset is an end, too.
        let _ = self.reader.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// The first line of the answer.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.line()
    }
}

/// A lab.toml with these lines in place of those that the table has.
fn with_table(lab: &TestLab, lines: &str) -> PathBuf {
    let text = fs::read_to_string(lab.path("lab.toml")).unwrap();
    let (before, rest) = text.split_once("[proxy]\n").unwrap();
    let after = rest.split_once("\n[").map_or("", |(_, after)| after);
    let path = lab.path("other.toml");
    fs::write(&path, format!("{before}[proxy]\n{lines}\n[{after}")).unwrap();
    path
}

/// A running proxy; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(lab: &TestLab, config: &Path, arguments: &[&str]) -> Running {
    let child = lab
        .command_with(&[("--config", config)])
        .arg("proxy")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(File::create(lab.path("proxy.log")).unwrap())
        .spawn()
        .unwrap();
    Running(child)
}

/// The addresses of the lab, with another last octet and port.
fn at(lab: &TestLab, host: u8, port: u16) -> SocketAddrV4 {
    let [a, b, c, _] = lab.lab.data_nodes[0].address.octets();
    SocketAddrV4::new([a, b, c, host].into(), port)
}

#[test]
fn the_table_of_lab_toml_is_obeyed_and_flags_override_it() {
    let mut lab = TestLab::start();
    let table = "address = \"127.0.0.52\"\nport = 6390\npatience_ms = 300\nmax_clients = 2\n\
                 max_command_mib = 1\nreads = \"local\"\nunanswered = \"retry\"\n";
    let config = with_table(&lab, table);
    let proxy = start(&lab, &config, &[]);
    let stated = at(&lab, 52, 6390);
    let mut client = PlainClient::logged_in(&lab, stated);
    assert_eq!(client.ask("SET k v"), "+OK");
    let mut long = PlainClient::connect(stated).unwrap();
    assert_eq!(
        long.ask(&format!("*1\r\n${}", 2 << 20)),
        "-ERR Protocol error: the command is longer than the proxy accepts"
    );
    let other = PlainClient::connect(stated);
    // The two before may not have ended yet.
    wait_until("the third client to be refused", || {
        let mut third = PlainClient::connect(stated).unwrap();
        let mut fourth = PlainClient::connect(stated).unwrap();
        third.line().contains("max number") || fourth.line().contains("max number")
    });
    drop((other, long));
    drop(proxy);

    let other = at(&lab, 53, 6391).to_string();
    let flags = [
        "--listen",
        &other,
        "--patience",
        "400ms",
        "--max-clients",
        "50",
    ];
    let _proxy = start(&lab, &config, &flags);
    let mut client = PlainClient::logged_in(&lab, at(&lab, 53, 6391));
    for node in ["redis-a", "redis-b"] {
        lab.runner.kill_node(node);
    }
    assert_eq!(
        client.ask("GET k"),
        "-NOPRIMARY no primary for 0.4 s; the command was not executed"
    );
}

/// What `halab health proxy` says, and whether it serves.
fn health(lab: &TestLab) -> (String, bool) {
    let output = lab.halab(&["health", "proxy"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said, output.status.code() == Some(0))
}

/// The status of `/healthz`.
fn healthz(lab: &TestLab) -> Option<u16> {
    let address = lab.lab.proxy_metrics().unwrap();
    let client = Client::new(address, Duration::from_secs(5), 1024);
    Some(wait_for(client.get("/healthz")).ok()?.status)
}

#[test]
fn it_serves_while_it_listens_and_has_a_primary() {
    let mut lab = TestLab::start();
    let (said, serves) = health(&lab);
    assert!(!serves && said.contains("Connection refused"), "{said}");
    lab.runner.start_proxy(&[]).unwrap();
    wait_until("the proxy to serve", || health(&lab).1);
    assert_eq!(healthz(&lab), Some(200));
    for node in ["redis-a", "redis-b"] {
        lab.runner.kill_node(node);
    }
    wait_until("the proxy to notice", || healthz(&lab) == Some(503));
    let (said, serves) = health(&lab);
    assert!(!serves && said.contains("no answer within 2 s"), "{said}");
    for node in ["redis-a", "redis-b"] {
        lab.runner.start_node(node).unwrap();
    }
    wait_until("the proxy to serve again", || health(&lab).1);
    assert_eq!(healthz(&lab), Some(200));
}

#[test]
fn up_starts_the_proxy_and_stops_it_first() {
    let mut lab = TestLab::start_as(Shape {
        app: true,
        ..Shape::default()
    });
    lab.runner.stop();
    let mut up = lab
        .command()
        .args(["up", "--no-monitoring"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the proxy to serve", || health(&lab).1);
    // As `halab app` tells the application.
    let shown = lab.halab(&["app", "shop", "--show-password", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let url = shown["proxy"]["url"].as_str().unwrap();
    let client = redis::Client::open(url).unwrap();
    let limit = Duration::from_secs(20);
    let mut connection = client.get_connection_with_timeout(limit).unwrap();
    connection.set_read_timeout(Some(limit)).unwrap();
    connection.set::<_, _, ()>("shop:k", "v").unwrap();
    let found: String = connection.get("shop:k").unwrap();
    assert_eq!(found, "v");
    kill_process(Pid::from_child(&up), Signal::TERM).unwrap();
    wait_until("halab up to end", || up.try_wait().unwrap().is_some());
    assert_eq!(up.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(lab.path("state/log/proxy.log")).unwrap();
    // No primary was lost meanwhile: it has stopped before the nodes. A client that waits for no
    // answer may have ended before this line is written, so its number is not known.
    let last = log.lines().rfind(|line| line.contains("stopping"));
    let stopped = last.unwrap_or_else(|| panic!("{log}"));
    assert!(stopped.contains("primary_changes=0"), "{log}");
    let mut rest = Vec::new();
    let gone = TcpStream::connect(lab.lab.proxy_socket());
    assert!(gone.is_err() || gone.unwrap().read_to_end(&mut rest).is_err());
}
