//! Which copy of the data a role may rest on.

use super::*;

fn stands(actions: &[Action]) -> bool {
    actions.iter().any(|a| matches!(a, Action::Stand(_)))
}

fn silent_primary(silence: u64) -> Option<Vote> {
    Some(Vote {
        primary_silent_for: ms(silence),
        ..vote(B, 3)
    })
}

#[test]
fn a_replaced_primary_never_takes_the_role_by_itself_before_it_is_in_sync() {
    let waits = |node: &mut Node| {
        let lost = || peer(PeerState::Unreachable(ms(60_000)));
        (0..20).all(|_| !promotes(&node.sees(1000, ServerState::Parked, Some(vote(A, 3)), lost())))
    };
    // It submits, and the new one ends before anything has come from it; a Sentinel still takes
    // this one for promotable.
    let mut node = Node::primary();
    let primary = ServerState::Primary { replicas: 0 };
    node.sees(10, primary, Some(vote(B, 2)), peer(WRITABLE));
    node.sees(20, cut(10, false), Some(vote(B, 2)), peer(WRITABLE));
    node.sees(20, primary, Some(vote(A, 3)), peer(BEHIND));
    assert!(waits(&mut node));
    // The new one has ended before this one sees it.
    let mut node = Node::primary();
    let gone = peer(PeerState::Unreachable(ms(10)));
    node.sees(10, primary, Some(vote(B, 2)), gone);
    assert!(waits(&mut node));
    // A Sentinel has made it a replica.
    let mut node = Node::primary();
    node.sees(20, cut(10, false), Some(vote(B, 2)), peer(WRITABLE));
    assert!(waits(&mut node));
    // Named, it is a replica of one that was promoted and is not announced yet.
    let mut node = Node::replica();
    node.sees(20, cut(10, false), Some(vote(A, 2)), peer(WRITABLE));
    assert!(waits(&mut node));
}

#[test]
fn a_node_that_has_served_and_lost_its_data_waits_for_the_others() {
    let mut node = Node::primary();
    node.own = OwnData::Empty;
    for _ in 0..20 {
        let lost = peer(PeerState::Unreachable(ms(60_000)));
        let actions = node.sees(1000, ServerState::Parked, Some(vote(A, 1)), lost);
        assert!(!promotes(&actions), "{actions:?}");
    }
}

#[test]
fn a_named_node_takes_the_role_without_another_only_when_its_own_copy_is_complete() {
    use Completeness::{Closed, Open, Sole};
    for (own, takes) in [
        (marked(Open, 3, true), false),
        (marked(Sole, 3, true), true),
        (marked(Closed, 3, false), true),
        // The mark of an only copy came with the data of another node.
        (marked(Sole, 3, false), false),
        // Another configuration has come since.
        (marked(Sole, 2, true), false),
        (marked(Closed, 2, true), false),
        (OwnData::Data(MarkSummary::NONE), false),
        (OwnData::Empty, false),
    ] {
        let mut node = Node::with(own);
        let mut parked = |later, gone| {
            let gone = peer(PeerState::Unreachable(ms(gone)));
            promotes(&node.sees(later, ServerState::Parked, Some(vote(A, 3)), gone))
        };
        assert!(!parked(20, 60_000), "{own:?}");
        // As long as a failover needs.
        assert!(!parked(6000, 66_000), "{own:?}");
        assert_eq!(parked(1000, 67_000), takes, "{own:?}");
    }
}

#[test]
fn a_named_node_compares_itself_with_every_other_however_complete_it_is() {
    for own in [OPEN, marked(Completeness::Closed, 3, true), OwnData::Empty] {
        for (relation, takes) in [
            (Some(Relation::Less), true),
            (Some(Relation::Same), true),
            (Some(Relation::More), false),
            (Some(Relation::Apart), false),
            (None, false),
        ] {
            let copy = PeerCopy {
                relation,
                ..holds(Relation::Same)
            };
            let mut node = Node::with(own);
            for _ in 0..20 {
                let peers = peer_that(BEHIND, copy);
                let took = promotes(&node.sees(1000, ServerState::Parked, Some(vote(A, 3)), peers));
                assert_eq!(took, takes, "{own:?} {relation:?}");
            }
        }
    }
}

