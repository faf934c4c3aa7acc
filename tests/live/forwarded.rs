//! Nodes that are reached at their addresses through something that passes connections on, as a
//! Service of Kubernetes does for a pod: each listens at another address, which is a new one
//! whenever it is started anew.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis_ha_lab::config::{Lab, Node};
use redis_ha_lab::runner::ClaimedSubnet;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::lab::{children_of, halab, redis_server, wait_until};

/// Where each node really is.
type Places = Arc<Mutex<HashMap<String, Ipv4Addr>>>;

/// What passes connections on.
#[derive(Debug, Default)]
pub struct Way {
    /// Connections so far.
    pub taken: AtomicUsize,
    /// A connection waits for so many milliseconds before anything is passed on: as a slow
    /// handshake does, and nothing later.
    pub delay_ms: AtomicU64,
}

/// The nodes, each a process that dies with the test.
pub struct Pods {
    pub way: Arc<Way>,
    lab: Lab,
    profile: &'static [&'static str],
    folder: TempDir,
    subnet: ClaimedSubnet,
    /// Of the addresses where nodes listen.
    elsewhere: ClaimedSubnet,
    places: Places,
    running: HashMap<String, Child>,
    /// Addresses given so far.
    given: u8,
}

impl Pods {
    fn start() -> Self {
        let shipped = include_str!("../../lab.toml");
        Self::start_with(shipped, &["--profile", "fast"], Duration::ZERO)
    }

    /// By that `lab.toml`; each connection waits for so long before anything is passed on.
    pub fn start_with(text: &str, profile: &'static [&'static str], delay: Duration) -> Self {
        let (subnet, elsewhere) = (
            ClaimedSubnet::claim().unwrap(),
            ClaimedSubnet::claim().unwrap(),
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lab.toml"), text).unwrap();
        let lab = Lab::parse(text, profile.get(1).copied()).unwrap();
        let mut pods = Pods {
            way: Arc::default(),
            lab: lab.relocated(subnet.octets()),
            profile,
            folder,
            subnet,
            elsewhere,
            places: Places::default(),
            running: HashMap::new(),
            given: 0,
        };
        pods.delay(delay);
        let nodes: Vec<Node> = pods.lab.nodes().cloned().collect();
        for node in nodes {
            pass_on(&node, &pods.places, &pods.way);
            pods.start_node(&node.name);
        }
        pods
    }

    /// Each connection that is made from now on waits for so long.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap();
        self.way.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// A path in the test's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self) -> Command {
        let mut command = halab();
        command
            .args(self.profile)
            .args(["--subnet", &self.subnet.to_string()])
            .arg("--config")
            .arg(self.path("lab.toml"))
            .arg("--state")
            .arg(self.folder.path())
            .arg("--redis-server")
            .arg(redis_server());
        command
    }

    /// At an address where it has not been.
    fn start_node(&mut self, name: &str) {
        self.given += 1;
        let [a, b, c] = self.elsewhere.octets();
        let at = Ipv4Addr::new(a, b, c, self.given);
        self.places.lock().unwrap().insert(name.to_owned(), at);
        let mut command = self.command();
        command.args(["node", name, "--listen", &at.to_string()]);
        let log = self.folder.path().join("nodes.log");
        let log = OpenOptions::new().create(true).append(true).open(log);
        let node = command.stderr(log.unwrap()).spawn().unwrap();
        self.running.insert(name.to_owned(), node);
    }

    /// Server and parent: a pod that is gone.
    fn kill_node(&mut self, name: &str) {
        let mut node = self.running.remove(name).unwrap();
        let servers = children_of(node.id());
        node.kill().unwrap();
        node.wait().unwrap();
        for server in servers {
            // It may have ended with its parent.
            let _ = kill_process(Pid::from_raw(server).unwrap(), Signal::KILL);
        }
    }

    pub fn halab(&self, arguments: &[&str]) -> std::process::Output {
        self.command().args(arguments).output().unwrap()
    }

    pub fn assert_halab(&self, arguments: &[&str]) {
        let output = self.halab(arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        let why = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let nodes = fs::read_to_string(self.folder.path().join("nodes.log"));
            panic!("{arguments:?}: {said}{why}{}", nodes.unwrap_or_default());
        }
    }

    pub fn primary(&self) -> Option<String> {
        let said = self.halab(&["status", "--json"]).stdout;
        let status: Value = serde_json::from_slice(&said).unwrap();
        status["primary"]["node"].as_str().map(str::to_owned)
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            self.kill_node(&name);
        }
    }
}

/// Passes on what comes for `node`, until the test's process ends.
fn pass_on(node: &Node, places: &Places, way: &Arc<Way>) {
    let listener = TcpListener::bind(node.socket()).unwrap();
    let (places, name, port) = (places.clone(), node.name.clone(), node.port);
    let way = way.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            way.taken.fetch_add(1, Ordering::SeqCst);
            let delay = Duration::from_millis(way.delay_ms.load(Ordering::SeqCst));
            let (places, name) = (places.clone(), name.clone());
            thread::spawn(move || {
                thread::sleep(delay);
                let at = places.lock().unwrap()[&name];
                // Nobody there: the client is hung up on.
                if let Ok(server) = TcpStream::connect(SocketAddrV4::new(at, port)) {
                    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    thread::spawn(move || pump(from, to));
                    pump(server, client);
                }
            });
        }
    });
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut some = [0; 16384];
    while let Ok(read @ 1..) = from.read(&mut some) {
        if to.write_all(&some[..read]).is_err() {
            break;
        }
    }
    // Both ends are to see the end.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_node_behind_an_address_that_is_passed_on_may_come_back_at_another_place() {
    let mut pods = Pods::start();
    pods.assert_halab(&["status", "--wait", "60s"]);
    let ledger = pods.folder.path().join("writer.ledger");
    let ledger = ledger.to_str().unwrap();
    let mut writer = pods
        .command()
        .args([
            "write",
            "--rate",
            "2000",
            "--duration",
            "12s",
            "--metrics",
            "off",
            "--ledger",
            ledger,
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();

    let old = pods.primary().unwrap();
    pods.kill_node(&old);
    wait_until("a failover", || {
        pods.primary().is_some_and(|now| now != old)
    });
    pods.start_node(&old);
    pods.assert_halab(&["status", "--wait", "60s"]);
    pods.assert_halab(&["handover"]);
    assert_eq!(pods.primary(), Some(old.clone()));
    let at = pods.places.lock().unwrap()[&old].to_string();
    pods.assert_halab(&["health", &old, "--listen", &at]);

    assert!(writer.wait().unwrap().success());
    pods.assert_halab(&["verify", "--scan", "--ledger", ledger]);
}
