mod copies;
mod gone;
mod primary;
mod replica;
mod start;
mod versions;

use super::gone::CRASH_LIMIT;
use super::*;
use crate::protocol::copy::{Completeness, Relation};

const A: &str = "127.0.0.11:6379";
const B: &str = "127.0.0.12:6379";
const C: &str = "127.0.0.13:6379";

fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn identity() -> MachineConfig {
    MachineConfig {
        me: at(A),
        seed: at(A),
        has_state: true,
        hang_timeout: ms(1000),
        down_after: ms(5000),
    }
}

fn vote(primary: &str, epoch: u64) -> Vote {
    Vote {
        primary: at(primary),
        epoch,
        knows_replicas: true,
        primary_silent_for: Duration::ZERO,
        primary_alive_within: None,
        primary_settled_within: Some(Duration::ZERO),
        my_info_age: None,
        sees_me: true,
    }
}

fn holds(relation: Relation) -> PeerCopy {
    PeerCopy {
        relation: Some(relation),
        data: true,
        settled: true,
        given_up: false,
    }
}

/// A peer that holds the same.
fn peer(state: PeerState) -> Vec<Peer> {
    peer_that(state, holds(Relation::Same))
}

fn peer_that(state: PeerState, copy: PeerCopy) -> Vec<Peer> {
    let copy = match state {
        PeerState::Unreachable(_) => PeerCopy::UNREAD,
        _ => copy,
    };
    vec![Peer {
        address: at(B),
        state,
        copy,
        readable: true,
        follows_me: false,
    }]
}

/// B as the one, C as the other.
fn two_peers(one: Vec<Peer>, other: Vec<Peer>) -> Vec<Peer> {
    let other = Peer {
        address: at(C),
        ..other[0]
    };
    vec![one[0], other]
}

/// Data of a replica or primary in service.
const OPEN: OwnData = OwnData::Data(MarkSummary {
    state: Some(Completeness::Open),
    epoch: Some(1),
    mine: false,
    confirmed: true,
    current: true,
});

fn marks(epoch: u64, state: Completeness) -> Action {
    Action::Mark(NextMark {
        epoch: Some(epoch),
        confirmed: true,
        state,
    })
}

fn marked(state: Completeness, epoch: u64, mine: bool) -> OwnData {
    OwnData::Data(MarkSummary {
        state: Some(state),
        epoch: Some(epoch),
        mine,
        confirmed: true,
        current: true,
    })
}

const IN_SYNC: PeerState = PeerState::Replica { promotable: true };
const BEHIND: PeerState = PeerState::Replica { promotable: false };
const WRITABLE: PeerState = PeerState::Primary;

/// A node under test: the machine, and the time.
struct Node {
    machine: Machine,
    now: Duration,
    own: OwnData,
    chosen: bool,
    sync_always: Option<bool>,
    set_aside: bool,
}

impl Node {
    fn new(config: MachineConfig) -> Self {
        Node {
            machine: Machine::new(config),
            now: Duration::ZERO,
            own: OPEN,
            chosen: false,
            sync_always: None,
            set_aside: false,
        }
    }

    /// A node that holds this.
    fn with(own: OwnData) -> Self {
        Node {
            own,
            ..Node::new(identity())
        }
    }

    /// One step after `later`.
    fn sees(
        &mut self,
        later: u64,
        server: ServerState,
        vote: Option<Vote>,
        peers: Vec<Peer>,
    ) -> Vec<Action> {
        self.sees_disk(later, server, vote, peers, false)
    }

    /// The same, with a disk that takes no writes.
    fn sees_disk(
        &mut self,
        later: u64,
        server: ServerState,
        vote: Option<Vote>,
        peers: Vec<Peer>,
        disk_refuses: bool,
    ) -> Vec<Action> {
        self.now += ms(later);
        // The mark of a primary is as it has to be.
        let named = vote.filter(|vote| vote.primary == at(A)).map(|v| v.epoch);
        let own = match (server, self.own) {
            (ServerState::Primary { replicas }, OwnData::Data(own)) => OwnData::Data(MarkSummary {
                state: Some(match replicas {
                    0 => Completeness::Sole,
                    _ => Completeness::Open,
                }),
                epoch: named.or(self.machine.named_at).or(own.epoch),
                mine: true,
                confirmed: true,
                current: true,
            }),
            (_, own) => own,
        };
        let actions = self.machine.step(&Observation {
            now: self.now,
            server,
            disk_refuses,
            unreadable: false,
            sync_always: self.sync_always,
            own,
            set_aside: self.set_aside,
            in_term: matches!(server, ServerState::Primary { .. }),
            written: false,
            chosen: self.chosen,
            vote,
            peers,
        });
        for action in &actions {
            if let Action::SyncAlways(always) = action {
                self.sync_always = Some(*always);
            }
        }
        actions
    }

    /// A primary in service, with its replica in sync.
    fn primary() -> Self {
        let mut node = Node::new(identity());
        node.sees(0, ServerState::Gone, None, peer(IN_SYNC));
        let same = peer_that(BEHIND, holds(Relation::Same));
        let actions = node.sees(0, ServerState::Parked, Some(vote(A, 1)), same);
        assert!(promotes(&actions), "{actions:?}");
        node.sees(
            100,
            ServerState::Primary { replicas: 1 },
            Some(vote(A, 1)),
            peer(IN_SYNC),
        );
        node
    }

    /// A replica of B in service.
    fn replica() -> Self {
        let mut node = Node::new(identity());
        node.sees(0, ServerState::Gone, None, peer(WRITABLE));
        node.sees(100, in_sync(true), Some(vote(B, 1)), peer(WRITABLE));
        node
    }
}

fn in_sync(promotable: bool) -> ServerState {
    ServerState::Replica {
        of: at(B),
        link_down_for: None,
        promotable,
    }
}

fn cut(down_for: u64, promotable: bool) -> ServerState {
    ServerState::Replica {
        of: at(B),
        link_down_for: Some(ms(down_for)),
        promotable,
    }
}

fn follows(actions: &[Action]) -> Option<SocketAddrV4> {
    actions.iter().find_map(|a| match a {
        Action::Follow(to, _) => Some(*to),
        _ => None,
    })
}

fn promotes(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::Promote(_)))
}

fn calls(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::CallFailover(_)))
}

fn lowers(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::Lower(_)))
}
