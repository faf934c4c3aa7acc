//! What a node tells about itself, for Prometheus. Names and meanings: `docs/metrics.md`.
//!
//! Reads the observations and decisions that are made anyway, and changes nothing. Where a gauge
//! has one series for each state, exactly one of them is 1.

use std::net::SocketAddrV4;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::{info, warn};

use crate::config::{Lab, Node};
use crate::handover::Handover;
use crate::metrics::MetricsServer;

use super::machine::{Action, Observation, Peer, PeerState, Server};
use super::room::RoomMetrics;
use super::statement::Statement;

type Seconds = Gauge<f64, AtomicU64>;

/// One label with one of a few values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Role {
    role: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decision {
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    primary: String,
}

/// What the server of a data node is, as its parent sees it.
const ROLES: [&str; 8] = [
    "primary", "replica", "parked", "loading", "starting", "silent", "gone", "stopping",
];
const DECISIONS: [&str; 17] = [
    "start",
    "start_afresh",
    "kill",
    "promote",
    "follow",
    "call_failover",
    "raise",
    "lower",
    "sync_always",
    "sync_once_a_second",
    "fence",
    "unfence",
    "wait",
    "disk_refuses",
    "cannot_load",
    "cannot_follow",
    "give_up",
];
const OUTCOMES: [&str; 2] = ["done", "failed"];

/// The metrics of every node.
#[derive(Debug, Default)]
pub(super) struct NodeMetrics {
    server_up: Gauge,
    server_starts: Counter,
    server_exits: Counter,
    certificate_end: Gauge,
}

/// The metrics of a data node.
#[derive(Debug)]
pub(super) struct DataMetrics {
    node: NodeMetrics,
    lab: Lab,
    role: Family<Role, Gauge>,
    promotable: Gauge,
    raises: Family<Outcome, Counter>,
    raise: Seconds,
    replicas_online: Gauge,
    link_down: Seconds,
    majority: Gauge,
    epoch: Gauge,
    named: Family<Named, Gauge>,
    decisions: Family<Decision, Counter>,
    waiting: Gauge,
    unreadable: Gauge,
    fenced: Gauge,
    pauses_for_copies: Counter<f64, AtomicU64>,
    sync_always: Gauge,
    failover_calls: Family<Outcome, Counter>,
    handovers: Family<Outcome, Counter>,
    handover_pause: Seconds,
    unfinished_removed: Counter,
    hang_timeout: Seconds,
    pub(super) room: RoomMetrics,
}

/// A registry with what every node has, for the lab's `node`.
fn registry(node: &Node, server_version: &str) -> Registry {
    let mut registry = Registry::with_prefix("halab_node");
    let labels = vec![
        ("kind", node.kind.name().to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("server_version", server_version.to_owned()),
    ];
    // The name of an info metric is that of its registry.
    registry.register("build", "What runs on the node", Info::new(labels));
    registry
}

impl NodeMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "server_up",
            "1 while the node's server process runs",
            self.server_up.clone(),
        );
        registry.register(
            "server_starts",
            "Starts of the server by its node",
            self.server_starts.clone(),
        );
        registry.register(
            "server_exits",
            "Ends of the server that its node did not order, and kills of a server that hung",
            self.server_exits.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate that the server shows ends, in Unix time; 0 without TLS",
            Unit::Seconds,
            self.certificate_end.clone(),
        );
    }

    /// The metrics of a Sentinel's node, with their registry.
    pub(super) fn of_sentinel(node: &Node, server_version: &str) -> (Self, Registry) {
        let metrics = NodeMetrics::default();
        let mut registry = registry(node, server_version);
        metrics.register(&mut registry);
        (metrics, registry)
    }

    pub(super) fn started(&self) {
        self.server_up.set(1);
        self.server_starts.inc();
    }

    pub(super) fn certificate_ends(&self, at: i64) {
        self.certificate_end.set(at);
    }

    pub(super) fn exited(&self) {
        self.server_up.set(0);
        self.server_exits.inc();
    }
}

impl DataMetrics {
    /// The metrics of a data node, with their registry.
    pub(super) fn new(lab: &Lab, node: &Node, server_version: &str) -> (Self, Registry) {
        let metrics = DataMetrics {
            node: NodeMetrics::default(),
            lab: lab.clone(),
            role: Family::default(),
            promotable: Gauge::default(),
            raises: Family::default(),
            raise: Seconds::default(),
            replicas_online: Gauge::default(),
            link_down: Seconds::default(),
            majority: Gauge::default(),
            epoch: Gauge::default(),
            named: Family::default(),
            decisions: Family::default(),
            waiting: Gauge::default(),
            unreadable: Gauge::default(),
            fenced: Gauge::default(),
            pauses_for_copies: Counter::default(),
            sync_always: Gauge::default(),
            failover_calls: Family::default(),
            handovers: Family::default(),
            handover_pause: Seconds::default(),
            unfinished_removed: Counter::default(),
            hang_timeout: Seconds::default(),
            room: RoomMetrics::default(),
        };
        let mut registry = registry(node, server_version);
        metrics.register(&mut registry);
        (metrics, registry)
    }

