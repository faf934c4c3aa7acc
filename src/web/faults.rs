//! The faults that the page can inject: requests, and what is asked before a second loss.
//!
//! Only nodes of this machine can be broken: their processes are found by the state folder. One
//! request is handled at a time. A fault is recorded on the observer's clock with the time right
//! before it is injected, once it has been.

mod processes;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::Connector;
use crate::config::{Lab, Node, NodeKind};
use crate::drill::environment::{LabObserver, TimedCuts};
use crate::drill::judging::LabEventKind;
use crate::handover::hand_over;
use crate::status::Status;

use super::recovered::is_after;
use processes::NodeProcesses;

/// How long a node may be paused or cut off, in seconds.
const PAUSES_S: std::ops::RangeInclusive<u64> = 1..=60;
/// The same if the request states none.
const USUAL_PAUSE_S: u64 = 8;
/// Time limit of the command that starts or stops a node.
const CONTROL_LIMIT: Duration = Duration::from_secs(60);
/// After this time, a loss shows in the status of the lab; a cut does only when the Sentinels have
/// noticed it.
const SHOWS_AFTER: Duration = Duration::from_secs(2);
/// Why links are not cut.
const NO_CUTS: &str = "links can be cut only between nodes on the loopback, by a user who may change rules of nftables";
/// Why a node is neither stopped nor started.
const NO_COMMAND: &str = "this lab is not run by a program that can start one node";

/// A fault, or its repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, strum::VariantArray)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PageFault {
    /// SIGKILL to the server; its supervisor stays.
    KillServer,
    /// SIGKILL to the supervisor, and with it to the server.
    KillNode,
    /// SIGSTOP to both, and SIGCONT after some seconds.
    PauseNode,
    /// No packets between a node and the other nodes, for some seconds.
    CutNode,
    /// No packets between a data node and the other data nodes, for some seconds.
    CutReplication,
    /// The planned stop of a node.
    StopNode,
    /// Starts a node that does not run.
    StartNode,
    /// A planned change of the primary.
    Handover,
}

/// A button of the page.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FaultButton {
    fault: &'static str,
    title: &'static str,
    /// What must hold.
    must_hold: &'static str,
    /// Whether it concerns one node.
    of_node: bool,
}

/// A request of a page.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultRequest {
    fault: PageFault,
    node: Option<String>,
    /// How long the node is paused, or cut off.
    seconds: Option<u64>,
    /// The person was told what is at stake, and wants it.
    #[serde(default)]
    confirmed: bool,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FaultRefusal {
    /// The page may only look.
    NotAllowed,
    /// It would be a second loss at the same time: what is at stake.
    Ask(Vec<String>),
    /// It cannot be done.
    Impossible(String),
}

/// Injects faults.
pub(super) struct PageFaults {
    pub(super) lab: Lab,
    pub(super) is_allowed: bool,
    /// The state folder of the nodes.
    pub(super) state: PathBuf,
    /// A shell command that is called with `start NAME` or `stop NAME`.
    pub(super) node_command: Option<String>,
    /// None: links cannot be cut here.
    pub(super) cuts: Option<TimedCuts>,
    pub(super) observer: Arc<LabObserver>,
    pub(super) status: watch::Receiver<Option<AskedStatus>>,
    /// A request is being handled: the lab has not recovered from it yet.
    pub(super) is_busy: Arc<AtomicBool>,
    /// One request at a time.
    pub(super) handling: tokio::sync::Mutex<()>,
    /// When the effects of the last loss show in a status.
    pub(super) last_loss: watch::Sender<Option<Instant>>,
    /// Cancelled when the page ends: nothing is begun then.
    pub(super) stop: CancellationToken,
}

/// The last status of the lab.
#[derive(Debug, Clone)]
pub(super) struct AskedStatus {
    pub(super) status: Arc<Status>,
    /// The lab has recovered from every loss before this time.
    pub(super) recovered: Option<Instant>,
}

impl FaultRequest {
    /// How long a fault that ends by itself lasts.
    fn seconds(&self) -> Result<u64, FaultRefusal> {
        let seconds = self.seconds.unwrap_or(USUAL_PAUSE_S);
        if PAUSES_S.contains(&seconds) {
            return Ok(seconds);
        }
        let (least, most) = PAUSES_S.into_inner();
        let why = format!("it lasts from {least} to {most} seconds");
        Err(impossible(why))
    }
}

