//! This node's server is parked: which primary it follows, and when it becomes primary by its own
//! decision or stands for primary.
//!
//! The presence of data decides nothing here. Copies are compared by their marks
//! ([`crate::protocol::copy`]). No node follows one that holds less. The named node becomes primary
//! when no other can hold more. A node that holds more than the named one stands for primary, so
//! that the Sentinels elect it.

use std::time::Duration;

use crate::protocol::copy::{Completeness, Relation};

use super::{
    Action, Machine, Observation, OwnData, PROMOTION_PATIENCE, Peer, PeerState, Vote, Wait,
};

/// How long the first start waits for a Sentinel to answer before the roles of `lab.toml` apply.
const FIRST_START_PATIENCE: Duration = Duration::from_secs(3);
/// Pause before a node that stands for primary repeats the action.
const STAND_AGAIN: Duration = Duration::from_secs(1);
/// How long a failover may take beyond down-after.
pub(super) const FAILOVER_TIME: Duration = Duration::from_secs(2);

/// Whether a node's copy may be replaced by that of a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayCopy {
    Yes,
    /// Something has not been read, or not been marked yet.
    NotYet,
    /// The primary holds less, or has diverged: an operator must decide. With the reason to report.
    Refused(&'static str),
    /// An operator has chosen the primary's copy over this one.
    GivenUp,
    /// This node's server can't read what the primary writes.
    Unreadable,
}

impl Machine {
    pub(super) fn when_parked(&mut self, seen: &Observation, actions: &mut Vec<Action>) {
        let since = *self.parked_since.get_or_insert(seen.now);
        let parked_for = seen.now.saturating_sub(since);
        self.was_primary = false;
        match seen.vote {
            _ if seen.set_aside => self.when_set_aside(seen, parked_for, actions),
            None => self.when_parked_without_vote(seen, parked_for, actions),
            Some(_) if seen.own == OwnData::Unread => {}
            Some(vote) if vote.primary == self.config.me => {
                self.when_named(seen, vote, parked_for, actions);
            }
            Some(vote) => self.when_another_is_named(seen, vote, parked_for, actions),
        }
        self.candidate = Some(self.standing.is_some());
        self.takes_role = actions.iter().any(|a| matches!(a, Action::Promote(_)));
    }

    fn when_another_is_named(
        &mut self,
        seen: &Observation,
        vote: Vote,
        parked_for: Duration,
        actions: &mut Vec<Action>,
    ) {
        let named = seen.peers.iter().find(|p| p.address == vote.primary);
        if let Some(named) = named
            && named.state == PeerState::Primary
        {
            self.follow_if_it_may(seen, named, "a majority of the Sentinels names it", actions);
            return;
        }
        if seen.chosen {
            self.wait_for(Wait::Nodes(WAIT_FOR_ELECTION), actions);
            return;
        }
        if self.may_stand(seen, vote, parked_for) {
            self.stand(seen.now, actions);
            return;
        }
        self.withdraw(actions);
        let waits = match named.map(|p| (p.state, p.copy.relation)) {
            Some((PeerState::Replica { .. }, Some(Relation::Apart))) => Wait::Choice(APART),
            Some((PeerState::Replica { .. }, Some(Relation::Less))) => Wait::Nodes(
                "the other data nodes, to learn whether one holds more than this one; start them, or choose a copy: \
                 halab choose NODE",
            ),
            Some((PeerState::Replica { .. }, _)) => {
                Wait::Nodes("the node that the Sentinels name, to take the role: it may hold more")
            }
            _ => Wait::Nodes(
                "an answer of the node that the Sentinels name, to learn whether it holds more; start it, or check \
                 the network and the firewall between the two; if it is lost for good, choose a copy: halab choose \
                 NODE",
            ),
        };
        self.wait_for(waits, actions);
    }

    /// The server is empty because another node was promoted. It follows that node once that is
    /// known to hold no less than what was set aside. Otherwise the data is restored, and the
    /// node decides by it as usual.
    fn when_set_aside(
        &mut self,
        seen: &Observation,
        parked_for: Duration,
        actions: &mut Vec<Action>,
    ) {
        let named = seen.vote.map(|vote| vote.primary);
        let promoted = |peer: &&Peer| {
            peer.state == PeerState::Primary
                && (named == Some(peer.address) || self.known_replicas.contains(&peer.address))
        };
        // With the last mark of the data that was set aside, it is the replica that had all of it,
        // whether or not it has begun its term.
        let has_all =
            |peer: &Peer| matches!(peer.copy.relation, Some(Relation::Same | Relation::More));
        match seen.peers.iter().find(promoted) {
            Some(peer) if has_all(peer) && peer.readable => {
                let why = "another node was promoted, and holds what this node has set aside";
                actions.push(Action::Follow(peer.address, why));
            }
            _ if parked_for >= PROMOTION_PATIENCE => actions.push(Action::RestoreSetAside),
            _ => {}
        }
    }