#[test]
fn a_node_that_holds_more_than_the_named_one_stands_for_the_role() {
    for (relation, does) in [
        (Relation::Less, true),
        (Relation::Same, false),
        (Relation::More, false),
        (Relation::Apart, false),
    ] {
        let mut node = Node::new(identity());
        let peers = || peer_that(BEHIND, holds(relation));
        let first = node.sees(20, ServerState::Parked, Some(vote(B, 3)), peers());
        assert_eq!(stands(&first), does, "{relation:?}");
        assert!(!stands(&node.sees(
            20,
            ServerState::Parked,
            Some(vote(B, 3)),
            peers()
        )));
        // The same for a replica whose primary came back with less.
        let mut node = Node::replica();
        let cut = node.sees(20, cut(100, false), Some(vote(B, 3)), peers());
        assert_eq!(stands(&cut), does, "{relation:?}");
    }
    let mut unread = Node::with(OwnData::Unread);
    assert_eq!(
        unread.sees(20, ServerState::Parked, Some(vote(B, 3)), peer(BEHIND)),
        []
    );
}

#[test]
fn a_node_stands_only_if_no_other_node_holds_more_or_serves_or_is_silent() {
    let silent = PeerState::Unreachable(ms(60_000));
    for (third, does) in [
        (peer(BEHIND), true),
        (peer_that(BEHIND, holds(Relation::Less)), true),
        (peer_that(BEHIND, holds(Relation::More)), false),
        (peer_that(BEHIND, holds(Relation::Apart)), false),
        (peer(WRITABLE), false),
        (peer(silent), false),
    ] {
        let mut node = Node::new(identity());
        let named = peer_that(BEHIND, holds(Relation::Less));
        let peers = two_peers(named, third.clone());
        let actions = node.sees(60_000, ServerState::Parked, Some(vote(B, 3)), peers);
        assert_eq!(stands(&actions), does, "{third:?}");
    }
}

#[test]
fn without_the_named_node_only_a_closed_copy_stands_and_only_when_no_sentinel_hears_it() {
    use Completeness::{Closed, Open, Sole};
    for (own, silence, does) in [
        (marked(Closed, 3, false), 7000, true),
        (marked(Closed, 3, false), 6999, false),
        (marked(Closed, 2, false), 7000, false),
        (marked(Sole, 3, true), 7000, false),
        (marked(Open, 3, false), 7000, false),
    ] {
        let mut node = Node::with(own);
        let gone = || peer(PeerState::Unreachable(ms(60_000)));
        assert!(!stands(&node.sees(
            20,
            ServerState::Parked,
            silent_primary(60_000),
            gone()
        )));
        assert!(!stands(&node.sees(
            6000,
            ServerState::Parked,
            silent_primary(silence),
            gone()
        )));
        let last = node.sees(1000, ServerState::Parked, silent_primary(silence), gone());
        assert_eq!(stands(&last), does, "{own:?} {silence}");
        // The one that is named is back, with the same: it has this one elected, which may be under
        // way.
        let back = node.sees(20, ServerState::Parked, silent_primary(0), peer(BEHIND));
        assert!(!lowers(&back) && !stands(&back));
        let moment = peer(PeerState::Unreachable(ms(40)));
        let away = node.sees(20, ServerState::Parked, silent_primary(40), moment);
        assert!(!lowers(&away));
        // It holds more, or takes writes: the reason is gone, or was none.
        let more = peer_that(BEHIND, holds(Relation::More));
        let more = node.sees(20, ServerState::Parked, silent_primary(0), more);
        assert_eq!(lowers(&more), does);
    }
}