impl PageFault {
    fn button(self) -> FaultButton {
        let (fault, title, must_hold, of_node) = match self {
            PageFault::KillServer => (
                "kill-server",
                "Kill the server",
                "The supervisor of a data node lives. If it was the primary, the Sentinels promote the \
                 replica within a second; the server then comes back as a replica. A Sentinel ends \
                 as a whole, until it is started. Nothing acknowledged is lost.",
                true,
            ),
            PageFault::KillNode => (
                "kill-node",
                "Kill the node",
                "Server and supervisor end, as when a machine loses power. The Sentinels wait for \
                 down-after, then promote the replica. The node stays down until it is started. \
                 Nothing acknowledged is lost.",
                true,
            ),
            PageFault::PauseNode => (
                "pause-node",
                "Pause the node",
                "It stands still, as a machine that hangs, and continues later with its old data. An \
                 old primary must not accept writes then. Nothing acknowledged is lost.",
                true,
            ),
            PageFault::CutNode => (
                "cut-node",
                "Cut off the node",
                "Its packets to and from every other node are dropped for some seconds. If it is the \
                 primary, another node is promoted, and nothing is acknowledged on its own side \
                 meanwhile. Nothing acknowledged is lost.",
                true,
            ),
            PageFault::CutReplication => (
                "cut-replication",
                "Cut its replication",
                "Packets between it and the other data nodes are dropped for some seconds, and nothing \
                 else. No failover. Writes wait until the loss is noticed, then go on with the \
                 Sentinels as witnesses, until the replica has caught up.",
                true,
            ),
            PageFault::StopNode => (
                "stop-node",
                "Stop the node",
                "A planned stop: a primary first hands over. No write fails.",
                true,
            ),
            PageFault::StartNode => (
                "start-node",
                "Start the node",
                "It asks the Sentinels for its role, and copies what it has missed. Then the lab can \
                 lose any one node again.",
                true,
            ),
            PageFault::Handover => (
                "handover",
                "Hand over",
                "Another data node becomes primary as planned. Writes wait for some milliseconds, and \
                 none fails.",
                false,
            ),
        };
        FaultButton {
            fault,
            title,
            must_hold,
            of_node,
        }
    }

    /// Whether it takes a node away.
    fn is_loss(self) -> bool {
        matches!(
            self,
            PageFault::KillServer
                | PageFault::KillNode
                | PageFault::PauseNode
                | PageFault::CutNode
                | PageFault::CutReplication
                | PageFault::StopNode
        )
    }
}

impl PageFaults {
    /// The buttons of the page: none if it may only look.
    pub(super) fn buttons(&self) -> Vec<FaultButton> {
        let all = <PageFault as strum::VariantArray>::VARIANTS.iter().copied();
        all.filter(|fault| self.is_allowed && self.can(*fault).is_ok())
            .map(PageFault::button)
            .collect()
    }

