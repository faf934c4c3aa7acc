//! A lab of real servers for one test.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use redis_ha_lab::checker::History;
use redis_ha_lab::config::Lab;
use redis_ha_lab::ledger::LedgerReader;
use redis_ha_lab::node::ServerBinary;
use redis_ha_lab::protocol::member_list::{MEMBER_LIST_KEY, MemberList};
use redis_ha_lab::runner::{ClaimedSubnet, Launch, Runner};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const HALAB: &str = env!("CARGO_BIN_EXE_halab");
/// Longest wait for anything; nothing here takes a tenth of it on an idle machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How a lab differs from the one that `lab.toml` describes.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub data_nodes: usize,
    pub sentinels: usize,
    pub profile: Option<&'static str>,
    pub tls: bool,
    pub mutual_tls: bool,
    /// With the application `shop`.
    pub app: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            data_nodes: 2,
            sentinels: 3,
            profile: Some("fast"),
            tls: false,
            mutual_tls: false,
            app: false,
        }
    }
}

/// A running lab.
pub struct TestLab {
    pub runner: Runner,
    pub lab: Lab,
    pub folder: TempDir,
    arguments: Vec<String>,
    subnets: Vec<ClaimedSubnet>,
}

impl TestLab {
    /// Starts a lab with the timings of the fast profile and waits until it is healthy.
    pub fn start() -> Self {
        Self::start_as(Shape::default())
    }

    /// Starts a lab of that shape and waits until it is healthy.
    pub fn start_as(shape: Shape) -> Self {
        Self::start_at(shape, None)
    }

    /// Starts a lab whose server is a link to that one, and waits until it is healthy.
    pub fn start_on(server: &ServerBinary) -> Self {
        Self::start_at(Shape::default(), Some(server))
    }

    /// Puts that server in the place of the one with which nodes are started, as an upgrade of its
    /// package does.
    pub fn turn_to(&self, server: &ServerBinary) {
        let new = self.path("redis-server.new");
        std::os::unix::fs::symlink(std::path::absolute(&server.path).unwrap(), &new).unwrap();
        fs::rename(new, self.path("redis-server")).unwrap();
    }

    fn start_at(shape: Shape, linked: Option<&ServerBinary>) -> Self {
        // Said here, or every node says it into its own log.
        ServerBinary::find(Some(&redis_server())).expect("a Redis server to test with");
        let subnet = ClaimedSubnet::claim().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("lab.toml");
        fs::write(&config, lab_toml(shape)).unwrap();
        let lab = redis_ha_lab::config::load(&config, shape.profile)
            .unwrap()
            .relocated(subnet.octets());
        let state = folder.path().join("state");
        let mut arguments = vec![
            "--config".to_owned(),
            config.display().to_string(),
            "--state".to_owned(),
            state.display().to_string(),
            "--subnet".to_owned(),
            subnet.to_string(),
        ];
        if let Some(profile) = shape.profile {
            arguments.extend(["--profile".to_owned(), profile.to_owned()]);
        }
        let server = match linked {
            Some(server) => {
                let link = folder.path().join("redis-server");
                std::os::unix::fs::symlink(std::path::absolute(&server.path).unwrap(), &link)
                    .unwrap();
                link
            }
            None => redis_server(),
        };
        arguments.extend(["--redis-server".to_owned(), server.display().to_string()]);
        let launch = Launch {
            program: HALAB.into(),
            arguments: arguments.clone(),
            logs: folder.path().join("log"),
        };
        let runner = Runner::start(&lab, launch).unwrap();
        let mut lab = TestLab {
            runner,
            lab,
            folder,
            arguments,
            subnets: vec![subnet],
        };
        lab.wait_healthy();
        lab
    }

    /// Stops all nodes, as planned.
    pub fn stop(&mut self) {
        self.runner.stop();
    }

    /// Moves the stopped lab to another network, and its description to another name of the
    /// primary; the nodes' state stays as it is. Returns the network in which it was.
    pub fn change_lab_toml(&mut self, primary_name: &str) -> String {
        let subnet = ClaimedSubnet::claim().unwrap();
        let config = self.path("lab.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(
            &config,
            text.replace(
                "primary_name = \"halab\"",
                &format!("primary_name = \"{primary_name}\""),
            ),
        )
        .unwrap();
        self.lab = self.lab.relocated(subnet.octets());
        self.lab.primary_name = primary_name.to_owned();
        let at = self.arguments.iter().position(|a| a == "--subnet").unwrap() + 1;
        let before = std::mem::replace(&mut self.arguments[at], subnet.to_string());
        // The one before is given back when its lab is gone: nobody else may take it meanwhile.
        self.subnets.push(subnet);
        before
    }

