//! A server's start: parked, then in a role.

use super::*;

#[test]
fn a_server_is_started_parked_and_decides_nothing_while_it_loads() {
    let mut node = Node::new(identity());
    assert_eq!(
        node.sees(0, ServerState::Gone, None, vec![]),
        [Action::Start]
    );
    assert_eq!(
        node.sees(20, ServerState::Starting, Some(vote(A, 0)), vec![]),
        []
    );
    assert_eq!(
        node.sees(20, ServerState::Loading, Some(vote(A, 0)), vec![]),
        []
    );
}

#[test]
fn on_the_first_start_of_the_lab_the_named_node_is_primary() {
    let mut node = Node::with(OwnData::Empty);
    node.machine.config.has_state = false;
    let fresh = Vote {
        knows_replicas: false,
        ..vote(A, 0)
    };
    let silent = peer(PeerState::Unreachable(ms(10)));
    assert!(promotes(&node.sees(
        50,
        ServerState::Parked,
        Some(fresh),
        silent
    )));
}

#[test]
fn a_named_node_without_data_takes_the_role_only_where_there_has_never_been_any() {
    for (has_state, knows_replicas, other_has_data, takes) in [
        (false, false, false, true),
        // Its data is gone, or the Sentinels have forgotten the others.
        (true, false, false, false),
        (false, true, false, false),
        (false, false, true, false),
    ] {
        let mut node = Node::with(OwnData::Empty);
        node.machine.config.has_state = has_state;
        let vote = Vote {
            knows_replicas,
            ..vote(A, 0)
        };
        let other = PeerCopy {
            data: other_has_data,
            ..holds(Relation::Same)
        };
        let silent = peer(PeerState::Unreachable(ms(60_000)));
        let peers = two_peers(peer_that(BEHIND, other), silent);
        let actions = node.sees(60_000, ServerState::Parked, Some(vote), peers);
        assert_eq!(
            promotes(&actions),
            takes,
            "{has_state} {knows_replicas} {other_has_data}"
        );
    }
}

#[test]
fn a_node_follows_the_named_primary_as_soon_as_that_takes_writes() {
    let mut node = Node::new(identity());
    let waiting = node.sees(20, ServerState::Parked, Some(vote(B, 1)), peer(BEHIND));
    assert_eq!(follows(&waiting), None);
    let ready = node.sees(20, ServerState::Parked, Some(vote(B, 1)), peer(WRITABLE));
    assert_eq!(follows(&ready), Some(at(B)));
}

#[test]
fn without_sentinels_only_a_first_start_takes_the_seed_role_and_only_in_an_empty_lab() {
    let new = MachineConfig {
        has_state: false,
        ..identity()
    };
    let silent = || peer(PeerState::Unreachable(ms(10)));
    let nothing = || {
        let copy = PeerCopy {
            data: false,
            ..holds(Relation::Same)
        };
        peer_that(BEHIND, copy)
    };
    let empty = |id| Node {
        own: OwnData::Empty,
        ..Node::new(id)
    };
    let mut seed = empty(new.clone());
    assert!(!promotes(&seed.sees(
        20,
        ServerState::Parked,
        None,
        nothing()
    )));
    assert!(promotes(&seed.sees(
        3000,
        ServerState::Parked,
        None,
        nothing()
    )));

    // Its disk may be new while the other has the data.
    let mut replaced = empty(new.clone());
    replaced.sees(20, ServerState::Parked, None, silent());
    assert!(!promotes(&replaced.sees(
        60_000,
        ServerState::Parked,
        None,
        silent()
    )));

    let mut other = empty(MachineConfig {
        seed: at(B),
        ..new.clone()
    });
    other.sees(20, ServerState::Parked, None, nothing());
    assert_eq!(
        follows(&other.sees(3000, ServerState::Parked, None, nothing())),
        Some(at(B))
    );

    let mut late = empty(new);
    late.sees(20, ServerState::Parked, None, peer(WRITABLE));
    assert!(!promotes(&late.sees(
        9000,
        ServerState::Parked,
        None,
        peer(WRITABLE)
    )));

    let mut known = Node::new(identity());
    known.sees(20, ServerState::Parked, None, silent());
    assert!(!promotes(&known.sees(
        60_000,
        ServerState::Parked,
        None,
        silent()
    )));

    // It had state, which is gone.
    let mut lost = empty(identity());
    lost.sees(20, ServerState::Parked, None, nothing());
    assert!(!promotes(&lost.sees(
        60_000,
        ServerState::Parked,
        None,
        nothing()
    )));
}

