//! The metrics of a data node.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use strum::VariantNames as _;

use crate::config::{Lab, Node};
use crate::handover::HandoverResult;
use crate::node::machine::{Action, Observation, Peer, PeerState, ServerState};

use super::resources::ResourceMetrics;
use super::{NodeMetrics, registry};

type Seconds = Gauge<f64, AtomicU64>;

/// One label with one of a few values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    role: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabel {
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamedLabel {
    primary: String,
}

/// The states of a data node's server, as its supervisor observes them.
const ROLES: [&str; 8] = [
    "primary", "replica", "parked", "loading", "starting", "silent", "gone", "stopping",
];
/// The label of `SyncAlways(false)`; that of every other action is its name.
const SYNC_ONCE_A_SECOND: &str = "sync_once_a_second";
const OUTCOMES: [&str; 2] = ["done", "failed"];

/// The metrics of a data node.
#[derive(Debug)]
pub(in crate::node) struct DataMetrics {
    node: NodeMetrics,
    lab: Lab,
    role: Family<RoleLabel, Gauge>,
    promotable: Gauge,
    raises: Family<OutcomeLabel, Counter>,
    raise: Seconds,
    replicas_online: Gauge,
    link_down: Seconds,
    majority: Gauge,
    epoch: Gauge,
    named: Family<NamedLabel, Gauge>,
    decisions: Family<DecisionLabel, Counter>,
    waiting: Gauge,
    unreadable: Gauge,
    fenced: Gauge,
    pauses_for_copies: Counter<f64, AtomicU64>,
    sync_always: Gauge,
    failover_calls: Family<OutcomeLabel, Counter>,
    handovers: Family<OutcomeLabel, Counter>,
    handover_pause: Seconds,
    unfinished_removed: Counter,
    hang_timeout: Seconds,
    pub(in crate::node) resources: ResourceMetrics,
}

impl DataMetrics {
    /// The metrics of a data node, with their registry.
    pub(in crate::node) fn new(lab: &Lab, node: &Node, server_version: &str) -> (Self, Registry) {
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
            resources: ResourceMetrics::default(),
        };
        let mut registry = registry(node, server_version);
        metrics.register(&mut registry);
        (metrics, registry)
    }

    fn register(&self, registry: &mut Registry) {
        self.node.register(registry);
        self.create_series();
        self.register_role(registry);
        self.register_sentinels(registry);
        self.register_decisions(registry);
        self.register_planned(registry);
        self.resources.register(registry);
    }

    fn create_series(&self) {
        // Every series is there from the start: one that appears with its first event has no
        // increase.
        for role in ROLES {
            let _ = self.role.get_or_create(&RoleLabel { role });
        }
        for decision in [&[SYNC_ONCE_A_SECOND], Action::VARIANTS].concat() {
            let _ = self.decisions.get_or_create(&DecisionLabel { decision });
        }
        for outcome in OUTCOMES {
            let _ = self.failover_calls.get_or_create(&OutcomeLabel { outcome });
            let _ = self.handovers.get_or_create(&OutcomeLabel { outcome });
            let _ = self.raises.get_or_create(&OutcomeLabel { outcome });
        }
        self.name_primary(None);
        self.hang_timeout
            .set(self.lab.timing.hang_timeout.as_secs_f64());
    }

    fn register_role(&self, r: &mut Registry) {
        r.register(
            "role",
            "1 for the current role of the data node's server, 0 for the others",
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
    }

    fn register_sentinels(&self, r: &mut Registry) {
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
    }

    fn register_decisions(&self, r: &mut Registry) {
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
            "1 while the node's server cannot read what is on its disk, or what the primary writes: of an older version, or another product",
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
    }

    fn register_planned(&self, r: &mut Registry) {
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
    }

    /// Writes are held up for a replica that copies.
    pub(in crate::node) fn paused_for_copy(&self, longer: Duration) {
        self.pauses_for_copies.inc_by(longer.as_secs_f64());
    }

    /// Takes over an observation.
    pub(in crate::node) fn observed(&self, seen: &Observation) {
        let (role, promotable, replicas, link_down) = match seen.server {
            ServerState::Gone => ("gone", false, 0, None),
            ServerState::Starting => ("starting", false, 0, None),
            ServerState::Silent(_) => ("silent", false, 0, None),
            ServerState::Loading => ("loading", false, 0, None),
            ServerState::Parked => ("parked", false, 0, None),
            ServerState::Primary { replicas } => ("primary", false, replicas, None),
            ServerState::Replica {
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

    /// The node stops. It makes no further observations.
    pub(in crate::node) fn stopping(&self) {
        self.set_role("stopping");
        self.promotable.set(0);
    }

    fn set_role(&self, role: &str) {
        for other in ROLES {
            let gauge = self.role.get_or_create(&RoleLabel { role: other });
            gauge.set(i64::from(other == role));
        }
    }

    fn name_primary(&self, primary: Option<&str>) {
        for node in &self.lab.data_nodes {
            let name = NamedLabel {
                primary: node.name.clone(),
            };
            self.named
                .get_or_create(&name)
                .set(i64::from(primary == Some(node.name.as_str())));
        }
    }

    /// Takes over a decision that is about to be executed.
    pub(in crate::node) fn decided(&self, action: &Action) {
        let decision = match action {
            Action::SyncAlways(false) => SYNC_ONCE_A_SECOND,
            named => named.into(),
        };
        self.decisions
            .get_or_create(&DecisionLabel { decision })
            .inc();
        match action {
            Action::Waiting(_) => drop(self.waiting.set(1)),
            Action::Fence => drop(self.fenced.set(1)),
            Action::Unfence => drop(self.fenced.set(0)),
            Action::SyncAlways(always) => drop(self.sync_always.set(i64::from(*always))),
            _ => {}
        }
    }

    pub(in crate::node) fn started(&self) {
        self.node.started();
    }

    pub(in crate::node) fn certificate_ends(&self, at: i64) {
        self.node.certificate_ends(at);
    }

    pub(in crate::node) fn exited(&self) {
        self.node.exited();
    }

    /// Before a start of the server.
    pub(in crate::node) fn removed_unfinished(&self, files: u64) {
        self.unfinished_removed.inc_by(files);
    }

    pub(in crate::node) fn called_failover(&self, taken: bool) {
        self.failover_calls.get_or_create(&outcome(taken)).inc();
    }

    /// An attempt to make the replica promotable, and how long it took, where that was measured.
    pub(in crate::node) fn raised(&self, done: bool, took: Option<Duration>) {
        self.raises.get_or_create(&outcome(done)).inc();
        if let Some(took) = took {
            self.raise.set(took.as_secs_f64());
        }
    }

    pub(in crate::node) fn handed_over(&self, done: Option<&HandoverResult>) {
        self.handovers.get_or_create(&outcome(done.is_some())).inc();
        if let Some(done) = done {
            self.handover_pause.set(done.paused_ms / 1000.0);
        }
    }
}

fn outcome(done: bool) -> OutcomeLabel {
    OutcomeLabel {
        outcome: if done { OUTCOMES[0] } else { OUTCOMES[1] },
    }
}
