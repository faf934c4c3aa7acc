//! This node's server has ended: when it is started again, and with which data.

use std::time::Duration;

use crate::protocol::copy::Relation;

use super::parked::can_be_promoted;
use super::{
    Action, Machine, Observation, PROMOTION_PATIENCE, Peer, PeerState, SENTINEL_INFO_PERIOD, Wait,
    may_be_read,
};

/// Silence of a replica that its promotion explains: several round trips of a slow network.
const PROMOTION_SILENCE: Duration = Duration::from_secs(1);
/// The node gives up after more exits of the server than this within [`CRASH_WINDOW`].
pub(super) const CRASH_LIMIT: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(60);
/// What a node waits for whose data is complete, but of another server version than its own.
const LESS_THAN_UNREADABLE: &str = "an operator: the data here is of another server version, and the primary lacks some of it; start this \
    node with that version, or choose a copy: halab choose NODE";

impl Machine {
    pub(super) fn when_gone(&mut self, seen: &Observation, actions: &mut Vec<Action>) {
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
            // A promotion closes all connections, so a replica may be silent for a moment.
            let may_come = |p: &Peer| match p.state {
                PeerState::Replica { promotable } => promotable,
                PeerState::Unreachable(silence) => {
                    silence < PROMOTION_SILENCE && self.known_replicas.contains(&p.address)
                }
                PeerState::Primary => false,
            };
            if let Some(promoted) = self.promoted_peer(seen) {
                self.deposed = true;
                // If the new primary's data can't be read, the server starts with its own data.
                if may_be_read(seen, promoted) {
                    if self.disk_takes_writes(seen, actions) {
                        self.note_start();
                        actions.push(Action::StartAfresh);
                    }
                    return;
                }
            }
            // A replica that is not promotable holds less. A Sentinel may not know that yet, and
            // would promote it if asked.
            let expected = seen.peers.iter().any(may_come);
            let waited = seen.now.saturating_sub(since);
            // The end of the server is certain, so down-after need not pass. Without space on disk
            // a start would fail, however long no node is promoted.
            if (waited < PROMOTION_PATIENCE || seen.disk_refuses) && expected {
                self.call_failover(seen, "the server has ended", actions);
                return;
            }
        }
        if !self.disk_takes_writes(seen, actions) {
            return;
        }
        if seen.unreadable {
            self.report_unreadable(self.config.me, actions);
            self.replaced_by_another(seen, actions);
            return;
        }
        if self.unreadable && self.replaced_by_another(seen, actions) {
            return;
        }
        let unknown = seen.vote.is_none_or(|vote| vote.primary == self.config.me);
        // A Sentinel that reconnects to a replica asks for INFO at once only if its last INFO is
        // older than the period. So the start waits until then, and each Sentinel first
        // learns the priority of 0.
        let forgotten = seen
            .vote
            .and_then(|vote| vote.my_info_age)
            .is_none_or(|age| age > SENTINEL_INFO_PERIOD);
        if unknown || forgotten {
            self.note_start();
            actions.push(Action::Start);
        }
    }

    /// Whether a started server could write. Otherwise it would end at once and count as a crash,
    /// so it is started, without an operator, when the disk takes writes.
    fn disk_takes_writes(&mut self, seen: &Observation, actions: &mut Vec<Action>) -> bool {
        if seen.disk_refuses {
            self.report_disk(seen, actions);
        }
        !seen.disk_refuses
    }

    /// For a server that can't load its data. If another node has the data, that node is primary or
    /// is asked to take over, and this node's data is set aside for a copy from it. Returns whether
    /// another node has the data; if none has it, an operator has to act on the server's error.
    ///
    /// Data that is intact and of another version is compared first: only a node that holds no less
    /// replaces it.
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
                    self.wait_for(Wait::Choice(LESS_THAN_UNREADABLE), actions);
                }
                return true;
            }
            self.deposed = true;
            self.note_start();
            // A copy that an operator has given up is kept aside.
            actions.push(if primary.copy.given_up {
                Action::GiveUpCopy
            } else {
                Action::StartAfresh
            });
            return true;
        }
        let takes_over = |p: &Peer| can_be_promoted(p) && has_all(p);
        if named == Some(self.config.me) && seen.peers.iter().any(takes_over) {
            self.call_failover(seen, "this node's data cannot be loaded", actions);
            return true;
        }
        if seen.peers.iter().any(|p| p.copy.data) {
            let what = "another data node, which has data, to take over: this node's data cannot be loaded";
            self.wait_for(Wait::Nodes(what), actions);
            return true;
        }
        false
    }
}