#[test]
fn no_node_follows_one_that_holds_less() {
    for (relation, does) in [
        (Relation::Less, false),
        (Relation::Same, true),
        (Relation::More, true),
        (Relation::Apart, false),
    ] {
        let peers = || peer_that(WRITABLE, holds(relation));
        let mut node = Node::new(identity());
        let actions = node.sees(20, ServerState::Parked, Some(vote(B, 3)), peers());
        assert_eq!(follows(&actions).is_some(), does, "{relation:?}");
        assert_eq!(
            actions.iter().any(|a| matches!(a, Action::Waiting(_))),
            !does
        );
        // An old primary takes no writes all the same.
        let mut primary = Node::primary();
        let newer = primary.sees(
            20,
            ServerState::Primary { replicas: 0 },
            Some(vote(B, 3)),
            peers(),
        );
        assert_eq!(follows(&newer).is_some(), does, "{relation:?}");
        assert_eq!(newer.iter().any(|a| matches!(a, Action::Park(_))), !does);
    }
}

#[test]
fn a_promoted_node_is_followed_when_it_has_marked_its_term() {
    let unsettled = PeerCopy {
        settled: false,
        ..holds(Relation::Less)
    };
    let mut node = Node::new(identity());
    assert_eq!(
        node.sees(
            20,
            ServerState::Parked,
            Some(vote(B, 3)),
            peer_that(WRITABLE, unsettled)
        ),
        []
    );
    let peers = peer_that(WRITABLE, holds(Relation::More));
    let settled = node.sees(20, ServerState::Parked, Some(vote(B, 3)), peers);
    assert_eq!(follows(&settled), Some(at(B)));
    // Where there is nothing, there is nothing to lose.
    let mut empty = Node::with(OwnData::Empty);
    let peers = peer_that(WRITABLE, unsettled);
    let actions = empty.sees(20, ServerState::Parked, Some(vote(B, 3)), peers);
    assert_eq!(follows(&actions), Some(at(B)));
}

#[test]
fn a_named_node_that_follows_one_that_does_not_serve_is_no_dead_end() {
    // The other holds more: it stands, and this one has it elected.
    let mut node = Node::replica();
    let stands = peer_that(IN_SYNC, holds(Relation::More));
    assert!(calls(&node.sees(
        100,
        cut(100, false),
        Some(vote(A, 1)),
        stands
    )));
    // It does not: this one decides anew.
    let mut node = Node::replica();
    let waits = || peer(BEHIND);
    assert_eq!(
        node.sees(100, cut(1999, false), Some(vote(A, 1)), waits()),
        []
    );
    let parks = node.sees(1, cut(2000, false), Some(vote(A, 1)), waits());
    assert!(matches!(parks.as_slice(), [Action::Park(_)]), "{parks:?}");
    assert!(promotes(&node.sees(
        20,
        ServerState::Parked,
        Some(vote(A, 1)),
        waits()
    )));
    // It serves, and is announced soon.
    let mut node = Node::replica();
    assert_eq!(
        node.sees(100, cut(9000, false), Some(vote(A, 1)), peer(WRITABLE)),
        []
    );
}

#[test]
fn what_an_operator_has_chosen_takes_the_role_and_the_others_keep_theirs_aside() {
    let apart = || peer_that(BEHIND, holds(Relation::Apart));
    for (named, chosen) in [(A, false), (A, true), (B, false), (B, true)] {
        let mut node = Node::new(identity());
        node.chosen = chosen;
        let actions = node.sees(20, ServerState::Parked, Some(vote(named, 3)), apart());
        assert_eq!(promotes(&actions), chosen && named == A);
        // Named, it takes the role; else its priority is what has it elected, and stays.
        assert!(!stands(&actions) && !lowers(&actions));
    }
    let given_up = PeerCopy {
        given_up: true,
        ..holds(Relation::More)
    };
    let mut other = Node::new(identity());
    let peers = peer_that(WRITABLE, given_up);
    let actions = other.sees(20, ServerState::Parked, Some(vote(B, 3)), peers);
    assert_eq!(actions, [Action::GiveUpCopy]);
}