    /// Whether this program can do it here; else why not.
    fn can(&self, fault: PageFault) -> Result<(), &'static str> {
        match fault {
            // Without a command, nobody could start a killed node again.
            PageFault::StopNode | PageFault::StartNode | PageFault::KillNode
                if self.node_command.is_none() =>
            {
                Err(NO_COMMAND)
            }
            PageFault::CutNode | PageFault::CutReplication if self.cuts.is_none() => Err(NO_CUTS),
            _ => Ok(()),
        }
    }

    /// Does what was requested. Returns what was done.
    pub(super) async fn inject(&self, request: FaultRequest) -> Result<String, FaultRefusal> {
        let fault = request.fault;
        if !self.is_allowed {
            return Err(FaultRefusal::NotAllowed);
        }
        self.can(fault).map_err(impossible)?;
        let _one_at_a_time = self.handling.lock().await;
        if self.stop.is_cancelled() {
            return Err(impossible("halab web is being stopped"));
        }
        let _busy = Busy::begin(&self.is_busy);
        let done = self.inject_alone(&request).await;
        if done.is_ok() && fault.is_loss() {
            self.note_loss(self.shows_after(&request));
        }
        done
    }

    /// Notes a loss whose effects show in a status after some time.
    fn note_loss(&self, shows_after: Duration) {
        self.last_loss
            .send_replace(Some(Instant::now() + shows_after));
    }

    /// After which time the effects of a loss show in a status.
    fn shows_after(&self, request: &FaultRequest) -> Duration {
        match request.fault {
            // Until then, a node that is cut off answers as before.
            PageFault::CutNode | PageFault::CutReplication => {
                let lasts = Duration::from_secs(request.seconds.unwrap_or(USUAL_PAUSE_S));
                SHOWS_AFTER + self.lab.timing.down_after.max(lasts)
            }
            _ => SHOWS_AFTER,
        }
    }

    async fn inject_alone(&self, request: &FaultRequest) -> Result<String, FaultRefusal> {
        let fault = request.fault;
        if !fault.button().of_node {
            return self.hand_over().await;
        }
        let Some(node) = request.node.as_deref().and_then(|name| self.lab.node(name)) else {
            let names: Vec<&str> = self.lab.nodes().map(|node| node.name.as_str()).collect();
            return Err(impossible(format!("name a node: {}", names.join(", "))));
        };
        let name = &node.name;
        if fault.is_loss() && !request.confirmed {
            self.ask_first(name, node.kind)?;
        }
        match fault {
            PageFault::StopNode => self.control("stop", name).await,
            PageFault::StartNode => match NodeProcesses::find(&self.state, name) {
                Some(_) => Err(impossible(format!("{name} runs already"))),
                None => self.control("start", name).await,
            },
            PageFault::KillServer => {
                if node.kind == NodeKind::Sentinel && self.node_command.is_none() {
                    return Err(impossible(NO_COMMAND));
                }
                let processes = self.processes(name)?;
                let at = self.observer.now();
                done(name, processes.kill_server())?;
                self.record(at, format!("SIGKILL to the server of {name}"));
                let pid = processes.server_pid();
                Ok(format!("killed the server of {name}, process {pid}"))
            }
            PageFault::KillNode => {
                let processes = self.processes(name)?;
                let at = self.observer.now();
                done(name, processes.kill())?;
                self.record(at, format!("SIGKILL to the node {name}"));
                Ok(format!("killed the node {name}"))
            }
            PageFault::PauseNode => {
                let seconds = request.seconds()?;
                let processes = self.processes(name)?;
                if processes.is_paused() {
                    return Err(impossible(format!("{name} stands still already")));
                }
                let at = self.observer.now();
                done(name, processes.pause(seconds))?;
                self.record(at, format!("the node {name} stands still for {seconds} s"));
                Ok(format!("paused the node {name} for {seconds} s"))
            }
            PageFault::CutNode | PageFault::CutReplication => {
                self.cut(node, fault, request.seconds()?)
            }
            PageFault::Handover => self.hand_over().await,
        }
    }

    /// Cuts a node off from all other nodes, or from the other data nodes.
    fn cut(&self, node: &Node, fault: PageFault, seconds: u64) -> Result<String, FaultRefusal> {
        let name = &node.name;
        let Some(cuts) = &self.cuts else {
            return Err(impossible(NO_CUTS));
        };
        if cuts.is_cut() {
            return Err(impossible(
                "links are cut already; wait until they are healed",
            ));
        }
        let (others, from): (Vec<&Node>, _) = match fault {
            PageFault::CutReplication if node.kind == NodeKind::Sentinel => {
                return Err(impossible(format!(
                    "{name} is a Sentinel: it copies nothing"
                )));
            }
            PageFault::CutReplication => (self.lab.data_nodes.iter().collect(), "data"),
            _ => (self.lab.nodes().collect(), "other"),
        };
        let pairs = others.iter().filter(|other| other.name != *name);
        let pairs: Vec<_> = pairs.map(|other| (node.address, other.address)).collect();
        let at = self.observer.now();
        cuts.cut(&pairs, Duration::from_secs(seconds))
            .map_err(|error| impossible(error.to_string()))?;
        let done = format!("{name} cut off from the {from} nodes for {seconds} s");
        self.record(at, done.clone());
        Ok(done)
    }

    fn processes(&self, name: &str) -> Result<NodeProcesses, FaultRefusal> {
        NodeProcesses::find(&self.state, name).ok_or_else(|| {
            let why = format!("no server of {name} runs on this machine; start the node first");
            impossible(why)
        })
    }

    /// Records a fault that was injected at a time of the observer.
    fn record(&self, at: u64, text: String) {
        tracing::info!(fault = %text, "injected a fault");
        self.observer.record_at(at, LabEventKind::Fault(text));
    }

    /// Refuses a loss while another one is not over, as far as is known.
    fn ask_first(&self, name: &str, kind: NodeKind) -> Result<(), FaultRefusal> {
        let known = self.status.borrow().clone();
        let shows = *self.last_loss.borrow();
        let is_over =
            |known: &AskedStatus| known.status.healthy && is_after(known.recovered, shows);
        if known.as_ref().is_some_and(is_over) {
            return Ok(());
        }
        let status = known.as_ref().map(|known| &known.status);
        let kind = match kind {
            NodeKind::Data => "the data node",
            NodeKind::Sentinel => "the Sentinel",
        };
        let mut stakes = vec![format!(
            "The lab has not recovered from another loss, as far as is known. With {kind} {name} gone \
             too, two losses coincide, and the lab promises nothing for that."
        )];
        stakes.extend(status.iter().flat_map(|status| &status.stakes).cloned());
        Err(FaultRefusal::Ask(stakes))
    }

    async fn hand_over(&self) -> Result<String, FaultRefusal> {
        let connector = Connector::new(&self.lab, User::Operator);
        let at = self.observer.now();
        match hand_over(&self.lab, &connector).await {
            Ok(done) => {
                self.record(at, "handover".into());
                Ok(format!(
                    "{} handed over to {}; writes paused for {:.0} ms",
                    done.from, done.to, done.paused_ms
                ))
            }
            Err(error) => Err(impossible(error.to_string())),
        }
    }

    async fn control(&self, action: &str, name: &str) -> Result<String, FaultRefusal> {
        let command = self.node_command.as_deref().unwrap_or_default();
        let at = self.observer.now();
        let run = Command::new("sh")
            .args(["-c", &format!("{command} \"$@\""), "sh", action, name])
            .kill_on_drop(true)
            .output();
        let ended = match timeout(CONTROL_LIMIT, run).await {
            Err(_) => Err(format!("no end within {} s", CONTROL_LIMIT.as_secs())),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                let text = String::from_utf8_lossy(&output.stderr);
                Err(without_colours(
                    text.trim().lines().last().unwrap_or_default(),
                ))
            }
        };
        match ended {
            Ok(()) => {
                let text = format!("{action} of the node {name}");
                match action {
                    // A repair belongs to the story of the loss.
                    "start" => self.observer.record_at(at, LabEventKind::Action(text)),
                    _ => self.record(at, text),
                }
                Ok(format!("{action} of {name}: done"))
            }
            Err(why) => {
                // It may have begun.
                if action == "stop" {
                    self.note_loss(SHOWS_AFTER);
                    self.record(at, format!("stop of the node {name}: {why}"));
                }
                Err(impossible(format!("{action} {name}: {why}")))
            }
        }
    }
}

/// Set while it lives.
struct Busy<'f>(&'f AtomicBool);

impl<'f> Busy<'f> {
    fn begin(flag: &'f AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Busy(flag)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn impossible(why: impl Into<String>) -> FaultRefusal {
    FaultRefusal::Impossible(why.into())
}

/// A line without the escape sequences by which terminals colour it.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    text
}

/// The refusal that follows from a signal that could not be sent.
fn done(name: &str, sent: io::Result<()>) -> Result<(), FaultRefusal> {
    sent.map_err(|error| impossible(format!("cannot signal the processes of {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_a_command_are_left_out() {
        assert_eq!(without_colours("plain"), "plain");
        let coloured = "\u{1b}[31mFTL\u{1b}[0m \u{1b}[1mcannot start\u{1b}[0m";
        assert_eq!(without_colours(coloured), "FTL cannot start");
    }
}