    /// Starts all nodes of a lab that was stopped, as it is described now.
    pub fn start_again(&mut self) {
        let launch = Launch {
            program: HALAB.into(),
            arguments: self.arguments.clone(),
            logs: self.path("log"),
        };
        self.runner = Runner::start(&self.lab, launch).unwrap();
        self.wait_healthy();
    }

    /// A path in the test's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `halab` for this lab, with other values for some of its flags.
    pub fn command_with(&self, changes: &[(&str, &Path)]) -> Command {
        let mut command = halab();
        for pair in self.arguments.chunks(2) {
            let [flag, value] = pair else {
                panic!("flags come in pairs")
            };
            let changed = changes.iter().find(|(name, _)| name == flag);
            command
                .arg(flag)
                .arg(changed.map_or(value.as_ref(), |(_, to)| to.as_os_str()));
        }
        command
    }

    /// `halab` for this lab.
    pub fn command(&self) -> Command {
        self.command_with(&[])
    }

    /// Runs `halab` for this lab to its end.
    pub fn halab<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Starts a writer with a ledger; its summary comes as JSON.
    pub fn start_writer(&self, arguments: &[&str]) -> Writer {
        self.start_writer_into("writer.ledger", arguments)
    }

    /// The same with a ledger of that name.
    pub fn start_writer_into(&self, ledger: &str, arguments: &[&str]) -> Writer {
        let ledger = self.path(ledger);
        let child = self
            .command()
            .args(["write", "--json", "--ledger"])
            .arg(&ledger)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Writer {
            child: Some(child),
            ledger,
        }
    }