#[test]
fn a_replica_that_an_operator_has_chosen_takes_the_role_only_when_it_is_named() {
    for (named, takes) in [(A, true), (B, false)] {
        let mut node = Node::replica();
        node.chosen = true;
        let apart = peer_that(BEHIND, holds(Relation::Apart));
        let actions = node.sees(100, cut(5000, false), Some(vote(named, 3)), apart);
        assert_eq!(promotes(&actions), takes, "{actions:?}");
    }
}

#[test]
fn a_primary_writes_no_mark_while_writes_are_paused_or_refused_or_the_last_one_is_not_read() {
    let old = marked(Completeness::Open, 0, true);
    let marks = |own: OwnData, isolated: bool, disk_refuses: bool| {
        let mut node = Node::primary();
        let mut actions = Vec::new();
        for _ in 0..2 {
            node.now += ms(3000);
            actions = node.machine.step(&Observation {
                now: node.now,
                server: ServerState::Primary {
                    replicas: usize::from(!isolated),
                },
                disk_refuses,
                unreadable: false,
                sync_always: Some(isolated),
                own,
                set_aside: false,
                in_term: own != OwnData::Unread,
                written: true,
                chosen: false,
                vote: (!isolated).then(|| vote(A, 1)),
                peers: peer(BEHIND),
            });
        }
        let marks = |a: &Action| matches!(a, Action::Mark(_) | Action::BeginTerm);
        actions.iter().any(marks)
    };
    assert!(marks(old, false, false));
    assert!(!marks(old, true, false));
    assert!(!marks(old, false, true));
    assert!(!marks(OwnData::Unread, false, false));
}

#[test]
fn a_primary_keeps_its_mark_as_things_are() {
    let mut machine = Node::primary().machine;
    let mut now = ms(1000);
    let mut sees = |later, own, in_term, written, replicas| {
        now += ms(later);
        machine.step(&Observation {
            now,
            server: ServerState::Primary { replicas },
            disk_refuses: false,
            unreadable: false,
            sync_always: Some(false),
            own,
            set_aside: false,
            in_term,
            written,
            chosen: false,
            vote: Some(vote(A, 1)),
            peers: peer(IN_SYNC),
        })
    };
    let open = marked(Completeness::Open, 1, true);
    assert_eq!(sees(10, open, false, false, 1), [Action::BeginTerm]);
    assert_eq!(sees(10, open, true, false, 1), []);
    // After writes, once a period.
    let next = [marks(1, Completeness::Open)];
    assert_eq!(sees(10, open, true, true, 1), next);
    assert_eq!(sees(999, open, true, true, 1), []);
    assert_eq!(sees(1, open, true, true, 1), next);
    // At once when something of it has changed, or is gone.
    let old = marked(Completeness::Open, 0, true);
    assert_eq!(sees(10, old, true, false, 1), next);
    assert_eq!(sees(10, OwnData::Empty, true, false, 1), next);
    let alone = sees(10, open, true, false, 0);
    let sole = marks(1, Completeness::Sole);
    assert_eq!(alone, [Action::SyncAlways(true), sole]);
    // A closed lab stays closed for a while.
    sees(10, marked(Completeness::Sole, 1, true), true, false, 1);
    let closed = marked(Completeness::Closed, 1, true);
    assert_eq!(sees(10, closed, true, true, 1), []);
    assert_eq!(sees(59_000, closed, true, true, 1), []);
    assert_eq!(sees(1000, closed, true, true, 1), [Action::Reopen]);
}

#[test]
fn the_only_copy_is_synced_at_once_as_long_as_its_mark_says_that_it_is_the_only_one() {
    let mut node = Node::primary();
    let alone = ServerState::Primary { replicas: 0 };
    node.sees(100, alone, Some(vote(A, 1)), peer(BEHIND));
    let mut joined = |state| {
        node.now += ms(100);
        node.machine.step(&Observation {
            now: node.now,
            server: ServerState::Primary { replicas: 1 },
            disk_refuses: false,
            unreadable: false,
            sync_always: Some(true),
            own: marked(state, 1, true),
            set_aside: false,
            in_term: true,
            written: false,
            chosen: false,
            vote: Some(vote(A, 1)),
            peers: peer(BEHIND),
        })
    };
    // Until the other mark is read back: it may have been refused.
    let mark = marks(1, Completeness::Open);
    assert_eq!(joined(Completeness::Sole), std::slice::from_ref(&mark));
    assert_eq!(joined(Completeness::Sole), [mark]);
    assert_eq!(joined(Completeness::Open), [Action::SyncAlways(false)]);
}