    /// Whether this node, which is not named, certainly holds more than the named node, and no less
    /// than any other. Either the copies were compared, or the named node is silent to all and this
    /// copy has a closing mark. A node that stands goes on until another serves or holds more: a
    /// Sentinel may have selected it already, and the named node would become primary as soon as
    /// this one is no candidate.
    pub(super) fn may_stand(&self, seen: &Observation, vote: Vote, waited: Duration) -> bool {
        let OwnData::Data(own) = seen.own else {
            return false;
        };
        if seen.set_aside {
            return false;
        }
        let closed =
            own.state == Some(Completeness::Closed) && own.epoch.is_some_and(|at| at >= vote.epoch);
        let need = self.config.down_after + FAILOVER_TIME;
        let gone =
            |silence: Duration| closed && (self.standing.is_some() || silence.min(waited) >= need);
        let silent_to_all = self.standing.is_some() || vote.primary_silent_for >= need;
        seen.peers.iter().all(|peer| {
            let named = peer.address == vote.primary;
            match peer.state {
                PeerState::Unreachable(silence) => gone(silence) && (!named || silent_to_all),
                PeerState::Replica { .. } if named && self.standing.is_none() => {
                    peer.copy.relation == Some(Relation::Less)
                }
                PeerState::Replica { .. } => holds_no_more(peer),
                PeerState::Primary => false,
            }
        })
    }

    pub(super) fn stand(&mut self, now: Duration, actions: &mut Vec<Action>) {
        // Repeated, since the server may not have accepted it.
        let due = |since| now.saturating_sub(since) >= STAND_AGAIN;
        if self.standing.is_none_or(due) {
            self.standing = Some(now);
            actions.push(Action::Stand(
                "this copy holds more than that of the node that is named",
            ));
        }
    }

    /// Stops standing for primary when the reason is gone.
    pub(super) fn withdraw(&mut self, actions: &mut Vec<Action>) {
        if self.standing.take().is_some() {
            actions.push(Action::Lower("the reason to stand is gone"));
        }
    }

    fn when_named(
        &mut self,
        seen: &Observation,
        vote: Vote,
        parked_for: Duration,
        actions: &mut Vec<Action>,
    ) {
        // A named node becomes primary without an election.
        self.withdraw(actions);
        let holds_data = matches!(seen.own, OwnData::Data(_));
        let nobody_has_data = || {
            let empty = |p: &Peer| match p.state {
                PeerState::Unreachable(_) => true,
                _ => p.copy.relation.is_some() && !p.copy.data,
            };
            seen.peers.iter().all(empty)
        };
        if !vote.knows_replicas && !self.config.has_state && !holds_data && nobody_has_data() {
            actions.push(Action::Promote(
                "the first start of the lab, and the Sentinels name this node",
            ));
            return;
        }
        if seen.chosen {
            actions.push(Action::Promote("an operator has chosen this copy"));
            return;
        }
        // The Sentinels still name this node, but it was down: others may hold more.
        if let Some(address) = self.promoted_peer(seen)
            && let Some(peer) = seen.peers.iter().find(|p| p.address == address)
        {
            self.deposed = true;
            self.follow_if_it_may(seen, peer, "it has just been promoted", actions);
            return;
        }
        // Sentinels that know no replica, after a SENTINEL RESET on all, can promote none: only
        // this node can serve.
        if vote.knows_replicas && seen.peers.iter().any(can_be_promoted) {
            self.call_failover(
                seen,
                "this node was down while another can take over",
                actions,
            );
            return;
        }
        match self.blocks_the_role(seen, vote, parked_for) {
            None => actions.push(Action::Promote("no other data node can hold more")),
            Some(why) => self.wait_for(why, actions),
        }
    }

