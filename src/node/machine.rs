//! The decisions of a data node: a pure state machine.
//!
//! [`Machine::step`] takes an observation of this node's server, the Sentinels and the other data
//! nodes, and returns the actions. It has no clock and no I/O. `docs/protocol.md` has the reasons.
//! A file for each state of this node's server decides the actions: `gone`, `parked`, `primary`,
//! `replica`.
//!
//! Invariants:
//! - A server is always started *parked*: as a replica of an address where nothing listens, with
//!   `replica-priority 0`. It can be written to, or promoted, only by a later decision.
//! - A node becomes primary by its own decision only if the Sentinels name it and no other data
//!   node can hold more: on the first start of the lab, or after it has compared its copy with all
//!   others, or if its own copy is known to be complete.
//! - A replica is promotable only after it has caught up with a primary, or if its copy is known to
//!   hold more than that of the named node, and no less than any other.
//! - No node copies from a node that holds less.

mod gone;
mod observation;
mod parked;
mod primary;
mod replica;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddrV4;
use std::time::Duration;

pub use observation::{
    Action, MachineConfig, MarkSummary, NextMark, Observation, OwnData, Peer, PeerCopy, PeerState,
    ServerState, Vote, Wait,
};

/// Period with which Sentinels ask data nodes for INFO in this lab (`SENTINEL DEBUG INFO-PERIOD`).
pub const SENTINEL_INFO_PERIOD: Duration = Duration::from_millis(250);
/// Pause between two calls for a failover; one takes about 0.2 s until the promotion.
const FAILOVER_RETRY: Duration = Duration::from_millis(500);
/// How long the supervisor of a primary that has died waits for a promotion before it starts the
/// server with its data again.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(2);
/// After so many hang limits a server is killed even if that does not help at once: no other data
/// node can serve instead, or it was copying its data.
const PATIENCE_FACTOR: u32 = 10;

/// The state of a data node's supervisor between two observations.
#[derive(Debug, Clone)]
pub struct Machine {
    config: MachineConfig,
    /// The server was primary at the last observation.
    was_primary: bool,
    /// When the server was first observed to be gone, if it has not been started again.
    gone_since: Option<Duration>,
    /// When the server was first observed parked since its last start.
    parked_since: Option<Duration>,
    /// Peers last observed as replicas; see [`Machine::remember_replicas`].
    known_replicas: BTreeSet<SocketAddrV4>,
    /// The server has had a role since this process started, so its copy is its own.
    ever_served: bool,
    /// Another node was promoted and this one has not been in sync with it yet, or this one was
    /// promoted though it was no candidate. So it holds less, and does not take the role by its
    /// own decision while others are silent.
    deposed: bool,
    started_once: bool,
    /// The server has answered since its last start.
    answered: bool,
    /// It ended before it answered: most likely it can't read its files.
    unreadable: bool,
    /// It was copying or loading its data at its last answer.
    copies: bool,
    exits: VecDeque<Duration>,
    /// It was killed because it hung, so its end does not count as a crash.
    killed: bool,
    last_call: Option<Duration>,
    /// Since when the server has been primary without interruption.
    primary_since: Duration,
    /// The epoch at which a majority names this node, since it has been primary without
    /// interruption.
    named_at: Option<u64>,
    voteless_since: Option<Duration>,
    fenced: bool,
    /// It has been reported that its disk takes no writes.
    disk_reported: bool,
    /// The node stands for primary: promotable without being in sync; when it was last decided.
    standing: Option<Duration>,
    /// It has decided to take the role of the primary itself.
    takes_role: bool,
    /// Whether it could be promoted at the last observation; not after a start of the server.
    /// `None`: it is primary.
    candidate: Option<bool>,
    /// When the last mark was decided.
    last_mark: Option<Duration>,
    /// Since when the lab has been closed, by this node's mark.
    closed_since: Option<Duration>,
    waiting_for: Option<Wait>,
    /// The node whose data this node's server can't read, as last reported; this node for its own
    /// files.
    unreadable_reported: Option<SocketAddrV4>,
}

impl Machine {
    /// A node at the start of its process.
    pub fn new(config: MachineConfig) -> Self {
        Machine {
            config,
            was_primary: false,
            gone_since: None,
            parked_since: None,
            known_replicas: BTreeSet::new(),
            ever_served: false,
            deposed: false,
            started_once: false,
            answered: false,
            unreadable: false,
            copies: false,
            exits: VecDeque::new(),
            killed: false,
            last_call: None,
            primary_since: Duration::ZERO,
            named_at: None,
            voteless_since: None,
            fenced: false,
            disk_reported: false,
            standing: None,
            takes_role: false,
            candidate: Some(false),
            last_mark: None,
            closed_since: None,
            waiting_for: None,
            unreadable_reported: None,
        }
    }

