//! A data node: observes its server and the other nodes, asks the state machine what to do, and
//! does it.
//!
//! - `look`: observes this node's server; `act`: executes the actions of the state machine
//! - `marks`: the mark of this node's copy; `member_list`: this node's membership
//! - `raise`: how a replica becomes promotable
//! - `in_sync`: which replicas are in sync; `pacing`: writes are slowed down during a full copy
//! - `fsync`: syncs the append-only file to disk
//! - `renewal`: gives the server a renewed certificate
//! - `leave`: how the node ends

mod act;
mod fsync;
mod in_sync;
mod leave;
mod look;
mod marks;
mod member_list;
mod pacing;
mod raise;
mod renewal;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use crate::access::User;
use crate::client::{Conn, Connector, StoredMemberList};
use crate::config::{Lab, Node};
use crate::sentinel::SentinelClients;

use super::binary::ServerBinary;
use super::certificate::Certificate;
use super::machine::{Action, Machine, MachineConfig, Observation, ServerState};
use super::metrics::data::DataMetrics;
use super::observe::{CALM, Observers, URGENT};
use super::on_disk::DiskCopy;
use super::server::ServerProcess;
use super::shared_report::SharedReport;
use super::state::StateDir;
use super::{NodeError, Shutdown, version};

use fsync::FsyncTask;
use in_sync::ReplicaTracker;
use look::ServerWatch;
use marks::OwnCopy;
use member_list::OwnMembership;
use pacing::Pacing;
use raise::Raising;

/// Limit for a connect or an answer of another node: several round trips between distant sites.
const OTHERS_LIMIT: Duration = Duration::from_secs(1);
/// Unanswered questions before the server's silence counts. One can be lost if this process was
/// stopped between question and answer. Each may take a third of the hang limit.
const HANG_QUESTIONS: u32 = 3;

/// The parts that a data node is made of.
#[derive(Debug)]
pub(super) struct DataNodeParts {
    pub(super) state: StateDir,
    pub(super) binary: ServerBinary,
    pub(super) metrics: DataMetrics,
    pub(super) certificate: Option<Certificate>,
    pub(super) report: SharedReport,
}

/// A data node.
#[derive(Debug)]
pub(super) struct DataNode {
    lab: Lab,
    node: Node,
    state: StateDir,
    conf: PathBuf,
    binary: ServerBinary,
    sentinels: Arc<SentinelClients>,
    /// To this node's server.
    connector: Connector,
    /// To the other nodes.
    others: Connector,
    observers: Observers,
    raising: Raising,
    replicas: ReplicaTracker,
    pacing: Pacing,
    fsync: FsyncTask,
    machine: Machine,
    metrics: DataMetrics,
    certificate: Option<Certificate>,
    report: SharedReport,
    started: Instant,
    server: Option<ServerProcess>,
    conn: Option<Conn>,
    watch: ServerWatch,
    /// This node's copy.
    copy: OwnCopy,
    /// The list of members on this node's server, and the membership of this node in it.
    member_list: Option<StoredMemberList>,
    membership: OwnMembership,
    /// Names and old addresses of nodes that an operator has moved.
    moved_from: Vec<(String, SocketAddrV4)>,
    /// Moved nodes whose old address still answers.
    answer_elsewhere: Vec<String>,
    /// Whether the server writes to disk before each answer, as confirmed by the server.
    sync_always: Option<bool>,
    /// The version that wrote the files on disk, if the server binary can't read them.
    written_by: Option<String>,
    version_check: version::VersionCheck,
    /// The copy in those files.
    on_disk: DiskCopy,
}

/// Why the main loop ended.
enum LoopEnd {
    Stopped,
    GaveUp,
}