#[test]
fn a_server_that_does_not_take_it_is_told_again_to_sync_at_once() {
    let mut node = Node::primary();
    let alone = ServerState::Primary { replicas: 0 };
    for _ in 0..3 {
        node.sync_always = None;
        let actions = node.sees(100, alone, Some(vote(A, 1)), vec![]);
        assert_eq!(actions, [Action::SyncAlways(true)]);
    }
    assert_eq!(node.sees(100, alone, Some(vote(A, 1)), vec![]), []);
}

#[test]
fn a_server_that_is_promoted_before_it_was_looked_at_parks() {
    let mut node = Node::new(identity());
    node.sees(20, ServerState::Gone, Some(vote(B, 3)), peer(BEHIND));
    node.sees(20, ServerState::Starting, Some(vote(B, 3)), peer(BEHIND));
    let alone = ServerState::Primary { replicas: 0 };
    let actions = node.sees(20, alone, Some(vote(B, 3)), peer(BEHIND));
    assert!(matches!(actions[..], [Action::Park(_)]), "{actions:?}");
}

#[test]
fn a_server_that_is_promoted_though_it_is_no_candidate_parks() {
    let primary = ServerState::Primary { replicas: 0 };
    let parks = |node: &mut Node| {
        let actions = node.sees(20, primary, Some(vote(B, 3)), peer(BEHIND));
        actions.iter().any(|a| matches!(a, Action::Park(_)))
    };
    let mut node = Node::new(identity());
    node.sees(20, ServerState::Parked, Some(vote(B, 3)), peer(BEHIND));
    assert!(parks(&mut node));
    // It stood, or decided so itself, or was in sync.
    let mut node = Node::new(identity());
    let less = peer_that(BEHIND, holds(Relation::Less));
    node.sees(20, ServerState::Parked, Some(vote(B, 3)), less);
    assert!(!parks(&mut node));
    let mut node = Node::new(identity());
    node.sees(20, ServerState::Parked, Some(vote(A, 3)), peer(BEHIND));
    assert!(!parks(&mut node));
    let mut node = Node::replica();
    assert!(!parks(&mut node));
    // It was not.
    let mut node = Node::replica();
    node.sees(20, cut(9000, false), Some(vote(B, 3)), peer(WRITABLE));
    assert!(parks(&mut node));
}

#[test]
fn a_replaced_primary_marks_what_it_has() {
    let parks = |actions: &[Action]| matches!(actions.last(), Some(Action::Park(_)));
    for (written, other) in [(false, BEHIND), (true, BEHIND), (true, WRITABLE)] {
        let mut node = Node::primary();
        let actions = node.machine.step(&Observation {
            now: node.now + ms(100),
            server: ServerState::Primary { replicas: 0 },
            disk_refuses: false,
            unreadable: false,
            sync_always: Some(true),
            own: marked(Completeness::Open, 1, true),
            set_aside: false,
            in_term: true,
            written,
            chosen: false,
            vote: Some(vote(B, 2)),
            peers: peer(other),
        });
        let mark = marks(1, Completeness::Open);
        assert_eq!(actions.first() == Some(&mark), written);
        assert_eq!(follows(&actions).is_some(), other == WRITABLE);
        assert_eq!(parks(&actions), other == BEHIND);
    }
}

