//! A server that has ended, or does not answer.

use super::*;

#[test]
fn a_dead_primary_calls_for_the_failover_at_once_and_waits_for_the_promotion() {
    let mut node = Node::primary();
    let actions = node.sees(10, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
    assert!(calls(&actions) && !actions.contains(&Action::Start));
    assert_eq!(
        node.sees(20, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC)),
        []
    );
    let actions = node.sees(20, ServerState::Gone, Some(vote(A, 1)), peer(WRITABLE));
    assert_eq!(actions, [Action::StartAfresh]);
    let actions = node.sees(20, ServerState::Parked, Some(vote(A, 1)), peer(WRITABLE));
    assert_eq!(follows(&actions), Some(at(B)));
}

#[test]
fn a_promoted_node_that_is_out_of_sight_for_a_moment_is_waited_for() {
    let mut node = Node::primary();
    node.sees(10, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
    let moment = peer(PeerState::Unreachable(ms(40)));
    assert_eq!(
        node.sees(150, ServerState::Gone, Some(vote(A, 1)), moment),
        []
    );
    let gone = peer(PeerState::Unreachable(ms(1000)));
    assert_eq!(
        node.sees(150, ServerState::Gone, Some(vote(A, 1)), gone),
        [Action::Start]
    );
}

#[test]
fn a_dead_primary_whose_replica_can_not_take_over_starts_with_its_data_at_once() {
    let mut node = Node::primary();
    let actions = node.sees(10, ServerState::Gone, Some(vote(A, 1)), peer(BEHIND));
    // A Sentinel may not know yet that the other is no candidate: it is not asked.
    assert_eq!(actions, [Action::Start]);
}

#[test]
fn a_dead_primary_starts_with_its_data_when_the_promotion_does_not_come() {
    let mut node = Node::primary();
    node.sees(10, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
    let actions = node.sees(2000, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
    assert_eq!(actions, [Action::Start]);
}

#[test]
fn a_deposed_node_never_takes_the_role_by_itself_before_it_is_in_sync() {
    let mut node = Node::primary();
    node.sees(10, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
    node.sees(20, ServerState::Gone, Some(vote(A, 1)), peer(WRITABLE));
    for _ in 0..20 {
        let lost = peer(PeerState::Unreachable(ms(60_000)));
        assert!(!promotes(&node.sees(
            1000,
            ServerState::Parked,
            Some(vote(A, 1)),
            lost
        )));
    }
    // The same while it copies, and when its own server ends meanwhile.
    node.sees(20, cut(10, false), Some(vote(A, 1)), peer(WRITABLE));
    node.sees(
        20,
        ServerState::Gone,
        Some(vote(A, 1)),
        peer(PeerState::Unreachable(ms(10))),
    );
    let lost = || peer(PeerState::Unreachable(ms(60_000)));
    for _ in 0..20 {
        assert!(!promotes(&node.sees(
            1000,
            ServerState::Parked,
            Some(vote(A, 1)),
            lost()
        )));
    }
    // In sync, it holds all again.
    node.sees(20, in_sync(false), Some(vote(A, 1)), peer(WRITABLE));
    node.sees(20, ServerState::Parked, Some(vote(A, 1)), lost());
    assert!(promotes(&node.sees(
        7000,
        ServerState::Parked,
        Some(vote(A, 1)),
        lost()
    )));
}

#[test]
fn a_dead_replica_starts_only_when_the_sentinels_have_forgotten_its_priority() {
    let mut node = Node::replica();
    let known = |age| Vote {
        my_info_age: Some(ms(age)),
        ..vote(B, 1)
    };
    assert_eq!(
        node.sees(10, ServerState::Gone, Some(known(100)), peer(WRITABLE)),
        []
    );
    assert_eq!(
        node.sees(100, ServerState::Gone, Some(known(250)), peer(WRITABLE)),
        []
    );
    let later = node.sees(100, ServerState::Gone, Some(known(300)), peer(WRITABLE));
    assert_eq!(later, [Action::Start]);
}

#[test]
fn a_server_that_ends_again_and_again_ends_the_node() {
    let mut node = Node::new(identity());
    node.sees(0, ServerState::Gone, None, vec![]);
    for exits in 1..=6 {
        node.sees(1000, ServerState::Starting, None, vec![]);
        let actions = node.sees(1000, ServerState::Gone, None, vec![]);
        assert_eq!(
            actions.contains(&Action::GiveUp),
            exits == 6,
            "exit {exits}"
        );
    }
}

#[test]
fn ends_that_lie_far_apart_do_not_end_the_node() {
    // The sixth end comes a minute after the first, or later.
    for (pause, gives_up) in [(12_000, true), (12_001, false)] {
        let mut node = Node::new(identity());
        node.sees(0, ServerState::Gone, None, vec![]);
        let mut actions = Vec::new();
        for _ in 0..20 {
            node.sees(0, ServerState::Starting, None, vec![]);
            actions.extend(node.sees(pause, ServerState::Gone, None, vec![]));
        }
        assert_eq!(actions.contains(&Action::GiveUp), gives_up, "{pause}");
    }
}

#[test]
fn a_silent_server_is_killed_after_the_hang_timeout_and_not_before() {
    let mut node = Node::primary();
    let mut silent = |for_ms| {
        let server = ServerState::Silent(ms(for_ms));
        node.sees(10, server, Some(vote(A, 1)), peer(IN_SYNC))
    };
    assert_eq!(silent(999), []);
    assert_eq!(silent(1000), [Action::Kill]);
}

#[test]
fn a_silent_server_is_not_killed_while_none_could_serve_instead() {
    for state in [PeerState::Unreachable(ms(1000)), BEHIND] {
        let mut node = Node::primary();
        let mut silent = |for_ms| {
            let server = ServerState::Silent(ms(for_ms));
            node.sees(10, server, Some(vote(A, 1)), peer(state))
        };
        assert_eq!(silent(1000), []);
        assert_eq!(silent(9999), []);
        // For good, it seems.
        assert_eq!(silent(10_000), [Action::Kill]);
    }
}

#[test]
fn a_server_that_copies_its_data_may_be_silent_for_long() {
    for copying in [ServerState::Loading, cut(3000, false)] {
        let mut node = Node::replica();
        let mut sees = |server| node.sees(10, server, Some(vote(B, 1)), peer(WRITABLE));
        sees(copying);
        assert_eq!(sees(ServerState::Silent(ms(1000))), []);
        assert_eq!(sees(ServerState::Silent(ms(9999))), []);
        // For good, it seems.
        assert_eq!(sees(ServerState::Silent(ms(10_000))), [Action::Kill]);
        // Once it has its data, its silence is a hang again.
        sees(in_sync(true));
        assert_eq!(sees(ServerState::Silent(ms(1000))), [Action::Kill]);
    }
}