    /// What `halab status --json` says.
    pub fn status(&self) -> Value {
        let output = self.halab(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the lab is healthy.
    pub fn wait_healthy(&mut self) {
        let output = self.halab(&["status", "--wait", "60s"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    /// The node that a majority of the Sentinels calls primary.
    pub fn primary(&self) -> Option<String> {
        self.status()["primary"]["node"].as_str().map(str::to_owned)
    }

    /// The list of members, as the primary has it.
    pub fn member_list(&self) -> MemberList {
        self.member_list_on(&self.primary().unwrap()).unwrap()
    }

    /// The list of members, as that data node has it; `None` if it does not answer with one.
    pub fn member_list_on(&self, node: &str) -> Option<MemberList> {
        let said = self.halab(&["cli", node, "-e", "get", MEMBER_LIST_KEY]);
        MemberList::from_text(String::from_utf8_lossy(&said.stdout).trim())
    }

    /// What `halab status` says of a data node.
    fn status_of(&self, node: &str) -> Value {
        let status = self.status();
        let mut nodes = status["data_nodes"].as_array().unwrap().iter();
        nodes.find(|n| n["name"] == node).unwrap().clone()
    }

    /// What a data node holds, in words.
    pub fn holds(&self, node: &str) -> String {
        let held = &self.status_of(node)["holds"];
        held.as_str().unwrap_or_default().to_owned()
    }

    /// The role in which a data node is; nothing where it does not answer.
    pub fn role(&self, node: &str) -> String {
        let role = &self.status_of(node)["up"]["role"];
        role.as_str().unwrap_or_default().to_owned()
    }

    /// The data node that is not primary, of two.
    pub fn replica(&self) -> String {
        let primary = self.primary().unwrap();
        let mut others = self.lab.data_nodes.iter().filter(|n| n.name != primary);
        others.next().unwrap().name.clone()
    }

    /// Waits until the Sentinels call another node primary than `old`.
    pub fn wait_failover_from(&self, old: &str) -> String {
        let mut new = None;
        wait_until("a failover", || {
            new = self.primary().filter(|name| name != old);
            new.is_some()
        });
        new.unwrap()
    }

    /// Process id of the server that listens for `node`.
    pub fn server_pid(&self, node: &str) -> Option<i32> {
        let parent = self.runner.pid_of(node)?;
        children_of(parent).into_iter().next()
    }

    /// Sends a signal to the server of `node`, not to its parent.
    pub fn signal_server(&self, node: &str, signal: Signal) {
        let pid = self.server_pid(node).expect("a running server");
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Verifies the ledger: every acknowledged record is on the primary and on its replicas.
    pub fn assert_nothing_lost(&self, ledger: &Path) -> Value {
        let ledger = ledger.display().to_string();
        let output = self.halab(&["verify", "--scan", "--json", "--ledger", &ledger]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["verdict"], "holds");
        assert!(
            report["primary"]["counts"]["acknowledged"]
                .as_u64()
                .unwrap()
                > 0
        );
        report
    }

    /// What a node has logged so far.
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(self.runner.log_of(node)).unwrap_or_default()
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("--- kept for study: {}", self.folder.path().display());
            let status = self.halab(&["status"]);
            eprintln!(
                "--- the lab at the end:\n{}",
                String::from_utf8_lossy(&status.stdout)
            );
            for node in self.lab.nodes() {
                let log = self.log(&node.name);
                let tail: Vec<&str> = log
                    .lines()
                    .rev()
                    .filter(|l| !l.contains("SYNC"))
                    .take(40)
                    .collect();
                eprintln!("--- end of the log of {}:", node.name);
                for line in tail.iter().rev() {
                    eprintln!("{line}");
                }
            }
        }
    }
}

/// A writer in the background; killed with the test.
pub struct Writer {
    child: Option<Child>,
    pub ledger: PathBuf,
}

impl Writer {
    /// Waits until so many records have been invoked: the writer is well at work.
    pub fn wait_invoked(&self, records: u64) {
        wait_until("the writer to be at work", || {
            invoked(&self.ledger) >= records
        });
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Its process, while it runs.
    pub fn running(&self) -> Option<u32> {
        self.child
            .as_ref()
            .map(Child::id)
            .filter(|pid| is_running(*pid))
    }

    /// Waits for its end; its exit code, summary and log.
    pub fn finish(mut self) -> (Option<i32>, Value, String) {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code(), summary, log)
    }

    /// Waits for its end; every record must have been acknowledged.
    pub fn assert_all_acknowledged(self) -> Value {
        let (code, summary, log) = self.finish();
        assert_eq!(code, Some(0), "{summary:#}\n{log}");
        assert_eq!(
            summary["acknowledged"], summary["invoked"],
            "{summary:#}\n{log}"
        );
        assert_eq!(summary["unknown"], 0, "{summary:#}");
        summary
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a child that nobody has waited for yet is at work.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|s| !s.starts_with('Z'))
}

/// Records that the ledger knows so far.
pub fn invoked(ledger: &Path) -> u64 {
    let Ok(mut reader) = LedgerReader::open(ledger) else {
        return 0;
    };
    History::read(&mut reader).map_or(0, |history| history.invoked())
}

/// Polls until `condition` holds; fails after the deadline.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The direct children of a process, from /proc.
pub fn children_of(parent: u32) -> Vec<i32> {
    let of = |pid: &str| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the parent is the second field after it.
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter(|pid| of(pid) == Some(parent))
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// `halab` without anything of the environment that is meant for it.
pub fn halab() -> Command {
    let mut command = Command::new(HALAB);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HALAB_") {
            command.env_remove(name);
        }
    }
    command
}

/// The server to test with. A missing one is a failure, not a reason to skip.
pub fn redis_server() -> PathBuf {
    if let Some(path) = std::env::var_os("HALAB_REDIS_SERVER") {
        return path.into();
    }
    let set_up = Path::new(env!("CARGO_MANIFEST_DIR")).join(".lab/tools/redis-server");
    if set_up.exists() {
        set_up
    } else {
        "redis-server".into()
    }
}

/// The server of the lab, and another one, of another version or product; first the one whose data
/// the other reads.
pub fn two_servers() -> [ServerBinary; 2] {
    let other = match std::env::var_os("HALAB_OTHER_SERVER") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".lab/tools/other-server"),
    };
    let remedy = "./lab test gets a second server; by hand: name one by HALAB_OTHER_SERVER";
    let found = |path: &Path| ServerBinary::find(Some(path)).expect(remedy);
    let [one, other] = [found(&redis_server()), found(&other)];
    assert_ne!(one.title(), other.title(), "{remedy}");
    if other.reads(&one) {
        [one, other]
    } else {
        [other, one]
    }
}

fn lab_toml(shape: Shape) -> String {
    let shipped = include_str!("../../lab.toml");
    let mut text = String::new();
    // The shipped file, with as many nodes as asked for.
    let mut skipping = false;
    for line in shipped.lines() {
        if line.starts_with('[') {
            skipping = line == "[[data_node]]" || line == "[[sentinel]]";
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
    }
    let text = text.replace(
        "quorum = 2",
        &format!("quorum = {}", shape.sentinels / 2 + 1),
    );
    let text = text
        .replace("\ntls = false", &format!("\ntls = {}", shape.tls))
        .replace(
            "mutual_tls = false",
            &format!("mutual_tls = {}", shape.mutual_tls),
        );
    let data = (0..shape.data_nodes).map(|i| {
        let letter = char::from(b'a' + u8::try_from(i).unwrap());
        format!(
            "[[data_node]]\nname = \"redis-{letter}\"\naddress = \"127.0.0.{}\"\nport = 6379\n",
            11 + i
        )
    });
    let sentinels = (0..shape.sentinels).map(|i| {
        let (n, octet) = (i + 1, 21 + i);
        format!(
            "[[sentinel]]\nname = \"sentinel-{n}\"\naddress = \"127.0.0.{octet}\"\nport = 26379\n"
        )
    });
    let app = if shape.app {
        "[[app]]\nname = \"shop\"\n"
    } else {
        ""
    };
    text + &data.chain(sentinels).collect::<String>() + app
}