    /// Returns the actions for this observation.
    pub fn step(&mut self, seen: &Observation) -> Vec<Action> {
        match seen.vote {
            Some(_) => self.voteless_since = None,
            None => {
                self.voteless_since.get_or_insert(seen.now);
            }
        }
        self.remember_replicas(seen);
        if !seen.unreadable && seen.peers.iter().all(|p| p.readable) {
            self.unreadable_reported = None;
        }
        if matches!(
            seen.server,
            ServerState::Parked | ServerState::Primary { .. } | ServerState::Replica { .. }
        ) {
            self.answered = true;
            self.unreadable = false;
        }
        match seen.server {
            ServerState::Silent(_) => {}
            ServerState::Loading
            | ServerState::Replica {
                link_down_for: Some(_),
                promotable: false,
                ..
            } => self.copies = true,
            _ => self.copies = false,
        }
        let mut actions = Vec::new();
        match seen.server {
            ServerState::Gone => self.when_gone(seen, &mut actions),
            ServerState::Starting | ServerState::Loading => {}
            ServerState::Silent(silence) => {
                if self.is_to_be_killed(seen, silence) {
                    self.killed = true;
                    actions.push(Action::Kill);
                }
            }
            ServerState::Parked => self.when_parked(seen, &mut actions),
            ServerState::Primary { replicas } => self.when_primary(seen, replicas, &mut actions),
            ServerState::Replica {
                of,
                link_down_for,
                promotable,
            } => {
                self.when_replica(seen, of, link_down_for, promotable, &mut actions);
            }
        }
        actions
    }

    /// The server has become promotable: a Sentinel may promote it before the next observation.
    pub fn raised(&mut self) {
        self.candidate = Some(true);
    }

    /// Whether the server hangs and killing it helps, because another node can serve instead. If no
    /// other data node answers, something that they share hangs (the machine, its disk), and
    /// killing all servers would turn a pause into losses. A server that copies its data is
    /// silent while it drops the old data and loads the new; it serves no client, and would
    /// start again. Both reasons count for a while only, since it may hang for good.
    fn is_to_be_killed(&self, seen: &Observation, silence: Duration) -> bool {
        let serves = |peer: &Peer| match peer.state {
            PeerState::Unreachable(_) => false,
            PeerState::Primary => true,
            PeerState::Replica { promotable } => promotable,
        };
        silence >= self.config.hang_timeout
            && (seen.peers.iter().any(serves) && !self.copies
                || silence >= self.config.hang_timeout * PATIENCE_FACTOR)
    }

    /// Keeps the list of peers last observed as replicas. A peer that is primary while this node is
    /// parked has been promoted if it was a replica before; otherwise it is a stale primary that
    /// came back.
    fn remember_replicas(&mut self, seen: &Observation) {
        let serving = matches!(
            seen.server,
            ServerState::Primary { .. } | ServerState::Replica { .. }
        );
        for peer in &seen.peers {
            match peer.state {
                PeerState::Replica { .. } => {
                    self.known_replicas.insert(peer.address);
                }
                PeerState::Primary if serving => {
                    self.known_replicas.remove(&peer.address);
                }
                PeerState::Primary | PeerState::Unreachable(_) => {}
            }
        }
    }

    fn report_disk(&mut self, seen: &Observation, actions: &mut Vec<Action>) {
        if seen.disk_refuses && !self.disk_reported {
            actions.push(Action::DiskRefuses);
        }
        self.disk_reported = seen.disk_refuses;
    }

    /// Reports, once for each node, that this node's server can't read its data.
    fn report_unreadable(&mut self, whose: SocketAddrV4, actions: &mut Vec<Action>) {
        if self.unreadable_reported.replace(whose) != Some(whose) {
            actions.push(if whose == self.config.me {
                Action::CannotLoad
            } else {
                Action::CannotFollow(whose)
            });
        }
    }

    fn note_start(&mut self) {
        self.standing = None;
        self.takes_role = false;
        self.candidate = Some(false);
        self.answered = false;
        self.started_once = true;
        self.gone_since = None;
        self.parked_since = None;
        self.fenced = false;
    }

    /// The peer that was a replica before and is primary now, if any: it has been promoted.
    fn promoted_peer(&self, seen: &Observation) -> Option<SocketAddrV4> {
        seen.peers
            .iter()
            .filter(|p| p.state == PeerState::Primary)
            .map(|p| p.address)
            .find(|address| self.known_replicas.contains(address))
    }

    /// The server has a role.
    fn note_role(&mut self) {
        self.parked_since = None;
        self.waiting_for = None;
        self.ever_served = true;
    }

    fn call_failover(&mut self, seen: &Observation, why: &'static str, actions: &mut Vec<Action>) {
        let due = self
            .last_call
            .is_none_or(|t| seen.now.saturating_sub(t) >= FAILOVER_RETRY);
        if due {
            self.last_call = Some(seen.now);
            actions.push(Action::CallFailover(why));
        }
    }

    fn wait_for(&mut self, what: Wait, actions: &mut Vec<Action>) {
        if self.waiting_for != Some(what) {
            self.waiting_for = Some(what);
            actions.push(Action::Waiting(what));
        }
    }
}

/// Whether this node's server can read the writes of that node. A node that is not primary writes
/// nothing.
fn may_be_read(seen: &Observation, address: SocketAddrV4) -> bool {
    let mut peers = seen.peers.iter();
    peers.all(|p| p.address != address || p.state != PeerState::Primary || p.readable)
}
