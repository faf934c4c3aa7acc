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

mod observation;
mod parked;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::protocol::copy::{Completeness, Relation};

pub use observation::{
    Action, Identity, Marked, Marking, Observation, Own, Peer, PeerCopy, PeerState, Server, Vote,
};

use parked::{CHOSEN, FAILOVER_TIME, MayCopy, can_be_promoted, may_copy};

/// Period with which Sentinels ask data nodes for INFO in this lab (`SENTINEL DEBUG INFO-PERIOD`).
pub const SENTINEL_INFO_PERIOD: Duration = Duration::from_millis(250);
/// Pause between two calls for a failover; one takes about 0.2 s until the promotion.
const FAILOVER_RETRY: Duration = Duration::from_millis(500);
/// How much later than the loss of its link a sign of life of the primary has to be before a
/// replica takes it for one. A Sentinel counts an answer when it reads it: one that was held up, by
/// a busy machine, may read after the primary's end what came in before.
const READ_LATE: Duration = Duration::from_secs(1);
/// How long the parent of a primary that has died waits for the promotion before it starts the
/// server with its data again.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(2);
/// Silence of a replica that a promotion explains: several round trips, of a network that may be
/// slow.
const OUT_OF_SIGHT: Duration = Duration::from_secs(1);
/// How long a named node whose own primary does not serve stays its replica before it decides anew.
const FOLLOWS_NOBODY: Duration = Duration::from_secs(2);
/// Pause between two marks while data is written: so much is the most by which two copies of one
/// term differ unseen.
const MARK_PERIOD: Duration = Duration::from_secs(1);
/// How long a lab may stay closed without being stopped.
const CLOSED_LIMIT: Duration = Duration::from_secs(60);
/// Exits of the server within [`CRASH_WINDOW`] that are one too many.
const CRASH_LIMIT: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(60);
/// After so many hang limits a server is killed also when that helps nobody soon: no other data
/// node can serve instead, or it was copying its data.
const PATIENCE_FACTOR: u32 = 10;
/// What a node waits for whose data is whole, and of another server version than its own.
const LESS_THAN_UNREADABLE: &str = "an operator: the data here is of another server version, and the primary lacks some of it; start this \
    node with that version, or choose a copy: halab choose NODE";

/// The state of a data node's parent between two observations.
#[derive(Debug, Clone)]
pub struct Machine {
    id: Identity,
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
    disk_told: bool,
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
    said: Option<&'static str>,
    /// Of whom it has been said that the own server can't read what they write; this node stands
    /// for its own data.
    unreadable_told: Option<SocketAddrV4>,
}

