//! This node's server is primary: its marks, its fence, and what it does when it is replaced.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::protocol::copy::Completeness;

use super::parked::{MayCopy, can_be_promoted, may_copy};
use super::{Action, Machine, MarkSummary, NextMark, Observation, OwnData, Peer, PeerState, Vote};

/// Pause between two marks while data is written. Two copies of one term differ unseen by at most
/// this.
const MARK_PERIOD: Duration = Duration::from_secs(1);
/// How long a lab may stay closed without being stopped before it is reopened.
const CLOSED_LIMIT: Duration = Duration::from_secs(60);

impl Machine {
    pub(super) fn when_primary(
        &mut self,
        seen: &Observation,
        replicas: usize,
        actions: &mut Vec<Action>,
    ) {
        // A Sentinel that leads a failover tries to promote the node that it has selected until
        // failover-timeout, even if that node has been restarted with less data.
        let stands = self.takes_role || seen.chosen;
        if self.candidate == Some(false) && !stands {
            self.deposed = true;
            actions.push(Action::Park(
                "it was promoted before its copy was compared with others",
            ));
            return;
        }
        self.note_role();
        self.standing = None;
        self.candidate = None;
        if !self.was_primary {
            self.was_primary = true;
            self.deposed = false;
            self.primary_since = seen.now;
            self.named_at = None;
            // As a replica again, it must not be promoted before it has caught up.
            actions.push(Action::Lower(
                "a primary that is demoted later starts as not promotable",
            ));
        }
        if let Some(vote) = seen.vote {
            if vote.primary == self.config.me {
                self.named_at = Some(vote.epoch);
            } else if self.named_at.is_some_and(|at| vote.epoch > at) {
                self.step_down(seen, vote.primary, actions);
                return;
            }
            // Otherwise it was just promoted, and the Sentinels have not announced it yet.
        }
        self.report_disk(seen, actions);
        if seen.disk_refuses && seen.peers.iter().any(can_be_promoted) {
            // The server refuses writes by itself. Earlier writes are on the other node, or were
            // not acknowledged.
            self.call_failover(seen, "this node's disk takes no writes", actions);
        }
        let always = replicas == 0;
        if always && seen.sync_always != Some(true) {
            actions.push(Action::SyncAlways(true));
        }
        let isolated = replicas == 0
            && self
                .voteless_since
                .is_some_and(|since| seen.now.saturating_sub(since) >= self.config.down_after / 2);
        if isolated {
            // At each step, since a pause ends by itself.
            self.fenced = true;
            actions.push(Action::Fence);
        } else if self.fenced {
            self.fenced = false;
            actions.push(Action::Unfence);
        }
        self.mark(seen, always, actions);
        // While the mark says that this is the only copy, every write must be on disk.
        let says_sole =
            matches!(seen.own, OwnData::Data(own) if own.state == Some(Completeness::Sole));
        if !always && seen.sync_always != Some(false) && !says_sole {
            actions.push(Action::SyncAlways(false));
        }
    }

    /// Keeps this node's mark up to date. Not while writes are paused, which would delay the mark
    /// too, nor while the disk takes no writes.
    fn mark(&mut self, seen: &Observation, alone: bool, actions: &mut Vec<Action>) {
        if self.fenced || seen.disk_refuses || seen.own == OwnData::Unread {
            return;
        }
        if !seen.in_term {
            actions.push(Action::BeginTerm);
            return;
        }
        let own = match seen.own {
            OwnData::Data(own) => own,
            _ => MarkSummary::NONE,
        };
        if own.state == Some(Completeness::Closed) {
            let since = *self.closed_since.get_or_insert(seen.now);
            if seen.now.saturating_sub(since) >= CLOSED_LIMIT {
                actions.push(Action::Reopen);
            }
            return;
        }
        self.closed_since = None;
        let marking = NextMark {
            epoch: self.named_at.or(own.epoch),
            confirmed: own.confirmed || self.announced(seen) || named_node_follows(seen),
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

    /// Whether the Sentinels have confirmed this term as primary. If the node took the role by its
    /// own decision, they may still name it from before and be about to promote another. Then
    /// they confirm it once they have seen it as primary with no failover in progress.
    fn announced(&self, seen: &Observation) -> bool {
        let served_for = seen.now.saturating_sub(self.primary_since);
        let settled = |vote: Vote| {
            vote.primary == self.config.me
                && vote
                    .primary_settled_within
                    .is_some_and(|within| within < served_for)
        };
        self.named_at.is_some() && (!self.takes_role || seen.vote.is_some_and(settled))
    }

    /// A primary that has been replaced follows the new one, or is parked until it may.
    fn step_down(&mut self, seen: &Observation, primary: SocketAddrV4, actions: &mut Vec<Action>) {
        self.deposed = true;
        let peer = seen.peers.iter().find(|p| p.address == primary);
        let may = peer.is_some_and(|peer| {
            peer.state == PeerState::Primary && may_copy(seen.own, peer) == MayCopy::Yes
        });
        if seen.in_term
            && seen.written
            && let OwnData::Data(own) = seen.own
        {
            // If the new primary ends before this node has copied it, the copies are compared by
            // their marks.
            actions.push(Action::Mark(NextMark {
                epoch: self.named_at,
                confirmed: own.confirmed,
                state: own.state.unwrap_or(Completeness::Open),
            }));
        }
        actions.push(if may {
            Action::Follow(primary, "named at a newer epoch")
        } else {
            Action::Park("a newer epoch names another node")
        });
    }
}

/// Whether the node that the Sentinels name follows this one, which was promoted in its place.
fn named_node_follows(seen: &Observation) -> bool {
    let named = |p: &&Peer| seen.vote.is_some_and(|vote| vote.primary == p.address);
    seen.peers.iter().find(named).is_some_and(|p| p.follows_me)
}