#[test]
fn a_wait_names_what_ends_it() {
    let silent = || peer(PeerState::Unreachable(ms(60_000)));
    for (named, what) in [
        (
            peer_that(BEHIND, holds(Relation::Less)),
            "the other data nodes",
        ),
        (
            peer(BEHIND),
            "the node that the Sentinels name, to take the role",
        ),
        (silent(), "an answer of the node that the Sentinels name"),
    ] {
        let mut node = Node::new(identity());
        let peers = two_peers(named, silent());
        let actions = node.sees(20, ServerState::Parked, Some(vote(B, 3)), peers);
        let [Action::Waiting(wait)] = actions[..] else {
            panic!("{actions:?}");
        };
        assert!(wait.to_string().starts_with(what), "{wait}");
    }
}

#[test]
fn waiting_is_said_once() {
    let mut node = Node::new(identity());
    let first = node.sees(20, ServerState::Parked, None, vec![]);
    assert!(matches!(first.as_slice(), [Action::Waiting(_)]));
    assert_eq!(node.sees(20, ServerState::Parked, None, vec![]), []);
}

#[test]
fn only_a_wait_for_an_operator_needs_a_choice() {
    const SILENT: PeerState = PeerState::Unreachable(Duration::from_secs(60));
    let wait = |named, state, copy| {
        let mut node = Node::with(OPEN);
        let peers = peer_that(state, copy);
        let actions = node.sees(60_000, ServerState::Parked, Some(vote(named, 3)), peers);
        match actions.as_slice() {
            [Action::Waiting(wait)] => *wait,
            other => panic!("{other:?}"),
        }
    };
    // A start of the silent node, or its answer, ends the wait.
    for wait in [
        wait(A, SILENT, PeerCopy::UNREAD),
        wait(B, SILENT, PeerCopy::UNREAD),
    ] {
        assert!(matches!(wait, Wait::Nodes(_)), "{wait:?}");
        assert!(wait.to_string().contains("start"), "{wait}");
    }
    // All nodes answer, and none may copy from another.
    for wait in [
        wait(A, BEHIND, holds(Relation::Apart)),
        wait(B, BEHIND, holds(Relation::Apart)),
        wait(B, WRITABLE, holds(Relation::Apart)),
        wait(B, WRITABLE, holds(Relation::Less)),
    ] {
        assert!(matches!(wait, Wait::Choice(_)), "{wait:?}");
        assert!(wait.to_string().starts_with("an operator: "), "{wait}");
    }
}

#[test]
fn a_returning_primary_calls_for_a_failover_when_another_can_take_over() {
    let mut node = Node::new(identity());
    let actions = node.sees(20, ServerState::Parked, Some(vote(A, 3)), peer(IN_SYNC));
    assert!(calls(&actions) && !promotes(&actions));
    // Not twice at once: each call could start a failover of its own.
    assert!(!calls(&node.sees(
        20,
        ServerState::Parked,
        Some(vote(A, 3)),
        peer(IN_SYNC)
    )));
    assert!(calls(&node.sees(
        500,
        ServerState::Parked,
        Some(vote(A, 3)),
        peer(IN_SYNC)
    )));
    let promoted = node.sees(20, ServerState::Parked, Some(vote(A, 3)), peer(WRITABLE));
    assert_eq!(follows(&promoted), Some(at(B)));
}

#[test]
fn a_returning_primary_takes_the_role_when_nobody_else_can_hold_more() {
    let mut node = Node::new(identity());
    assert!(promotes(&node.sees(
        20,
        ServerState::Parked,
        Some(vote(A, 3)),
        peer(BEHIND)
    )));
}

#[test]
fn a_stale_primary_that_was_never_seen_as_a_replica_is_not_followed() {
    let mut node = Node::new(identity());
    for _ in 0..10 {
        let actions = node.sees(1000, ServerState::Parked, Some(vote(A, 3)), peer(WRITABLE));
        assert_eq!(follows(&actions), None);
        assert!(!promotes(&actions));
    }
}

#[test]
fn a_stale_primary_that_this_node_has_followed_is_not_taken_for_a_promoted_one() {
    let mut node = Node::new(identity());
    node.sees(0, ServerState::Gone, None, peer(BEHIND));
    node.sees(100, in_sync(true), Some(vote(B, 1)), peer(WRITABLE));
    let silent = peer(PeerState::Unreachable(ms(5000)));
    let alone = ServerState::Primary { replicas: 0 };
    node.sees(5000, alone, Some(vote(A, 2)), silent);
    // The other comes back as the primary that it was. This node's data is not set aside for its
    // data.
    let actions = node.sees(10, ServerState::Gone, Some(vote(A, 2)), peer(WRITABLE));
    assert_eq!(actions, [Action::Start]);
    let actions = node.sees(10, ServerState::Parked, Some(vote(A, 2)), peer(WRITABLE));
    assert_eq!(follows(&actions), None);
}