impl DataNode {
    pub(super) fn new(lab: Lab, node: Node, own: DataNodeParts) -> Result<Self, NodeError> {
        let DataNodeParts {
            state,
            binary,
            metrics,
            certificate,
            report,
        } = own;
        metrics.certificate_ends(certificate.as_ref().map_or(0, Certificate::end));
        // Shorter than the hang limit, so that one lost answer is not a hang.
        let limit = (lab.timing.hang_timeout / HANG_QUESTIONS).max(CALM);
        let connector = || Connector::new(&lab, User::Node).from_source(lab.listens(&node));
        let others = connector().with_min_limit(OTHERS_LIMIT.max(lab.timing.raise_limit));
        let connector = connector().with_limit(limit);
        let sentinels = Arc::new(SentinelClients::new(&lab, others.clone()));
        let observers = Observers::start(&lab, &node, &sentinels, &others);
        let seed = lab
            .node(&lab.seed_primary)
            .map_or(node.socket(), Node::socket);
        let machine = Machine::new(MachineConfig {
            me: node.socket(),
            seed,
            has_state: !state.first_start(),
            hang_timeout: lab.timing.hang_timeout,
            down_after: lab.timing.down_after,
        });
        let conf = state.apply(&lab, &node)?;
        let moved_from = state.moved_from(&node);
        metrics.removed_unfinished(state.take_unfinished());
        let fsync = FsyncTask::start(state.files());
        Ok(DataNode {
            fsync,
            lab,
            node,
            state,
            conf,
            binary,
            sentinels,
            connector,
            others,
            observers,
            raising: Raising::default(),
            replicas: ReplicaTracker::default(),
            pacing: Pacing::default(),
            machine,
            metrics,
            certificate,
            report,
            started: Instant::now(),
            server: None,
            conn: None,
            watch: ServerWatch::default(),
            copy: OwnCopy::default(),
            member_list: None,
            membership: OwnMembership::default(),
            moved_from,
            answer_elsewhere: Vec::new(),
            sync_always: None,
            written_by: None,
            version_check: version::VersionCheck::default(),
            on_disk: DiskCopy::default(),
        })
    }

    /// Runs until a signal arrives or the server ends too often. Returns the server's exit status.
    pub(super) async fn run(
        mut self,
        shutdown: &Shutdown,
    ) -> Result<Option<ExitStatus>, NodeError> {
        match self.serve(shutdown).await? {
            LoopEnd::GaveUp => Err(NodeError::CrashLoop {
                node: self.node.name.clone(),
                reason: self.report.log_problem().map(|problem| problem.line),
            }),
            LoopEnd::Stopped => {
                info!(node = %self.node.name, "stopping");
                self.metrics.stopping();
                Ok(self.leave().await)
            }
        }
    }

    async fn serve(&mut self, shutdown: &Shutdown) -> Result<LoopEnd, NodeError> {
        loop {
            if shutdown.requested() {
                return Ok(LoopEnd::Stopped);
            }
            if let Some(why) = self.observers.ended() {
                return Err(NodeError::Observer(why));
            }
            let server = self.observe_server().await?;
            self.watch_syncs().await;
            let server = self.apply_member_list(server).await;
            self.assure(server).await;
            if matches!(
                server,
                ServerState::Primary { .. } | ServerState::Replica { .. }
            ) {
                self.renew_certificate().await;
            }
            let calm = self.is_calm(server);
            self.observers.set_pace(if calm { CALM } else { URGENT });
            let seen = self.observation(server);
            self.metrics.observed(&seen);
            self.report.observed(&seen);
            self.report
                .foreign_primary(self.observers.foreign_primary());
            for action in self.machine.step(&seen) {
                self.metrics.decided(&action);
                self.report.decided(&action);
                debug!(node = %self.node.name, ?action, ?seen, "decided");
                if action == Action::GiveUp {
                    return Ok(LoopEnd::GaveUp);
                }
                self.act(action).await?;
            }
            let copied = self.pace(server).await;
            let ended = async {
                match &mut self.server {
                    Some(server) => drop(server.wait().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep(if calm && !copied { CALM } else { URGENT }) => {}
                () = ended => {}
                () = shutdown.wait() => return Ok(LoopEnd::Stopped),
            }
        }
    }

    /// Whether nothing is expected to change soon: the node serves in its role.
    fn is_calm(&self, server: ServerState) -> bool {
        match server {
            // Writers wait for a term that is not marked or not confirmed yet.
            ServerState::Primary { .. } => self.copy.in_term() && self.copy.confirmed(),
            ServerState::Replica {
                link_down_for: None,
                promotable,
                ..
            } => promotable || !self.membership.may_be_promotable(),
            _ => false,
        }
    }

    /// What the state machine decides from. `server`: the state of this node's server.
    fn observation(&self, server: ServerState) -> Observation {
        Observation {
            now: self.started.elapsed(),
            server,
            disk_refuses: match server {
                ServerState::Gone => self.state.disk_refusal().is_some(),
                _ => self.watch.disk_refuses,
            },
            unreadable: self.written_by.is_some(),
            sync_always: self.sync_always,
            own: self.copy.own(&self.node.name),
            set_aside: self.copy.set_aside(),
            in_term: self.copy.in_term(),
            written: self.copy.written(),
            chosen: self.copy.chosen(),
            vote: self.observers.vote(),
            peers: self.observers.peers(self.copy.at_stake(), self.version()),
        }
    }
}
