//! Servers of several versions: what can't be read is neither followed nor loaded, and replaces
//! nothing.

use super::*;

/// A peer whose server writes what this node's can't read.
fn newer(state: PeerState, copy: PeerCopy) -> Vec<Peer> {
    vec![Peer {
        readable: false,
        ..peer_that(state, copy)[0]
    }]
}

fn follows(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::Follow(..)))
}

fn parks(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::Park(_)))
}

impl Node {
    /// Without a server, whose data on disk it could not read.
    fn cannot_load(&mut self, later: u64, vote: Option<Vote>, peers: Vec<Peer>) -> Vec<Action> {
        self.now += ms(later);
        self.machine.step(&Observation {
            now: self.now,
            server: ServerState::Gone,
            disk_refuses: false,
            unreadable: true,
            sync_always: None,
            own: OwnData::Unread,
            set_aside: false,
            in_term: false,
            written: false,
            chosen: false,
            vote,
            peers,
        })
    }
}

#[test]
fn a_parked_node_does_not_follow_what_its_server_cannot_read_and_says_so_once() {
    let mut node = Node::new(identity());
    node.sees(0, ServerState::Gone, None, newer(BEHIND, PeerCopy::UNREAD));
    let primary = newer(WRITABLE, holds(Relation::More));
    let expected = [Action::CannotFollow(at(B))];
    let actions = node.sees(100, ServerState::Parked, Some(vote(B, 2)), primary.clone());
    assert_eq!(actions, expected);
    let actions = node.sees(100, ServerState::Parked, Some(vote(B, 2)), primary.clone());
    assert_eq!(actions, []);
    // An empty one neither: it would ask for a copy again and again.
    node.own = OwnData::Empty;
    let actions = node.sees(100, ServerState::Parked, Some(vote(B, 2)), primary.clone());
    assert!(!follows(&actions), "{actions:?}");
    // With a server that reads it, it does; after that it is said anew.
    let readable = peer_that(WRITABLE, holds(Relation::More));
    let actions = node.sees(100, ServerState::Parked, Some(vote(B, 2)), readable);
    assert!(follows(&actions), "{actions:?}");
    let actions = node.sees(100, ServerState::Parked, Some(vote(B, 2)), primary);
    assert_eq!(actions, expected);
}

#[test]
fn a_replica_parks_when_its_primary_comes_back_newer() {
    for (link_down_for, promotable) in [(None, true), (None, false), (Some(ms(20)), true)] {
        let mut node = Node::replica();
        let replica = ServerState::Replica {
            of: at(B),
            link_down_for,
            promotable,
        };
        let primary = newer(WRITABLE, holds(Relation::Same));
        let actions = node.sees(100, replica, Some(vote(B, 2)), primary.clone());
        assert!(parks(&actions), "{actions:?}");
        assert!(!actions.contains(&Action::Raise), "{actions:?}");
        let actions = node.sees(100, ServerState::Parked, Some(vote(B, 2)), primary);
        assert!(!follows(&actions), "{actions:?}");
    }
    // One that is no primary, or is gone, gives it nothing to read.
    for state in [BEHIND, PeerState::Unreachable(ms(5000))] {
        let mut node = Node::replica();
        let replica = ServerState::Replica {
            of: at(B),
            link_down_for: Some(ms(20)),
            promotable: true,
        };
        let peers = newer(state, holds(Relation::Same));
        let actions = node.sees(100, replica, Some(vote(B, 2)), peers);
        assert!(!parks(&actions), "{actions:?}");
    }
}

