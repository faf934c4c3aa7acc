//! The faults that the page can inject: requests, and what is asked before a second loss.
//!
//! Only nodes of this machine can be broken: their processes are found by the state folder. Each
//! fault is recorded on the observer's clock right before it is injected.

mod processes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::access::User;
use crate::client::Connector;
use crate::config::{Lab, NodeKind};
use crate::drill::environment::LabObserver;
use crate::drill::judging::LabEventKind;
use crate::handover::hand_over;
use crate::status::Status;

use processes::NodeProcesses;

/// How long a node may be paused.
const PAUSES_S: std::ops::RangeInclusive<u64> = 1..=60;
/// Pause of a node if the request states none.
const USUAL_PAUSE_S: u64 = 8;
/// Time limit of the command that starts or stops a node.
const CONTROL_LIMIT: Duration = Duration::from_secs(60);

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
    /// How long the node is paused.
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
    pub(super) observer: Arc<LabObserver>,
    pub(super) status: watch::Receiver<Option<Arc<Status>>>,
}

impl PageFault {
    fn button(self) -> FaultButton {
        let (fault, title, must_hold, of_node) = match self {
            PageFault::KillServer => (
                "kill-server",
                "Kill the server",
                "Its supervisor lives. If it was the primary, the Sentinels promote the replica within \
                 a second; the server then comes back as a replica. Nothing acknowledged is lost.",
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
                | PageFault::StopNode
        )
    }
}

impl PageFaults {
    /// The buttons of the page: none if it may only look.
    pub(super) fn buttons(&self) -> Vec<FaultButton> {
        let all = <PageFault as strum::VariantArray>::VARIANTS.iter().copied();
        all.filter(|fault| self.is_allowed && self.can(*fault))
            .map(PageFault::button)
            .collect()
    }

    /// Whether this program can do it here.
    fn can(&self, fault: PageFault) -> bool {
        match fault {
            PageFault::StopNode | PageFault::StartNode => self.node_command.is_some(),
            // Without a command, nobody could start it again.
            PageFault::KillNode => self.node_command.is_some(),
            _ => true,
        }
    }

    /// Does what was requested. Returns what was done.
    pub(super) async fn inject(&self, request: FaultRequest) -> Result<String, FaultRefusal> {
        let fault = request.fault;
        if !self.is_allowed {
            return Err(FaultRefusal::NotAllowed);
        }
        if !self.can(fault) {
            let why = "this lab is not run by a program that can start one node";
            return Err(FaultRefusal::Impossible(why.into()));
        }
        if !fault.button().of_node {
            return self.hand_over().await;
        }
        let Some(node) = request.node.as_deref().and_then(|name| self.lab.node(name)) else {
            let names: Vec<&str> = self.lab.nodes().map(|node| node.name.as_str()).collect();
            let why = format!("name a node: {}", names.join(", "));
            return Err(FaultRefusal::Impossible(why));
        };
        let name = &node.name;
        if fault.is_loss() {
            self.ask_first(name, node.kind, request.confirmed)?;
        }
        match fault {
            PageFault::StopNode => self.control("stop", name).await,
            PageFault::StartNode => self.control("start", name).await,
            PageFault::KillServer => {
                let server = self.processes(name)?.server()?;
                self.record(format!("SIGKILL to the server of {name}"));
                processes::signal(server, Signal::KILL);
                Ok(format!(
                    "killed the server of {name}, process {}",
                    server.as_raw_nonzero()
                ))
            }
            PageFault::KillNode => {
                let both = self.processes(name)?.both()?;
                self.record(format!("SIGKILL to the node {name}"));
                // The supervisor first: it would start a server again.
                for process in both {
                    processes::signal(process, Signal::KILL);
                }
                Ok(format!("killed the node {name}"))
            }
            PageFault::PauseNode => {
                let seconds = request.seconds.unwrap_or(USUAL_PAUSE_S);
                if !PAUSES_S.contains(&seconds) {
                    let (least, most) = PAUSES_S.into_inner();
                    let why = format!("a pause lasts from {least} to {most} seconds");
                    return Err(FaultRefusal::Impossible(why));
                }
                let both = self.processes(name)?.both()?;
                self.record(format!("the node {name} stands still for {seconds} s"));
                processes::pause(&both, seconds).map_err(|error| {
                    FaultRefusal::Impossible(format!("cannot pause {name}: {error}"))
                })?;
                Ok(format!("paused the node {name} for {seconds} s"))
            }
            PageFault::Handover => self.hand_over().await,
        }
    }

    fn processes(&self, name: &str) -> Result<NodeProcesses, FaultRefusal> {
        NodeProcesses::find(&self.state, name).ok_or_else(|| {
            let why = format!("no server of {name} runs on this machine; start the node first");
            FaultRefusal::Impossible(why)
        })
    }

    fn record(&self, text: String) {
        tracing::info!(fault = %text, "injecting a fault");
        self.observer.record(LabEventKind::Fault(text));
    }

    /// Refuses a loss while another one is not over, unless it is confirmed.
    fn ask_first(&self, name: &str, kind: NodeKind, confirmed: bool) -> Result<(), FaultRefusal> {
        if confirmed {
            return Ok(());
        }
        let status = self.status.borrow().clone();
        let Some(status) = status else {
            return Ok(());
        };
        if status.healthy {
            return Ok(());
        }
        let mut stakes = vec![format!(
            "The lab has not recovered from another loss. With {} {name} gone too, two losses coincide, \
             and the lab promises nothing for that.",
            match kind {
                NodeKind::Data => "the data node",
                NodeKind::Sentinel => "the Sentinel",
            }
        )];
        stakes.extend(status.stakes.iter().cloned());
        Err(FaultRefusal::Ask(stakes))
    }

    async fn hand_over(&self) -> Result<String, FaultRefusal> {
        self.record("handover".into());
        let connector = Connector::new(&self.lab, User::Operator);
        match hand_over(&self.lab, &connector).await {
            Ok(done) => Ok(format!(
                "{} handed over to {}; writes paused for {:.0} ms",
                done.from, done.to, done.paused_ms
            )),
            Err(error) => Err(FaultRefusal::Impossible(error.to_string())),
        }
    }

    async fn control(&self, action: &str, name: &str) -> Result<String, FaultRefusal> {
        let impossible = |why: String| FaultRefusal::Impossible(why);
        let command = self.node_command.as_deref().unwrap_or_default();
        self.record(format!("{action} of the node {name}"));
        let run = Command::new("sh")
            .args(["-c", &format!("{command} \"$@\""), "sh", action, name])
            .kill_on_drop(true)
            .output();
        match timeout(CONTROL_LIMIT, run).await {
            Err(_) => Err(impossible(format!(
                "{command} {action} {name}: no end within {} s",
                CONTROL_LIMIT.as_secs()
            ))),
            Ok(Err(error)) => Err(impossible(format!("{command}: {error}"))),
            Ok(Ok(output)) if output.status.success() => Ok(format!("{action} of {name}: done")),
            Ok(Ok(output)) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let last = text.trim().lines().last().unwrap_or_default();
                Err(impossible(format!("{command} {action} {name}: {last}")))
            }
        }
    }
}
