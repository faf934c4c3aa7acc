//! This node's server is a replica: when it becomes promotable, and what it does when its primary
//! is lost.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::parked::{FAILOVER_TIME, WAIT_FOR_ELECTION, can_be_promoted};
use super::{Action, Machine, Observation, PeerState, Vote, Wait, may_be_read};

/// How much later than the loss of the link the primary must have answered a Sentinel to count as
/// alive. A Sentinel dates an answer when it reads it: on a busy machine it may read, after the
/// primary's end, an answer from before.
const READ_LATE: Duration = Duration::from_secs(1);
/// How long a named node stays the replica of a node that does not serve before it decides again.
const FOLLOWS_NOBODY: Duration = Duration::from_secs(2);

impl Machine {
    pub(super) fn when_replica(
        &mut self,
        seen: &Observation,
        of: SocketAddrV4,
        link_down_for: Option<Duration>,
        promotable: bool,
        actions: &mut Vec<Action>,
    ) {
        self.note_role();
        if seen.sync_always == Some(true) {
            actions.push(Action::SyncAlways(false));
        }
        let demoted = std::mem::take(&mut self.was_primary);
        if !may_be_read(seen, of) {
            // It would refuse each full copy, and skip the commands that it does not know.
            self.deposed |= demoted;
            self.report_unreadable(of, actions);
            actions.push(Action::Park(
                "its server cannot read what its primary writes",
            ));
            return;
        }
        self.takes_role = false;
        self.candidate = Some(promotable);
        // Named, but a replica: another node was promoted and is not announced yet.
        let replaced = demoted || seen.vote.is_some_and(|v| v.primary == self.config.me);
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
                // A primary that answers this node directly is up: only the link is down.
                let reached = seen
                    .peers
                    .iter()
                    .any(|p| p.address == of && p.state == PeerState::Primary);
                if seen.set_aside && !reached && down_for >= self.config.down_after + FAILOVER_TIME
                {
                    // Nothing has been copied, and there is no node to copy from.
                    actions.push(Action::RestoreSetAside);
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

    /// A replica whose link is down while the Sentinels name another node than its primary, or one
    /// that does not serve.
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
        if vote.primary == self.config.me && seen.chosen {
            self.takes_role = true;
            actions.push(Action::Promote("an operator has chosen this copy"));
        } else if vote.primary == self.config.me && serves(of) {
            // It follows a node that was promoted and will be announced soon.
        } else if vote.primary == self.config.me {
            if seen.peers.iter().any(can_be_promoted) {
                self.call_failover(
                    seen,
                    "this node follows a node that does not serve",
                    actions,
                );
            } else if down_for >= FOLLOWS_NOBODY && self.peer_is_replica(seen, of) {
                actions.push(Action::Park("the node that it follows does not serve"));
            }
        } else if let Some(named) = peer(vote.primary)
            && named.state == PeerState::Primary
        {
            if vote.primary != of {
                let why = "the Sentinels name it, and the old primary is gone";
                self.follow_if_it_may(seen, named, why, actions);
            }
        } else if seen.chosen {
            self.wait_for(Wait::Nodes(WAIT_FOR_ELECTION), actions);
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
}
