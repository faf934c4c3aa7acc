//! A replica in service.

use super::*;

#[test]
fn a_replica_in_sync_becomes_promotable_when_every_sentinel_sees_it() {
    let mut node = Node::replica();
    let unseen = Vote {
        sees_me: false,
        ..vote(B, 1)
    };
    assert_eq!(
        node.sees(10, in_sync(false), Some(unseen), peer(WRITABLE)),
        []
    );
    assert_eq!(node.sees(10, in_sync(false), None, peer(WRITABLE)), []);
    assert_eq!(
        node.sees(10, in_sync(false), Some(vote(B, 1)), peer(WRITABLE)),
        [Action::Raise]
    );
    assert_eq!(
        node.sees(10, in_sync(true), Some(vote(B, 1)), peer(WRITABLE)),
        []
    );
}

#[test]
fn a_replica_stays_promotable_while_its_primary_may_be_dead() {
    let mut node = Node::replica();
    let last_seen = |age| Vote {
        primary_alive_within: Some(ms(age)),
        ..vote(B, 1)
    };
    let gone = || peer(PeerState::Unreachable(ms(50)));
    assert!(!lowers(&node.sees(
        10,
        cut(100, true),
        Some(vote(B, 1)),
        gone()
    )));
    assert!(!lowers(&node.sees(
        10,
        cut(100, true),
        Some(last_seen(100)),
        gone()
    )));
    assert!(!lowers(&node.sees(10, cut(900, true), None, gone())));
    // Read late, perhaps, by Sentinels that were held up.
    assert!(!lowers(&node.sees(
        10,
        cut(1000, true),
        Some(last_seen(0)),
        gone()
    )));
}

#[test]
fn a_replica_whose_link_alone_is_cut_is_not_promotable() {
    let mut node = Node::replica();
    let alive = Vote {
        primary_alive_within: Some(ms(300)),
        ..vote(B, 1)
    };
    let gone = peer(PeerState::Unreachable(ms(500)));
    assert!(lowers(&node.sees(10, cut(1400, true), Some(alive), gone)));
    assert!(lowers(&node.sees(
        10,
        cut(1400, true),
        Some(alive),
        peer(WRITABLE)
    )));
}

#[test]
fn a_restarted_parked_primary_is_no_proof_of_life() {
    let mut node = Node::replica();
    let alive = Vote {
        primary_alive_within: Some(ms(300)),
        ..vote(B, 1)
    };
    // It answers the Sentinels' PING, and says itself that it is no primary.
    assert!(!lowers(&node.sees(
        10,
        cut(1400, true),
        Some(alive),
        peer(BEHIND)
    )));
}

#[test]
fn a_replica_left_behind_follows_the_primary_that_the_sentinels_name() {
    // The old one is gone, or has come back as the primary that it was.
    for old in [PeerState::Unreachable(ms(5000)), WRITABLE] {
        let mut node = Node::new(identity());
        let peers = two_peers(peer(old), peer_that(WRITABLE, holds(Relation::More)));
        let actions = node.sees(10, cut(5000, true), Some(vote(C, 2)), peers);
        assert_eq!(follows(&actions), Some(at(C)), "{old:?}");
    }
}

#[test]
fn data_that_can_not_be_loaded_is_replaced_by_another_nodes_and_never_taken_for_all() {
    let mut node = Node::new(identity());
    assert_eq!(
        node.sees(0, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC)),
        [Action::Start]
    );
    node.sees(100, ServerState::Starting, Some(vote(A, 1)), peer(IN_SYNC));
    // It ended before it said anything: the other one is to take over first.
    let called = node.sees(100, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
    assert!(
        matches!(called.as_slice(), [Action::CallFailover(_)]),
        "{called:?}"
    );
    assert_eq!(
        node.sees(300, ServerState::Gone, Some(vote(A, 1)), peer(WRITABLE)),
        [Action::StartAfresh]
    );
}

#[test]
fn data_that_can_not_be_loaded_stays_where_no_other_node_has_it() {
    let mut node = Node::new(identity());
    let gone = || PeerState::Unreachable(ms(60_000));
    node.sees(0, ServerState::Gone, Some(vote(A, 1)), peer(gone()));
    let mut actions = Vec::new();
    for _ in 0..CRASH_LIMIT + 1 {
        node.sees(100, ServerState::Starting, Some(vote(A, 1)), peer(gone()));
        actions = node.sees(100, ServerState::Gone, Some(vote(A, 1)), peer(gone()));
        assert!(!actions.contains(&Action::StartAfresh), "{actions:?}");
    }
    assert_eq!(actions, [Action::GiveUp]);
}

#[test]
fn a_primary_whose_disk_takes_no_writes_has_another_one_take_over_and_says_so_once() {
    let primary = ServerState::Primary { replicas: 1 };
    let mut node = Node::primary();
    let actions = node.sees_disk(100, primary, Some(vote(A, 1)), peer(IN_SYNC), true);
    assert!(actions.contains(&Action::DiskRefuses), "{actions:?}");
    assert!(
        actions.iter().any(|a| matches!(a, Action::CallFailover(_))),
        "{actions:?}"
    );
    let again = node.sees_disk(100, primary, Some(vote(A, 1)), peer(IN_SYNC), true);
    assert_eq!(again, []);
    // Nobody who could: it refuses writes where it is.
    let mut node = Node::primary();
    let actions = node.sees_disk(100, primary, Some(vote(A, 1)), peer(BEHIND), true);
    assert_eq!(actions, [Action::DiskRefuses]);
}

#[test]
fn a_server_is_started_only_when_its_disk_has_room_and_then_by_itself() {
    // Another node has taken over meanwhile, or none could.
    for (other, start) in [(WRITABLE, Action::StartAfresh), (BEHIND, Action::Start)] {
        let mut node = Node::primary();
        let mut actions = Vec::new();
        for _ in 0..9 {
            actions.extend(node.sees_disk(
                1000,
                ServerState::Gone,
                Some(vote(A, 1)),
                peer(other),
                true,
            ));
        }
        assert!(actions.contains(&Action::DiskRefuses), "{actions:?}");
        assert!(
            !actions.contains(&Action::Start) && !actions.contains(&Action::StartAfresh),
            "{actions:?}"
        );
        let back = node.sees(1000, ServerState::Gone, Some(vote(A, 1)), peer(other));
        assert!(back.contains(&start), "{back:?}");
    }
}