    fn register(&self, registry: &mut Registry) {
        self.node.register(registry);
        // Every series is there from the start: one that appears with its first event has no
        // increase.
        for role in ROLES {
            let _ = self.role.get_or_create(&Role { role });
        }
        for decision in DECISIONS {
            let _ = self.decisions.get_or_create(&Decision { decision });
        }
        for outcome in OUTCOMES {
            let _ = self.failover_calls.get_or_create(&Outcome { outcome });
            let _ = self.handovers.get_or_create(&Outcome { outcome });
            let _ = self.raises.get_or_create(&Outcome { outcome });
        }
        self.name_primary(None);
        let r = registry;
        r.register(
            "role",
            "1 for what the data node's server is now, 0 for all else",
            self.role.clone(),
        );
        r.register(
            "promotable",
            "1 while the Sentinels may promote this replica",
            self.promotable.clone(),
        );
        r.register(
            "raises",
            "Attempts to make this replica promotable; failed: it stays as it is, and tries again",
            self.raises.clone(),
        );
        r.register_with_unit(
            "raise",
            "How long the last attempt took, from asking the primary for its offset; its limit is raise_limit_ms",
            Unit::Seconds,
            self.raise.clone(),
        );
        r.register(
            "replicas_online",
            "Replicas that are in sync with this primary, or are waited for",
            self.replicas_online.clone(),
        );
        r.register_with_unit(
            "link_down",
            "For how long this replica's link has been down or syncing; 0 while it is in sync",
            Unit::Seconds,
            self.link_down.clone(),
        );
        r.register(
            "sentinel_majority",
            "1 while a majority of the Sentinels names one primary to this node",
            self.majority.clone(),
        );
        r.register(
            "epoch",
            "The epoch at which that majority names the primary; each failover raises it",
            self.epoch.clone(),
        );
        r.register(
            "named_primary",
            "1 for the data node that the majority names to this node",
            self.named.clone(),
        );
        r.register(
            "decisions",
            "What the node decided about its server; wait: it held the server back from a role",
            self.decisions.clone(),
        );
        r.register(
            "waiting",
            "1 while the node holds its server back from a role; its log says what for",
            self.waiting.clone(),
        );
        r.register(
            "server_too_old",
            "1 while the node's server can't read what is on its disk, or what the primary writes: of an older version, or another product",
            self.unreadable.clone(),
        );
        r.register(
            "writes_fenced",
            "1 while the node pauses writes, since this primary may be isolated",
            self.fenced.clone(),
        );
        r.register_with_unit(
            "pauses_for_copies",
            "Writes held up so that a replica completes its copy: the sum of the pauses",
            Unit::Seconds,
            self.pauses_for_copies.clone(),
        );
        r.register(
            "only_copy",
            "1 while this primary has no replica in sync, and so writes to disk before each answer",
            self.sync_always.clone(),
        );
        r.register(
            "failover_calls",
            "Failovers this node asked the Sentinels for; failed: none of them took it",
            self.failover_calls.clone(),
        );
        r.register(
            "handovers",
            "Planned handovers by this node before it stopped",
            self.handovers.clone(),
        );
        r.register_with_unit(
            "handover_pause",
            "For how long the last planned handover paused writes",
            Unit::Seconds,
            self.handover_pause.clone(),
        );
        r.register(
            "unfinished_files_removed",
            "Files that a killed server left unfinished, of a rewrite or a copy, and the node removed before a start",
            self.unfinished_removed.clone(),
        );
        r.register_with_unit(
            "hang_timeout",
            "Silence after which the node kills its server as hung: hang_timeout_ms",
            Unit::Seconds,
            self.hang_timeout.clone(),
        );
        self.hang_timeout
            .set(self.lab.timing.hang_timeout.as_secs_f64());
        self.room.register(r);
    }

    /// Writes are held up for a replica that copies.
    pub(super) fn paused_for_copy(&self, longer: Duration) {
        self.pauses_for_copies.inc_by(longer.as_secs_f64());
    }

    /// Of the node itself, and of the others as it sees them.
    pub(super) fn observed(&self, seen: &Observation) {
        let (role, promotable, replicas, link_down) = match seen.server {
            Server::Gone => ("gone", false, 0, None),
            Server::Starting => ("starting", false, 0, None),
            Server::Silent(_) => ("silent", false, 0, None),
            Server::Loading => ("loading", false, 0, None),
            Server::Parked => ("parked", false, 0, None),
            Server::Primary { replicas } => ("primary", false, replicas, None),
            Server::Replica {
                link_down_for,
                promotable,
                ..
            } => ("replica", promotable, 0, link_down_for),
        };
        self.set_role(role);
        self.promotable.set(i64::from(promotable));
        self.replicas_online
            .set(i64::try_from(replicas).unwrap_or(i64::MAX));
        self.link_down
            .set(link_down.unwrap_or_default().as_secs_f64());
        self.majority.set(i64::from(seen.vote.is_some()));
        if let Some(vote) = seen.vote {
            self.epoch
                .set(i64::try_from(vote.epoch).unwrap_or(i64::MAX));
        }
        let cannot_follow = |p: &Peer| p.state == PeerState::Primary && !p.readable;
        let unreadable = seen.unreadable || seen.peers.iter().any(cannot_follow);
        self.unreadable.set(i64::from(unreadable));
        let named = seen.vote.and_then(|v| self.lab.data_node_at(v.primary));
        self.name_primary(named.map(|n| n.name.as_str()));
        if role != "parked" {
            self.waiting.set(0);
        }
        if role != "primary" {
            self.fenced.set(0);
            self.sync_always.set(0);
        }
    }