#[test]
fn a_term_counts_when_it_is_announced_or_the_node_that_is_named_has_submitted() {
    let follows = |follows_me| {
        vec![Peer {
            readable: true,
            follows_me,
            ..peer(BEHIND)[0]
        }]
    };
    let own = |confirmed| {
        OwnData::Data(MarkSummary {
            state: Some(Completeness::Open),
            epoch: None,
            mine: true,
            confirmed,
            current: true,
        })
    };
    for (primary, follows_me, confirmed) in [(B, false, false), (B, true, true), (A, false, true)] {
        let mut node = Node::replica();
        let mut actions = Vec::new();
        for confirmed in [false, false] {
            node.now += ms(100);
            actions = node.machine.step(&Observation {
                now: node.now,
                server: ServerState::Primary { replicas: 1 },
                disk_refuses: false,
                unreadable: false,
                sync_always: Some(false),
                own: own(confirmed),
                set_aside: false,
                in_term: true,
                written: false,
                chosen: false,
                vote: Some(vote(primary, 1)),
                peers: follows(follows_me),
            });
        }
        let counts = actions
            .iter()
            .any(|a| matches!(a, Action::Mark(marking) if marking.confirmed));
        assert_eq!(counts, confirmed, "{primary} {follows_me}");
    }
}

#[test]
fn a_term_that_a_node_began_by_itself_counts_when_all_sentinels_have_seen_it_as_a_primary() {
    let unconfirmed = OwnData::Data(MarkSummary {
        state: Some(Completeness::Open),
        epoch: Some(1),
        mine: true,
        confirmed: false,
        current: true,
    });
    // One that has not heard it since, or that runs a failover, may be about to promote another
    // node.
    for (heard, counts) in [
        (None, false),
        (Some(ms(400)), false),
        (Some(ms(300)), false),
        (Some(ms(200)), true),
    ] {
        let mut node = Node::primary();
        node.now += ms(300);
        let actions = node.machine.step(&Observation {
            now: node.now,
            server: ServerState::Primary { replicas: 1 },
            disk_refuses: false,
            unreadable: false,
            sync_always: Some(false),
            own: unconfirmed,
            set_aside: false,
            in_term: true,
            written: false,
            chosen: false,
            vote: Some(Vote {
                primary_settled_within: heard,
                ..vote(A, 1)
            }),
            peers: peer(IN_SYNC),
        });
        let marked = actions
            .iter()
            .any(|a| matches!(a, Action::Mark(marking) if marking.confirmed));
        assert_eq!(marked, counts, "{heard:?}");
    }
}

#[test]
fn a_named_node_whose_sentinels_know_no_replica_compares_itself_with_one_that_they_could_not_promote()
 {
    for (relation, takes) in [(Relation::Same, true), (Relation::More, false)] {
        let mut node = Node::new(identity());
        let reset = Vote {
            knows_replicas: false,
            ..vote(A, 3)
        };
        let peers = peer_that(IN_SYNC, holds(relation));
        let actions = node.sees(20, ServerState::Parked, Some(reset), peers);
        assert!(!calls(&actions));
        assert_eq!(promotes(&actions), takes);
    }
}

#[test]
fn a_node_whose_data_is_set_aside_follows_one_that_holds_no_less_or_has_it_put_back() {
    let set_aside = || {
        let mut node = Node::primary();
        node.sees(100, ServerState::Gone, Some(vote(A, 1)), peer(IN_SYNC));
        let actions = node.sees(100, ServerState::Gone, Some(vote(A, 1)), peer(WRITABLE));
        assert_eq!(actions, [Action::StartAfresh]);
        node.set_aside = true;
        node
    };
    // Promoted, and its term not begun: the last mark tells.
    let holds_it = |relation| PeerCopy {
        settled: false,
        ..holds(relation)
    };
    for (relation, may) in [
        (Relation::More, true),
        (Relation::Same, true),
        (Relation::Less, false),
        (Relation::Apart, false),
    ] {
        let mut node = set_aside();
        let peers = peer_that(WRITABLE, holds_it(relation));
        let actions = node.sees(20, ServerState::Parked, Some(vote(A, 1)), peers.clone());
        assert_eq!(follows(&actions).is_some(), may, "{relation:?}");
        let later = node.sees(2000, ServerState::Parked, Some(vote(A, 1)), peers);
        assert_eq!(
            later == [Action::RestoreSetAside],
            !may,
            "{relation:?}: {later:?}"
        );
    }
    // Nobody there any more: neither does an empty server take the role, nor does it stand for it.
    let mut node = set_aside();
    for named in [A, B] {
        let actions = node.sees(20, ServerState::Parked, Some(vote(named, 1)), peer(BEHIND));
        assert_eq!(actions, []);
    }
    let gone = peer(PeerState::Unreachable(ms(9000)));
    let actions = node.sees(2000, ServerState::Parked, Some(vote(A, 1)), gone.clone());
    assert_eq!(actions, [Action::RestoreSetAside]);
    let mut node = set_aside();
    assert_eq!(
        node.sees(20, cut(100, false), Some(vote(B, 2)), gone.clone()),
        []
    );
    let actions = node.sees(20, cut(9000, false), Some(vote(B, 2)), gone);
    assert_eq!(actions, [Action::RestoreSetAside]);
}