#[test]
fn a_primary_over_which_a_newer_one_was_promoted_keeps_its_data() {
    let mut node = Node::primary();
    let actions = node.sees(
        100,
        ServerState::Gone,
        Some(vote(A, 1)),
        newer(IN_SYNC, holds(Relation::Same)),
    );
    assert!(!actions.contains(&Action::StartAfresh), "{actions:?}");
    // Of a version that it reads it would take the place of what it has.
    let promoted = newer(WRITABLE, holds(Relation::More));
    let actions = node.sees(100, ServerState::Gone, Some(vote(A, 1)), promoted);
    assert_eq!(actions, [Action::Start]);

    let mut node = Node::primary();
    node.sees(100, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
    let promoted = peer_that(WRITABLE, holds(Relation::More));
    let actions = node.sees(100, ServerState::Gone, Some(vote(A, 1)), promoted);
    assert_eq!(actions, [Action::StartAfresh]);
}

#[test]
fn a_replaced_primary_that_cannot_read_the_new_one_takes_no_writes_and_does_not_follow() {
    let mut node = Node::primary();
    let new = newer(WRITABLE, holds(Relation::More));
    let actions = node.sees(
        100,
        ServerState::Primary { replicas: 0 },
        Some(vote(B, 2)),
        new,
    );
    assert!(parks(&actions) && !follows(&actions), "{actions:?}");
}

#[test]
fn a_primary_made_a_replica_of_one_that_it_cannot_read_does_not_take_the_role_by_itself() {
    let mut node = Node::primary();
    let new = newer(WRITABLE, holds(Relation::More));
    let actions = node.sees(20, cut(10, false), Some(vote(B, 2)), new);
    assert!(parks(&actions), "{actions:?}");
    for _ in 0..20 {
        let lost = newer(PeerState::Unreachable(ms(60_000)), PeerCopy::UNREAD);
        let actions = node.sees(1000, ServerState::Parked, Some(vote(A, 3)), lost);
        assert!(!promotes(&actions), "{actions:?}");
    }
}

#[test]
fn what_is_set_aside_is_put_back_rather_than_replaced_by_what_cannot_be_read() {
    let mut node = Node::new(identity());
    node.sees(0, ServerState::Gone, None, peer(IN_SYNC));
    node.set_aside = true;
    let new = newer(WRITABLE, holds(Relation::More));
    let actions = node.sees(100, ServerState::Parked, Some(vote(B, 2)), new.clone());
    assert!(!follows(&actions), "{actions:?}");
    let actions = node.sees(2000, ServerState::Parked, Some(vote(B, 2)), new);
    assert_eq!(actions, [Action::RestoreSetAside]);
}

#[test]
fn data_that_the_server_cannot_read_is_left_alone_until_another_node_serves_with_it() {
    let mut node = Node::new(identity());
    // Nobody there: said once, not started, and never given up.
    let nobody = || newer(PeerState::Unreachable(ms(5000)), PeerCopy::UNREAD);
    assert_eq!(node.cannot_load(0, None, nobody()), [Action::CannotLoad]);
    for _ in 0..20 {
        assert_eq!(node.cannot_load(1000, Some(vote(A, 1)), nobody()), []);
    }
    // One that serves and can't be read neither.
    let new = newer(WRITABLE, holds(Relation::Same));
    let actions = node.cannot_load(100, Some(vote(B, 2)), new);
    assert!(!actions.contains(&Action::StartAfresh), "{actions:?}");
    // One that can be read and has all of it: it is copied anew from there.
    let serves = peer_that(WRITABLE, holds(Relation::Same));
    let actions = node.cannot_load(100, Some(vote(B, 2)), serves);
    assert_eq!(actions, [Action::StartAfresh]);
}

#[test]
fn data_that_the_server_cannot_read_is_not_replaced_by_less_nor_before_it_was_compared() {
    for (copy, waits) in [
        (PeerCopy::UNREAD, false),
        (holds(Relation::Less), true),
        (holds(Relation::Apart), true),
    ] {
        let mut node = Node::new(identity());
        node.cannot_load(0, None, peer_that(BEHIND, copy));
        let actions = node.cannot_load(100, Some(vote(B, 2)), peer_that(WRITABLE, copy));
        assert!(
            !actions.contains(&Action::StartAfresh),
            "{copy:?}: {actions:?}"
        );
        let waiting = actions.iter().any(|a| matches!(a, Action::Waiting(_)));
        assert_eq!(waiting, waits, "{copy:?}: {actions:?}");
        // Nor is it asked to become primary.
        let mut node = Node::new(identity());
        let actions = node.cannot_load(0, Some(vote(A, 1)), peer_that(IN_SYNC, copy));
        let calls = actions.iter().any(|a| matches!(a, Action::CallFailover(_)));
        assert!(!calls, "{copy:?}: {actions:?}");
    }
}

#[test]
fn data_that_the_server_cannot_read_and_an_operator_has_given_up_is_kept() {
    let mut node = Node::new(identity());
    node.cannot_load(0, None, peer_that(BEHIND, PeerCopy::UNREAD));
    let chosen = PeerCopy {
        given_up: true,
        ..holds(Relation::More)
    };
    let actions = node.cannot_load(100, Some(vote(B, 2)), peer_that(WRITABLE, chosen));
    assert_eq!(actions, [Action::GiveUpCopy]);
}

#[test]
fn a_named_node_that_cannot_read_its_own_data_has_another_take_over() {
    let mut node = Node::new(identity());
    let in_sync = peer_that(IN_SYNC, holds(Relation::Same));
    let actions = node.cannot_load(0, Some(vote(A, 1)), in_sync);
    assert!(
        actions.iter().any(|a| matches!(a, Action::CallFailover(_))),
        "{actions:?}"
    );
    assert!(!actions.contains(&Action::Start), "{actions:?}");
}