    /// The node hands over, if it is the primary, and ends. It observes nothing from here on.
    pub(super) fn stopping(&self) {
        self.set_role("stopping");
        self.promotable.set(0);
    }

    fn set_role(&self, role: &str) {
        for other in ROLES {
            let gauge = self.role.get_or_create(&Role { role: other });
            gauge.set(i64::from(other == role));
        }
    }

    fn name_primary(&self, primary: Option<&str>) {
        for node in &self.lab.data_nodes {
            let name = Named {
                primary: node.name.clone(),
            };
            self.named
                .get_or_create(&name)
                .set(i64::from(primary == Some(node.name.as_str())));
        }
    }

    /// A decision that is about to be carried out.
    pub(super) fn decided(&self, action: &Action) {
        let decision = match action {
            Action::Start => "start",
            Action::StartAfresh => "start_afresh",
            Action::Kill => "kill",
            Action::Promote(_) => "promote",
            Action::Stand(_) => "stand",
            Action::Park(_) => "park",
            Action::BeginTerm => "begin_term",
            Action::Mark(..) => "mark",
            Action::Reopen => "reopen",
            Action::PutBack => "put_back",
            Action::Yield => "yield",
            Action::Follow(..) => "follow",
            Action::CallFailover(_) => "call_failover",
            Action::Raise => "raise",
            Action::Lower(_) => "lower",
            Action::SyncAlways(true) => "sync_always",
            Action::SyncAlways(false) => "sync_once_a_second",
            Action::Fence => "fence",
            Action::Unfence => "unfence",
            Action::Waiting(_) => "wait",
            Action::DiskRefuses => "disk_refuses",
            Action::CannotLoad => "cannot_load",
            Action::CannotFollow(_) => "cannot_follow",
            Action::GiveUp => "give_up",
        };
        self.decisions.get_or_create(&Decision { decision }).inc();
        match action {
            Action::Waiting(_) => drop(self.waiting.set(1)),
            Action::Fence => drop(self.fenced.set(1)),
            Action::Unfence => drop(self.fenced.set(0)),
            Action::SyncAlways(always) => drop(self.sync_always.set(i64::from(*always))),
            _ => {}
        }
    }

    pub(super) fn started(&self) {
        self.node.started();
    }

    pub(super) fn certificate_ends(&self, at: i64) {
        self.node.certificate_ends(at);
    }

    pub(super) fn exited(&self) {
        self.node.exited();
    }

    /// Before a start of the server.
    pub(super) fn removed_unfinished(&self, files: u64) {
        self.unfinished_removed.inc_by(files);
    }

    pub(super) fn called_failover(&self, taken: bool) {
        self.failover_calls.get_or_create(&outcome(taken)).inc();
    }

    /// An attempt to make the replica promotable, and how long it took, where that was measured.
    pub(super) fn raised(&self, done: bool, took: Option<Duration>) {
        self.raises.get_or_create(&outcome(done)).inc();
        if let Some(took) = took {
            self.raise.set(took.as_secs_f64());
        }
    }

    pub(super) fn handed_over(&self, done: Option<&Handover>) {
        self.handovers.get_or_create(&outcome(done.is_some())).inc();
        if let Some(done) = done {
            self.handover_pause.set(done.paused_ms / 1000.0);
        }
    }
}

fn outcome(done: bool) -> Outcome {
    Outcome {
        outcome: if done { OUTCOMES[0] } else { OUTCOMES[1] },
    }
}

/// Serves `registry` where `lab.toml` says. Without its metrics a node is a node all the same.
pub(super) async fn serve(
    lab: &Lab,
    node: &Node,
    registry: Registry,
    statement: &Statement,
) -> Option<MetricsServer> {
    let port = lab.monitoring.as_ref()?.node_port;
    let address = SocketAddrV4::new(lab.listens(node), port);
    let statement = statement.clone();
    let page = Box::new(move || statement.page());
    match MetricsServer::start_with(address, registry, Some(page)).await {
        Ok(server) => {
            info!(node = %node.name, %address, "metrics served");
            Some(server)
        }
        Err(error) => {
            warn!(node = %node.name, %address, %error, "metrics not served");
            None
        }
    }
}