#[test]
fn a_node_whose_data_is_set_aside_follows_no_primary_that_is_neither_named_nor_was_promoted() {
    for (named, may) in [(A, false), (B, true)] {
        let mut node = Node::new(identity());
        node.set_aside = true;
        let more = peer_that(WRITABLE, holds(Relation::More));
        let actions = node.sees(20, ServerState::Parked, Some(vote(named, 2)), more);
        assert_eq!(follows(&actions).is_some(), may, "{named}");
    }
}

#[test]
fn a_replica_restores_what_was_set_aside_once_there_is_no_node_to_copy_from() {
    let silent = PeerState::Unreachable(ms(9000));
    for (set_aside, down_for, primary, restores) in [
        (true, 7000, silent, true),
        // As long as a failover may take.
        (true, 6999, silent, false),
        (true, 9000, WRITABLE, false),
        (false, 9000, silent, false),
    ] {
        let mut node = Node::replica();
        node.set_aside = set_aside;
        let actions = node.sees(20, cut(down_for, false), Some(vote(B, 2)), peer(primary));
        let restored = actions.contains(&Action::RestoreSetAside);
        assert_eq!(restored, restores, "{set_aside} {down_for} {primary:?}");
    }
}

#[test]
fn a_node_that_was_raised_is_a_candidate_before_it_is_looked_at_again() {
    for raised in [false, true] {
        let mut node = Node::replica();
        let actions = node.sees(100, in_sync(false), Some(vote(B, 1)), peer(WRITABLE));
        assert_eq!(actions, [Action::Raise]);
        if raised {
            node.machine.raised();
        }
        let alone = ServerState::Primary { replicas: 0 };
        let actions = node.sees(100, alone, Some(vote(B, 1)), peer(BEHIND));
        let parks = actions.iter().any(|a| matches!(a, Action::Park(_)));
        assert_eq!(parks, !raised);
    }
}

#[test]
fn a_replica_does_not_sync_before_each_answer() {
    let mut node = Node::replica();
    node.sync_always = Some(true);
    let actions = node.sees(100, in_sync(true), Some(vote(B, 1)), peer(WRITABLE));
    assert_eq!(actions, [Action::SyncAlways(false)]);
}

#[test]
fn a_server_that_hangs_again_and_again_is_started_again_each_time() {
    // On a disk that takes long to sync: nobody else has what it has.
    let mut node = Node::primary();
    for _ in 0..20 {
        let silent = ServerState::Silent(identity().hang_timeout * PATIENCE_FACTOR);
        let actions = node.sees(100, silent, Some(vote(A, 1)), peer(BEHIND));
        assert_eq!(actions, [Action::Kill]);
        let actions = node.sees(100, ServerState::Gone, Some(vote(A, 1)), peer(BEHIND));
        assert!(actions.contains(&Action::Start), "{actions:?}");
        node.sees(100, ServerState::Parked, Some(vote(A, 1)), peer(BEHIND));
    }
}
