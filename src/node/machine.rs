//! What a data node does next: a pure state machine.
//!
//! [`Machine::step`] takes what was just observed of the own server, the Sentinels and the other
//! data nodes, and returns what to do. It has no clock and no I/O; `docs/protocol.md` has the
//! reasons.
//!
//! Invariants:
//! - A server is always started *parked*: as a replica of an address where nothing listens, with
//!   `replica-priority 0`. It can be written to, or promoted, only by a later decision.
//! - A node becomes primary by its own decision only when the Sentinels name it and no other data
//!   node can hold more: on the first start of the lab, or when it has compared itself with all
//!   others, or knows that its own copy is complete.
//! - A replica is promotable only after it has caught up with a primary, or when it is known to
//!   hold more than the node that is named, and no less than any other.
//! - No node copies from one that holds less.

mod gone;
mod observation;
mod parked;
mod primary;
mod replica;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

pub use observation::{
    Action, MachineConfig, MarkSummary, NextMark, Observation, OwnData, Peer, PeerCopy, PeerState,
    ServerState, Vote,
};

/// Period with which Sentinels ask data nodes for INFO in this lab (`SENTINEL DEBUG INFO-PERIOD`).
pub const SENTINEL_INFO_PERIOD: Duration = Duration::from_millis(250);
/// Pause between two calls for a failover; one takes about 0.2 s until the promotion.
const FAILOVER_RETRY: Duration = Duration::from_millis(500);
/// How long the parent of a primary that has died waits for the promotion before it starts the
/// server with its data again.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(2);
/// After so many hang limits a server is killed also when that helps nobody soon: no other data
/// node can serve instead, or it was copying its data.
const PATIENCE_FACTOR: u32 = 10;

/// The state of a data node's parent between two observations.
#[derive(Debug, Clone)]
pub struct Machine {
    config: MachineConfig,
    /// The server was primary when it was last seen.
    was_primary: bool,
    /// When the server was seen to be gone, and not started again yet.
    gone_since: Option<Duration>,
    /// When the server was first seen parked since its last start.
    parked_since: Option<Duration>,
    /// Peers last seen as replicas; see [`Machine::remember_replicas`].
    known_replicas: Vec<SocketAddrV4>,
    /// The server has had a role in this process, so its data is its own.
    ever_served: bool,
    /// Another node has been promoted over this one, which has not been in sync with it yet; or
    /// this one was promoted though it was no candidate. So it holds less, and does not take
    /// the role by its own decision while others are silent.
    deposed: bool,
    started_once: bool,
    /// The server has said something since it was started last.
    answered: bool,
    /// It ended before it said anything: what it has on disk can't be read, most likely.
    unreadable: bool,
    /// It was copying or loading its data when it was last heard.
    copies: bool,
    exits: VecDeque<Duration>,
    /// It was killed as hung: that end is no sign that it can't be started.
    killed: bool,
    last_call: Option<Duration>,
    /// Since when the server has been primary without a break.
    primary_since: Duration,
    /// The epoch at which a majority named this node primary, since it is primary without a break.
    named_at: Option<u64>,
    voteless_since: Option<Duration>,
    fenced: bool,
    /// That its disk takes no writes has been said.
    disk_reported: bool,
    /// Promotable though in sync with nobody, and when that was said last.
    standing: Option<Duration>,
    /// It has decided to take the role itself.
    takes_role: bool,
    /// When last seen as no primary, it could be promoted; a server that has just been started
    /// can't. None: it is primary.
    candidate: Option<bool>,
    /// When the last mark was to be written.
    last_mark: Option<Duration>,
    /// Since when the lab has been closed, as the own mark says.
    closed_since: Option<Duration>,
    waiting_for: Option<&'static str>,
    /// Of whom it has been said that the own server can't read what they write; this node stands
    /// for its own data.
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
            known_replicas: Vec::new(),
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

    /// What to do now.
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

    /// The server has become promotable: a Sentinel may promote it before it is looked at again.
    pub fn raised(&mut self) {
        self.candidate = Some(true);
    }

    /// Whether the server hangs, and killing it helps: there is one that can serve instead. When no
    /// other data node answers, what they have in common hangs (the machine, its disk), and
    /// killing them all would make two losses of a pause. And one that copies its data is
    /// silent while it drops the old and reads the new, serves nobody, and would begin anew.
    /// Both are believed for a while only: it may hang for good.
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

    /// Keeps the list of peers last seen as replicas. One that is primary while this node is
    /// parked, and was a replica before, has been promoted; one that was not is a stale primary
    /// that came back.
    fn remember_replicas(&mut self, seen: &Observation) {
        let serving = matches!(
            seen.server,
            ServerState::Primary { .. } | ServerState::Replica { .. }
        );
        for peer in &seen.peers {
            let known = self.known_replicas.contains(&peer.address);
            match peer.state {
                PeerState::Replica { .. } if !known => self.known_replicas.push(peer.address),
                PeerState::Primary if serving => {
                    self.known_replicas.retain(|a| *a != peer.address);
                }
                _ => {}
            }
        }
    }

    fn report_disk(&mut self, seen: &Observation, actions: &mut Vec<Action>) {
        if seen.disk_refuses && !self.disk_reported {
            actions.push(Action::DiskRefuses);
        }
        self.disk_reported = seen.disk_refuses;
    }

    /// Says once of each that the own server can't read what it writes.
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

    /// A peer that is primary and was a replica before: it has been promoted.
    fn promoted_peer(&self, seen: &Observation) -> Option<SocketAddrV4> {
        seen.peers
            .iter()
            .filter(|p| p.state == PeerState::Primary)
            .map(|p| p.address)
            .find(|address| self.known_replicas.contains(address))
    }

    /// The server has a role again.
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

    fn wait_for(&mut self, what: &'static str, actions: &mut Vec<Action>) {
        if self.waiting_for != Some(what) {
            self.waiting_for = Some(what);
            actions.push(Action::Waiting(what));
        }
    }
}

/// Whether the own server reads what the node there writes. One that does not take writes now
/// writes nothing.
fn may_be_read(seen: &Observation, address: SocketAddrV4) -> bool {
    let mut peers = seen.peers.iter();
    peers.all(|p| p.address != address || p.state != PeerState::Primary || p.readable)
}