    /// Why this named node does not become primary; `None` if no other node can hold more.
    fn blocks_the_role(
        &self,
        seen: &Observation,
        vote: Vote,
        parked_for: Duration,
    ) -> Option<Wait> {
        let own = match seen.own {
            OwnData::Data(own) => Some(own),
            _ => None,
        };
        let complete = own.is_some_and(|own| {
            let here = match own.state {
                Some(Completeness::Closed) => true,
                Some(Completeness::Sole) => own.mine,
                _ => false,
            };
            here && own.epoch.is_some_and(|at| at >= vote.epoch)
        });
        // A server that has served in this process has its own data without a gap.
        let excused = own.is_some() && !self.deposed && (complete || self.ever_served);
        let need = self.config.down_after + FAILOVER_TIME;
        for peer in &seen.peers {
            match peer.state {
                PeerState::Unreachable(silence) if excused => {
                    if silence.min(parked_for) < need {
                        return Some(Wait::Nodes(MAY_HOLD_MORE));
                    }
                }
                PeerState::Unreachable(_) => {
                    return Some(Wait::Nodes(
                        "the other data nodes, to learn whether one holds more than this one; start them, or, if they \
                         are lost for good, choose a copy: halab choose NODE",
                    ));
                }
                PeerState::Primary => {
                    return Some(Wait::Nodes(
                        "another data node, which says that it is primary too",
                    ));
                }
                PeerState::Replica { .. } => match peer.copy.relation {
                    Some(Relation::Less | Relation::Same) => {}
                    Some(Relation::More) => {
                        return Some(Wait::Nodes(
                            "a data node that holds more than this one, to take over",
                        ));
                    }
                    Some(Relation::Apart) => return Some(Wait::Choice(APART)),
                    None => return Some(Wait::Nodes(MAY_HOLD_MORE)),
                },
            }
        }
        None
    }

    /// Follows a primary if it holds no less than this node.
    pub(super) fn follow_if_it_may(
        &mut self,
        seen: &Observation,
        primary: &Peer,
        why: &'static str,
        actions: &mut Vec<Action>,
    ) {
        self.withdraw(actions);
        match may_copy(seen.own, primary) {
            MayCopy::Yes => actions.push(Action::Follow(primary.address, why)),
            MayCopy::NotYet => {}
            MayCopy::Refused(why) => self.wait_for(Wait::Choice(why), actions),
            MayCopy::Unreadable => self.report_unreadable(primary.address, actions),
            MayCopy::GivenUp => {
                self.note_start();
                actions.push(Action::GiveUpCopy);
            }
        }
    }

    fn when_parked_without_vote(
        &mut self,
        seen: &Observation,
        parked_for: Duration,
        actions: &mut Vec<Action>,
    ) {
        self.withdraw(actions);
        // A node with a new disk looks like one of a new lab. The data of the others distinguishes
        // the two.
        let all_empty = seen
            .peers
            .iter()
            .all(|p| p.copy.relation.is_some() && !p.copy.data);
        let first = !self.config.has_state
            && self.exits.is_empty()
            && seen.own == OwnData::Empty
            && all_empty;
        if first && parked_for >= FIRST_START_PATIENCE {
            if self.config.me == self.config.seed {
                actions.push(Action::Promote(
                    "first start without Sentinels, seed primary",
                ));
            } else {
                actions.push(Action::Follow(
                    self.config.seed,
                    "first start without Sentinels",
                ));
            }
        } else {
            let what = "a majority of the Sentinels, to learn who is primary: start them";
            self.wait_for(Wait::Nodes(what), actions);
        }
    }
}

/// What a chosen node waits for.
pub(super) const WAIT_FOR_ELECTION: &str =
    "the Sentinels, to elect it: an operator has chosen this copy";
const MAY_HOLD_MORE: &str = "another data node, to learn whether it holds more";
const APART: &str = "an operator: each of the copies may hold what the other lacks; see what they hold with halab status, \
    then choose one: halab choose NODE";

pub(super) fn can_be_promoted(peer: &Peer) -> bool {
    peer.state == PeerState::Replica { promotable: true }
}

fn holds_no_more(peer: &Peer) -> bool {
    matches!(peer.copy.relation, Some(Relation::Less | Relation::Same))
}

/// Whether this node's copy may be replaced by that of a primary.
pub(super) fn may_copy(own: OwnData, primary: &Peer) -> MayCopy {
    if !primary.readable {
        return MayCopy::Unreadable;
    }
    match own {
        OwnData::Unread => return MayCopy::NotYet,
        OwnData::Empty => return MayCopy::Yes,
        OwnData::Data(_) => {}
    }
    match primary.copy.relation {
        None => MayCopy::NotYet,
        // Just promoted: its copy is known once it has begun its term.
        _ if !primary.copy.settled => MayCopy::NotYet,
        Some(Relation::More | Relation::Same) if primary.copy.given_up => MayCopy::GivenUp,
        Some(Relation::More | Relation::Same) => MayCopy::Yes,
        Some(Relation::Less) => MayCopy::Refused(
            "an operator: the primary holds less than this node, which keeps its own copy; see what they hold with halab \
             status, then choose one: halab choose NODE",
        ),
        Some(Relation::Apart) => MayCopy::Refused(APART),
    }
}