impl Machine {
    /// A node at the start of its process.
    pub fn new(id: Identity) -> Self {
        Machine {
            id,
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
            disk_told: false,
            standing: None,
            takes_role: false,
            candidate: Some(false),
            last_mark: None,
            closed_since: None,
            said: None,
            unreadable_told: None,
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
            self.unreadable_told = None;
        }
        if matches!(
            seen.server,
            Server::Parked | Server::Primary { .. } | Server::Replica { .. }
        ) {
            self.answered = true;
            self.unreadable = false;
        }
        match seen.server {
            Server::Silent(_) => {}
            Server::Loading
            | Server::Replica {
                link_down_for: Some(_),
                promotable: false,
                ..
            } => self.copies = true,
            _ => self.copies = false,
        }
        let mut actions = Vec::new();
        match seen.server {
            Server::Gone => self.when_gone(seen, &mut actions),
            Server::Starting | Server::Loading => {}
            Server::Silent(silence) => {
                if self.hangs_alone(seen, silence) {
                    self.killed = true;
                    actions.push(Action::Kill);
                }
            }
            Server::Parked => self.when_parked(seen, &mut actions),
            Server::Primary { replicas } => self.when_primary(seen, replicas, &mut actions),
            Server::Replica {
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
    fn hangs_alone(&self, seen: &Observation, silence: Duration) -> bool {
        let serves = |peer: &Peer| match peer.state {
            PeerState::Unreachable(_) => false,
            PeerState::Primary => true,
            PeerState::Replica { promotable } => promotable,
        };
        silence >= self.id.hang_timeout
            && (seen.peers.iter().any(serves) && !self.copies
                || silence >= self.id.hang_timeout * PATIENCE_FACTOR)
    }

    /// Keeps the list of peers last seen as replicas. One that is primary while this node is
    /// parked, and was a replica before, has been promoted; one that was not is a stale primary
    /// that came back.
    fn remember_replicas(&mut self, seen: &Observation) {
        let serving = matches!(seen.server, Server::Primary { .. } | Server::Replica { .. });
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

    fn when_gone(&mut self, seen: &Observation, actions: &mut Vec<Action>) {
        let since = *self.gone_since.get_or_insert(seen.now);
        let just_ended = self.started_once && since == seen.now;
        if just_ended {
            if !std::mem::take(&mut self.killed) {
                self.exits.push_back(seen.now);
            }
            while self
                .exits
                .front()
                .is_some_and(|t| seen.now.saturating_sub(*t) > CRASH_WINDOW)
            {
                self.exits.pop_front();
            }
            if self.exits.len() > CRASH_LIMIT {
                actions.push(Action::GiveUp);
                return;
            }
            self.unreadable |= !self.answered;
        }
        if self.was_primary {
            // A promotion closes all connections, so a replica may be out of sight for a moment.
            let may_come = |p: &Peer| match p.state {
                PeerState::Replica { promotable } => promotable,
                PeerState::Unreachable(silence) => {
                    silence < OUT_OF_SIGHT && self.known_replicas.contains(&p.address)
                }
                PeerState::Primary => false,
            };
            if let Some(promoted) = self.promoted_peer(seen) {
                self.deposed = true;
                // What can't be read replaces nothing: it starts with what it has.
                if may_be_read(seen, promoted) {
                    if self.has_room(seen, actions) {
                        self.starting();
                        actions.push(Action::StartAfresh);
                    }
                    return;
                }
            }
            // One that says it is no candidate holds less, though a Sentinel may not know that yet,
            // and would promote it if asked.
            let expected = seen.peers.iter().any(may_come);
            let waited = seen.now.saturating_sub(since);
            // A certain death needs no down-after. Without room for it, a start would come to
            // nothing, however long nobody is promoted.
            if (waited < PROMOTION_PATIENCE || seen.disk_refuses) && expected {
                self.call_failover(seen, "the server has ended", actions);
                return;
            }
        }
        if !self.has_room(seen, actions) {
            return;
        }
        if seen.unreadable {
            self.tell_unreadable(self.id.me, actions);
            self.replaced_by_another(seen, actions);
            return;
        }
        if self.unreadable && self.replaced_by_another(seen, actions) {
            return;
        }
        let unknown = seen.vote.is_none_or(|vote| vote.primary == self.id.me);
        // A Sentinel that reconnects to a replica asks for INFO at once only when its last one is
        // older than the period. So wait until it is: then each learns the priority of 0
        // first of all.
        let forgotten = seen
            .vote
            .and_then(|vote| vote.my_info_age)
            .is_none_or(|age| age > SENTINEL_INFO_PERIOD);
        if unknown || forgotten {
            self.starting();
            actions.push(Action::Start);
        }
    }

    /// Whether a server that is started can write. One that can't would end at once, and count as
    /// one that ends again and again; so it is started when there is room, by nobody's hand.
    fn has_room(&mut self, seen: &Observation, actions: &mut Vec<Action>) -> bool {
        if seen.disk_refuses {
            self.tell_disk(seen, actions);
        }
        !seen.disk_refuses
    }

    fn tell_disk(&mut self, seen: &Observation, actions: &mut Vec<Action>) {
        if seen.disk_refuses && !self.disk_told {
            actions.push(Action::DiskRefuses);
        }
        self.disk_told = seen.disk_refuses;
    }

    /// The server ends before it is ready, again and again. Where another node has the data, that
    /// one is primary, or is to become it, and what is here is set aside for a copy from there.
    /// Whether that is so; else the server's own refusal stands, and the operator decides. Data
    /// that is whole, and of another version, is compared first: nobody takes its place who may
    /// hold less.
    fn replaced_by_another(&mut self, seen: &Observation, actions: &mut Vec<Action>) -> bool {
        let named = seen.vote.map(|vote| vote.primary);
        let has_all = |p: &Peer| match p.copy.relation {
            Some(Relation::Same | Relation::More) => true,
            Some(Relation::Less | Relation::Apart) => false,
            None => !seen.unreadable,
        };
        let serves = |p: &&Peer| {
            p.state == PeerState::Primary
                && p.readable
                && (named == Some(p.address) || self.known_replicas.contains(&p.address))
        };
        if let Some(primary) = seen.peers.iter().find(serves) {
            if !has_all(primary) {
                if primary.copy.relation.is_some() {
                    self.wait_for(LESS_THAN_UNREADABLE, actions);
                }
                return true;
            }
            self.deposed = true;
            self.starting();
            // A copy that an operator has given up is kept.
            actions.push(if primary.copy.given_up {
                Action::Yield
            } else {
                Action::StartAfresh
            });
            return true;
        }
        let takes_over = |p: &Peer| can_be_promoted(p) && has_all(p);
        if named == Some(self.id.me) && seen.peers.iter().any(takes_over) {
            self.call_failover(seen, "the own data can't be loaded", actions);
            return true;
        }
        if seen.peers.iter().any(|p| p.copy.data) {
            self.wait_for(
                "another data node, which has data, to take over: the own data can't be loaded",
                actions,
            );
            return true;
        }
        false
    }

    /// Says once of each that the own server can't read what it writes.
    fn tell_unreadable(&mut self, whose: SocketAddrV4, actions: &mut Vec<Action>) {
        if self.unreadable_told.replace(whose) != Some(whose) {
            actions.push(if whose == self.id.me {
                Action::CannotLoad
            } else {
                Action::CannotFollow(whose)
            });
        }
    }

    fn starting(&mut self) {
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

    fn when_primary(&mut self, seen: &Observation, replicas: usize, actions: &mut Vec<Action>) {
        // A leader that has selected a node promotes it until failover-timeout, though it has ended
        // and come back with less.
        let stands = self.takes_role || seen.chosen;
        if self.candidate == Some(false) && !stands {
            self.deposed = true;
            actions.push(Action::Park(
                "it was promoted, and its copy has not been compared with others",
            ));
            return;
        }
        self.served();
        self.standing = None;
        self.candidate = None;
        if !self.was_primary {
            self.was_primary = true;
            self.deposed = false;
            self.primary_since = seen.now;
            self.named_at = None;
            // Once it is a replica again it is not to be promoted before it has caught up.
            actions.push(Action::Lower(
                "a primary that is demoted later starts as not promotable",
            ));
        }
        if let Some(vote) = seen.vote {
            if vote.primary == self.id.me {
                self.named_at = Some(vote.epoch);
            } else if self.named_at.is_some_and(|at| vote.epoch > at) {
                self.submit(seen, vote.primary, actions);
                return;
            }
            // Not named yet: just promoted, and the Sentinels have not announced it. Named at an
            // older epoch by others: the same.
        }
        self.tell_disk(seen, actions);
        if seen.disk_refuses && seen.peers.iter().any(can_be_promoted) {
            // It refuses writes by itself; what it took before, the other one has, or nobody was
            // told of it.
            self.call_failover(seen, "the own disk takes no writes", actions);
        }
        let always = replicas == 0;
        if always && seen.sync_always != Some(true) {
            actions.push(Action::SyncAlways(true));
        }
        let isolated = replicas == 0
            && self
                .voteless_since
                .is_some_and(|since| seen.now.saturating_sub(since) >= self.id.down_after / 2);
        if isolated {
            // Again at each step: a pause ends by itself.
            self.fenced = true;
            actions.push(Action::Fence);
        } else if self.fenced {
            self.fenced = false;
            actions.push(Action::Unfence);
        }
        self.mark(seen, always, actions);
        // As long as the mark that was read says that this is the only copy, all of it is on disk.
        let says_sole = matches!(seen.own, Own::Data(own) if own.state == Some(Completeness::Sole));
        if !always && seen.sync_always != Some(false) && !says_sole {
            actions.push(Action::SyncAlways(false));
        }
    }

    /// Keeps the own mark as things are. Not while writes are paused, which holds up that of the
    /// mark too, nor while the disk takes none.
    fn mark(&mut self, seen: &Observation, alone: bool, actions: &mut Vec<Action>) {
        if self.fenced || seen.disk_refuses || seen.own == Own::Unread {
            return;
        }
        if !seen.in_term {
            actions.push(Action::BeginTerm);
            return;
        }
        let own = match seen.own {
            Own::Data(own) => own,
            _ => Marked::NONE,
        };
        if own.state == Some(Completeness::Closed) {
            let since = *self.closed_since.get_or_insert(seen.now);
            if seen.now.saturating_sub(since) >= CLOSED_LIMIT {
                actions.push(Action::Reopen);
            }
            return;
        }
        self.closed_since = None;
        let marking = Marking {
            epoch: self.named_at.or(own.epoch),
            confirmed: own.confirmed || self.announced(seen) || submitted(seen),
            state: if alone {
                Completeness::Sole
            } else {
                Completeness::Open
            },
        };
        let due = self
            .last_mark
            .is_none_or(|at| seen.now.saturating_sub(at) >= MARK_PERIOD);
        let says = (own.state, own.epoch, own.confirmed);
        let is_as_it_has_to_be =
            own.current && says == (Some(marking.state), marking.epoch, marking.confirmed);
        if !is_as_it_has_to_be || (seen.written && due) {
            self.last_mark = Some(seen.now);
            actions.push(Action::Mark(marking));
        }
    }

    /// Whether the Sentinels have announced this time as primary. One that took the role by its own
    /// decision they may name since long ago, and be about to promote another: they announce it
    /// by hearing it as a primary, with no failover under way.
    fn announced(&self, seen: &Observation) -> bool {
        let served_for = seen.now.saturating_sub(self.primary_since);
        let settled = |vote: Vote| {
            vote.primary == self.id.me
                && vote
                    .primary_settled_within
                    .is_some_and(|within| within < served_for)
        };
        self.named_at.is_some() && (!self.takes_role || seen.vote.is_some_and(settled))
    }

    /// A primary that has been replaced: it follows the new one, or takes no writes until it may.
    fn submit(&mut self, seen: &Observation, primary: SocketAddrV4, actions: &mut Vec<Action>) {
        self.deposed = true;
        let peer = seen.peers.iter().find(|p| p.address == primary);
        let may = peer.is_some_and(|peer| {
            peer.state == PeerState::Primary && may_copy(seen.own, peer) == MayCopy::Yes
        });
        if seen.in_term
            && seen.written
            && let Own::Data(own) = seen.own
        {
            // It is compared with others by its mark, should the new one end before it has been
            // copied.
            actions.push(Action::Mark(Marking {
                epoch: self.named_at,
                confirmed: own.confirmed,
                state: own.state.unwrap_or(Completeness::Open),
            }));
        }
        actions.push(if may {
            Action::Follow(primary, "a newer epoch names it")
        } else {
            Action::Park("a newer epoch names another node")
        });
    }

    fn when_replica(
        &mut self,
        seen: &Observation,
        of: SocketAddrV4,
        link_down_for: Option<Duration>,
        promotable: bool,
        actions: &mut Vec<Action>,
    ) {
        self.served();
        if seen.sync_always == Some(true) {
            actions.push(Action::SyncAlways(false));
        }
        let demoted = std::mem::take(&mut self.was_primary);
        if !may_be_read(seen, of) {
            // Its copies it would refuse again and again, and of its commands leave out those that
            // it does not know.
            self.deposed |= demoted;
            self.tell_unreadable(of, actions);
            actions.push(Action::Park(
                "its server can't read what its primary writes",
            ));
            return;
        }
        self.takes_role = false;
        self.candidate = Some(promotable);
        // Named primary and a replica all the same: another node was promoted, not announced yet.
        let replaced = demoted || seen.vote.is_some_and(|v| v.primary == self.id.me);
        self.deposed = link_down_for.is_some() && (self.deposed || replaced);
        match link_down_for {
            None if !promotable => {
                self.standing = None;
                let named = seen.vote.is_some_and(|v| v.primary == of && v.sees_me);
                if named {
                    actions.push(Action::Raise);
                }
            }
            None => self.standing = None,
            Some(down_for) => {
                let alive = seen.vote.is_some_and(|v| {
                    v.primary == of
                        && v.primary_alive_within
                            .is_some_and(|within| within + READ_LATE < down_for)
                });
                // Reached directly, a primary that is up proves itself: only the link is down.
                let reached = seen
                    .peers
                    .iter()
                    .any(|p| p.address == of && p.state == PeerState::Primary);
                if seen.set_aside && !reached && down_for >= self.id.down_after + FAILOVER_TIME {
                    // Nothing has been copied, and nobody is there to copy from.
                    actions.push(Action::PutBack);
                    return;
                }
                if promotable && alive && (reached || !self.peer_is_replica(seen, of)) {
                    actions.push(Action::Lower("the link is down and the primary is alive"));
                }
                if let Some(vote) = seen.vote {
                    self.without_primary(seen, of, vote, down_for, promotable, actions);
                }
            }
        }
    }

    /// A replica whose link is down, when the Sentinels name another than its primary, or one that
    /// does not serve.
    fn without_primary(
        &mut self,
        seen: &Observation,
        of: SocketAddrV4,
        vote: Vote,
        down_for: Duration,
        promotable: bool,
        actions: &mut Vec<Action>,
    ) {
        let peer = |address| seen.peers.iter().find(|p| p.address == address);
        let serves = |address| peer(address).is_some_and(|p| p.state == PeerState::Primary);
        if vote.primary == self.id.me && seen.chosen {
            self.takes_role = true;
            actions.push(Action::Promote("an operator has chosen this copy"));
        } else if vote.primary == self.id.me && serves(of) {
            // It has submitted to one that was promoted, which is announced soon.
        } else if vote.primary == self.id.me {
            if seen.peers.iter().any(can_be_promoted) {
                self.call_failover(seen, "this node follows one that does not serve", actions);
            } else if down_for >= FOLLOWS_NOBODY && self.peer_is_replica(seen, of) {
                actions.push(Action::Park("the node that it follows does not serve"));
            }
        } else if let Some(named) = peer(vote.primary)
            && named.state == PeerState::Primary
        {
            if vote.primary != of {
                let why = "the Sentinels name it, the old is gone";
                self.follow_if_it_may(seen, named, why, actions);
            }
        } else if seen.chosen {
            self.wait_for(CHOSEN, actions);
        } else if self.may_stand(seen, vote, down_for) {
            if !promotable {
                self.stand(seen.now, actions);
            }
        } else {
            self.withdraw(actions);
        }
    }

    fn peer_is_replica(&self, seen: &Observation, address: SocketAddrV4) -> bool {
        seen.peers
            .iter()
            .any(|p| p.address == address && matches!(p.state, PeerState::Replica { .. }))
    }

    /// The server has a role again.
    fn served(&mut self) {
        self.parked_since = None;
        self.said = None;
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
        if self.said != Some(what) {
            self.said = Some(what);
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

/// The node that the Sentinels name follows this one, which was promoted over it.
fn submitted(seen: &Observation) -> bool {
    let named = |p: &&Peer| seen.vote.is_some_and(|vote| vote.primary == p.address);
    seen.peers.iter().find(named).is_some_and(|p| p.follows_me)
}
