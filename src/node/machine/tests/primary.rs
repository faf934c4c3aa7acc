//! A primary in service.

use super::*;

#[test]
fn a_node_that_becomes_primary_is_not_promotable_after_its_demotion() {
    let mut node = Node::replica();
    let actions = node.sees(
        10,
        ServerState::Primary { replicas: 1 },
        Some(vote(B, 1)),
        vec![],
    );
    assert!(lowers(&actions));
}

#[test]
fn a_promoted_node_that_is_not_announced_yet_stays_primary() {
    let mut node = Node::replica();
    for _ in 0..10 {
        let actions = node.sees(
            100,
            ServerState::Primary { replicas: 0 },
            Some(vote(B, 1)),
            vec![],
        );
        assert_eq!(follows(&actions), None);
    }
}

#[test]
fn a_second_promotion_is_not_undone_by_the_epoch_of_the_first() {
    let mut node = Node::primary();
    node.sees(10, in_sync(false), Some(vote(B, 2)), peer(WRITABLE));
    // Promoted again; the Sentinels still name B, at an epoch above that of the first time.
    let actions = node.sees(
        10,
        ServerState::Primary { replicas: 0 },
        Some(vote(B, 2)),
        peer(BEHIND),
    );
    assert_eq!(follows(&actions), None);
}

#[test]
fn a_stale_primary_submits_as_soon_as_a_newer_epoch_names_another() {
    let mut node = Node::primary();
    let older = node.sees(
        10,
        ServerState::Primary { replicas: 0 },
        Some(vote(B, 1)),
        peer(WRITABLE),
    );
    assert_eq!(follows(&older), None);
    let newer = node.sees(
        10,
        ServerState::Primary { replicas: 0 },
        Some(vote(B, 2)),
        peer(WRITABLE),
    );
    assert_eq!(follows(&newer), Some(at(B)));
}

#[test]
fn the_only_copy_is_synced_to_disk_before_each_answer() {
    let mut node = Node::primary();
    let alone = node.sees(
        10,
        ServerState::Primary { replicas: 0 },
        Some(vote(A, 1)),
        vec![],
    );
    assert!(alone.contains(&Action::SyncAlways(true)));
    assert_eq!(
        node.sees(
            10,
            ServerState::Primary { replicas: 0 },
            Some(vote(A, 1)),
            vec![]
        ),
        []
    );
    let again = node.sees(
        10,
        ServerState::Primary { replicas: 1 },
        Some(vote(A, 1)),
        vec![],
    );
    assert_eq!(again, [Action::SyncAlways(false)]);
}

#[test]
fn an_isolated_primary_fences_itself_before_down_after_and_opens_again() {
    let mut node = Node::primary();
    let alone = ServerState::Primary { replicas: 0 };
    node.sees(10, alone, None, vec![]);
    assert!(
        !node
            .sees(2000, alone, None, vec![])
            .contains(&Action::Fence)
    );
    assert!(node.sees(600, alone, None, vec![]).contains(&Action::Fence));
    assert!(node.sees(100, alone, None, vec![]).contains(&Action::Fence));
    let back = node.sees(100, alone, Some(vote(A, 1)), vec![]);
    assert_eq!(back, [Action::Unfence]);
}

#[test]
fn a_primary_whose_replica_confirms_is_not_isolated() {
    let mut node = Node::primary();
    for _ in 0..100 {
        let actions = node.sees(100, ServerState::Primary { replicas: 1 }, None, vec![]);
        assert!(!actions.contains(&Action::Fence));
    }
}
