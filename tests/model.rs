//! A small model of the acknowledgement protocol, explored exhaustively within its bounds.
//!
//! It searches for the shortest trace in which an acknowledged write is lost while at most one node
//! is lost at a time. For each rule a test removes the rule, and the model must find the loss that
//! it prevents. `docs/protocol.md` states what the model covers and what it leaves out.
// Tests may index and panic; the program may not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "model/confirmation.rs"]
mod confirmation;
#[path = "model/dead_ends.rs"]
mod dead_ends;
#[path = "model/explore.rs"]
mod explore;
#[path = "model/faults.rs"]
mod faults;
#[path = "model/lost_writes.rs"]
mod lost_writes;
#[path = "model/marks.rs"]
mod marks;
#[path = "model/proxy.rs"]
mod proxy;
#[path = "model/reader.rs"]
mod reader;
#[path = "model/replication.rs"]
mod replication;
#[path = "model/rounds.rs"]
mod rounds;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/sentinel.rs"]
mod sentinel;
#[path = "model/state.rs"]
mod state;
#[path = "model/supervisor.rs"]
mod supervisor;
#[path = "model/writer.rs"]
mod writer;

use std::sync::atomic::Ordering;

use explore::{Claim, Found, explore, explore_for, safe};
use faults::Kind;
use rules::{Bounds, Rules, WitnessRule};

/// Two data nodes, two faults.
const TWO: Bounds = Bounds {
    nodes: 2,
    writes: 1,
    reads: 0,
    judged: false,
    faults: 2,
    max_epoch: 2,
    endless: false,
    overlap: false,
    busy: false,
    at_once: false,
    calm: false,
    kinds: &[Kind::Server],
};

/// Explores everything within the bounds and checks the claim.
fn holds(bounds: Bounds) -> Found {
    let found = explore(Rules::ALL, bounds);
    println!("{} states, depth {}", found.states, found.depth);
    if let Some(loss) = &found.loss {
        panic!("the claim does not hold:\n{loss}");
    }
    assert!(found.tally.recoveries.load(Ordering::Relaxed) > 0);
    found
}

/// Checks the claim, and that failovers and both forms of acknowledgement after one were explored.
fn holds_across_failovers(bounds: Bounds) {
    let tally = holds(bounds).tally;
    for (count, what) in [
        (&tally.failovers, "failover"),
        (
            &tally.witnessed_after_failover,
            "write witnessed after a failover",
        ),
        (
            &tally.replicated_after_failover,
            "write replicated after a failover",
        ),
    ] {
        assert!(count.load(Ordering::Relaxed) > 0, "no {what} was explored");
    }
}

/// Without a rule, the loss that it prevents is found. `expected`: strings that its trace contains.
fn loses(rules: Rules, bounds: Bounds, expected: &[&str]) {
    breaks(safe, rules, bounds, expected);
}

/// The same, for this claim.
fn breaks(claim: Claim, rules: Rules, bounds: Bounds, expected: &[&str]) {
    let found = explore_for(rules, bounds, claim);
    let loss = found.loss.unwrap_or_else(|| {
        panic!(
            "no loss in {} states without the rule: {rules:?}",
            found.states
        )
    });
    println!("{} states\n{loss}", found.states);
    for part in expected {
        assert!(
            loss.contains(part),
            "expected \"{part}\" in the trace:\n{loss}"
        );
    }
}

#[test]
fn nothing_is_lost_when_servers_crash() {
    holds_across_failovers(TWO);
}

#[test]
fn nothing_is_lost_when_nodes_crash_or_are_cut_off() {
    holds_across_failovers(Bounds {
        faults: 1,
        kinds: &[Kind::Server, Kind::Node, Kind::Cut],
        ..TWO
    });
}

#[test]
fn nothing_is_lost_when_a_stopped_node_goes_on() {
    holds_across_failovers(Bounds {
        faults: 1,
        kinds: &[Kind::Pause],
        ..TWO
    });
}

#[test]
fn nothing_is_lost_when_a_sentinel_is_lost_and_then_a_server() {
    holds_across_failovers(Bounds {
        writes: 2,
        kinds: &[Kind::Sentinel, Kind::Server],
        ..TWO
    });
}

#[test]
fn the_only_copy_may_crash_while_the_other_node_is_not_recovered() {
    holds_across_failovers(Bounds {
        overlap: true,
        ..TWO
    });
}

#[test]
#[ignore = "minutes and some GB: wider bounds than the others"]
fn nothing_is_lost_within_wider_bounds() {
    for kinds in [
        &[Kind::Pause, Kind::Server] as &[Kind],
        &[Kind::Pause, Kind::Sentinel],
        &[Kind::Pause, Kind::Cut],
    ] {
        holds_across_failovers(Bounds { kinds, ..TWO });
    }
    holds_across_failovers(Bounds {
        kinds: &[Kind::Server, Kind::Node, Kind::Cut],
        ..TWO
    });
    holds_across_failovers(Bounds {
        writes: 2,
        max_epoch: 3,
        ..TWO
    });
    holds_across_failovers(Bounds {
        faults: 1,
        max_epoch: 3,
        kinds: &[Kind::Pause],
        ..TWO
    });
}

#[test]
#[ignore = "minutes and some GB: the third data node multiplies the states"]
fn nothing_is_lost_with_three_data_nodes() {
    holds(Bounds {
        nodes: 3,
        faults: 1,
        ..TWO
    });
}

#[test]
fn without_a_witness_a_cut_off_primary_loses_writes() {
    let rules = Rules {
        witness: WitnessRule::PlainOk,
        ..Rules::ALL
    };
    let bounds = Bounds {
        faults: 1,
        kinds: &[Kind::Cut],
        ..TWO
    };
    loses(rules, bounds, &["cut off"]);
}

#[test]
fn one_sentinel_is_no_witness() {
    let rules = Rules {
        witness: WitnessRule::OneSentinel,
        dissent_vetoes: false,
        // The marks alone would prevent the loss too.
        term_first: false,
        ..Rules::ALL
    };
    let bounds = Bounds {
        faults: 1,
        kinds: &[Kind::Cut],
        ..TWO
    };
    loses(rules, bounds, &["bear witness", "announces"]);
}

#[test]
fn an_old_priority_of_zero_is_no_evidence() {
    let rules = Rules {
        witness: WitnessRule::AnyAge,
        ..Rules::ALL
    };
    let bounds = Bounds {
        max_epoch: 3,
        writes: 2,
        ..TWO
    };
    loses(rules, bounds, &["Raised", "bear witness"]);
}

#[test]
fn a_dissenting_sentinel_must_be_heard() {
    let rules = Rules {
        dissent_vetoes: false,
        // The marks alone would prevent the loss too.
        term_first: false,
        ..Rules::ALL
    };
    let bounds = Bounds {
        faults: 1,
        kinds: &[Kind::Cut],
        ..TWO
    };
    loses(rules, bounds, &["is elected", "Join", "bear witness"]);
}

#[test]
fn a_raise_under_way_must_be_waited_for() {
    let rules = Rules {
        fresh_after_raise: false,
        ..Rules::ALL
    };
    loses(rules, Bounds { writes: 2, ..TWO }, &["raising", "Raised"]);
}

#[test]
fn a_node_that_is_being_raised_must_not_give_its_word() {
    let rules = Rules {
        assurance: false,
        ..Rules::ALL
    };
    loses(rules, Bounds { writes: 2, ..TWO }, &["raising", "Raised"]);
}

#[test]
fn the_priority_of_one_that_says_it_is_primary_is_no_evidence() {
    // If every Sentinel is heard, the one that promotes dissents; both rules are removed.
    let rules = Rules {
        role_read: false,
        dissent_vetoes: false,
        ..Rules::ALL
    };
    loses(rules, TWO, &["promotes", "bear witness", "announces"]);
}

#[test]
fn an_old_primary_that_follows_may_have_become_promotable() {
    let rules = Rules {
        submission_checked: false,
        // The marks alone would prevent the loss too.
        term_first: false,
        ..Rules::ALL
    };
    loses(
        rules,
        Bounds {
            max_epoch: 3,
            ..TWO
        },
        &["Raised", "bear witness"],
    );
}

#[test]
fn a_replica_that_is_not_in_sync_must_not_be_promotable() {
    let rules = Rules {
        promotability: false,
        ..Rules::ALL
    };
    let bounds = Bounds {
        overlap: true,
        ..TWO
    };
    loses(rules, bounds, &["selects B"]);
}

#[test]
fn a_primary_that_restarts_fast_must_not_just_go_on() {
    let rules = Rules {
        guard: false,
        ..Rules::ALL
    };
    let bounds = Bounds { faults: 1, ..TWO };
    loses(rules, bounds, &["its newest entry was not on disk"]);
}

#[test]
fn only_the_named_primary_may_call_for_a_failover() {
    let rules = Rules {
        named_only: false,
        // The marks alone, and the successor's not being a candidate, would prevent the loss too.
        term_first: false,
        candidate_called: false,
        ..Rules::ALL
    };
    let bounds = Bounds {
        faults: 1,
        max_epoch: 3,
        kinds: &[Kind::Pause],
        ..TWO
    };
    loses(rules, bounds, &["Kill", "selects A"]);
}

#[test]
fn a_primary_that_ends_must_not_have_one_promoted_that_is_no_candidate() {
    let rules = Rules {
        candidate_called: false,
        ..Rules::ALL
    };
    let bounds = Bounds {
        max_epoch: 3,
        ..HANDOVER_AND_END
    };
    loses(
        rules,
        bounds,
        &["a handover", "crash (Server)", "selects A"],
    );
}

/// Checks the claim, and that no state is a dead end.
fn lives(bounds: Bounds) {
    let found = dead_ends::survey(Rules::ALL, bounds);
    println!("{} states, {} whole", found.states, found.whole);
    if let Some(loss) = &found.loss {
        panic!("an acknowledged write is lost:\n{loss}");
    }
    if let Some(dead_end) = &found.dead_end {
        panic!("{} dead ends:\n{dead_end}", found.dead);
    }
    assert!(found.whole > 1);
    assert!(found.tally.recoveries.load(Ordering::Relaxed) > 0 || bounds.kinds == [Kind::Handover]);
}

/// Without these rules, a dead end is found. `expected`: strings that its trace contains.
fn ends_dead(rules: Rules, bounds: Bounds, expected: &[&str]) {
    let found = dead_ends::survey(rules, bounds);
    assert!(found.loss.is_none(), "{}", found.loss.unwrap_or_default());
    let dead_end = found
        .dead_end
        .unwrap_or_else(|| panic!("no dead end in {} states: {rules:?}", found.states));
    println!("{} states, {} dead\n{dead_end}", found.states, found.dead);
    for part in expected {
        assert!(
            dead_end.contains(part),
            "expected \"{part}\" in the trace:\n{dead_end}"
        );
    }
}

const ONE: Bounds = Bounds {
    faults: 1,
    endless: true,
    ..TWO
};

#[test]
fn no_dead_end_when_a_node_ends_loses_its_disk_or_gets_an_old_one() {
    for kinds in [
        &[Kind::Server] as &[Kind],
        &[Kind::Node],
        &[Kind::NewDisk],
        &[Kind::OldDisk],
        &[Kind::Sentinel],
    ] {
        lives(Bounds { kinds, ..ONE });
    }
}

#[test]
fn no_dead_end_when_a_node_hands_over_or_leaves() {
    for kinds in [&[Kind::Handover] as &[Kind], &[Kind::Leave]] {
        lives(Bounds { kinds, ..ONE });
    }
}

/// Two faults at once, without two failovers that cross.
const AT_ONCE: Bounds = Bounds {
    at_once: true,
    calm: true,
    endless: true,
    ..TWO
};

#[test]
fn no_dead_end_when_everything_is_closed_and_meanwhile_a_disk_or_a_host_is_lost() {
    for kinds in [
        &[Kind::Close, Kind::StoppedNewDisk] as &[Kind],
        &[Kind::Close, Kind::StoppedOldDisk],
        &[Kind::Close, Kind::StoppedHost],
    ] {
        lives(Bounds { kinds, ..AT_ONCE });
    }
}

#[test]
fn no_dead_end_when_everything_is_closed_or_ends_at_once() {
    for kinds in [&[Kind::Close] as &[Kind], &[Kind::Kill]] {
        lives(Bounds {
            kinds,
            faults: 1,
            ..AT_ONCE
        });
    }
}

#[test]
fn nothing_is_lost_when_the_new_primary_ends_within_a_handover() {
    for kinds in [
        &[Kind::Handover, Kind::Server] as &[Kind],
        &[Kind::Handover, Kind::Node],
    ] {
        holds_across_failovers(Bounds {
            kinds,
            ..HANDOVER_AND_END
        });
    }
}

/// A write to the new primary, whose server ends before the old one is promotable again.
const HANDOVER_AND_END: Bounds = Bounds {
    kinds: &[Kind::Handover, Kind::Server],
    endless: false,
    ..AT_ONCE
};

#[test]
fn no_dead_end_when_the_new_primary_ends_within_a_handover() {
    lives(Bounds {
        kinds: &[Kind::Handover, Kind::Server],
        writes: 0,
        ..AT_ONCE
    });
}

#[test]
fn no_dead_end_when_the_new_primarys_node_ends_within_a_handover() {
    lives(Bounds {
        kinds: &[Kind::Handover, Kind::Node],
        writes: 0,
        ..AT_ONCE
    });
}

#[test]
fn before_marks_an_end_of_the_new_primary_within_a_handover_leaves_two_replicas() {
    let bounds = Bounds {
        kinds: &[Kind::Handover, Kind::Server],
        writes: 0,
        ..AT_ONCE
    };
    ends_dead(
        Rules::BEFORE_MARKS,
        bounds,
        &["a handover", "crash (Server)"],
    );
}

#[test]
fn a_named_node_that_follows_one_that_does_not_serve_must_decide_anew() {
    let rules = Rules {
        park: false,
        ..Rules::ALL
    };
    let bounds = Bounds {
        kinds: &[Kind::Handover, Kind::Server],
        writes: 0,
        ..AT_ONCE
    };
    ends_dead(rules, bounds, &["a handover", "crash (Server)"]);
}

#[test]
fn of_two_copies_with_one_mark_of_an_only_copy_the_writer_s_must_count_as_more() {
    let rules = Rules {
        sole_writer: false,
        ..Rules::ALL
    };
    loses(rules, HANDOVER_AND_END, &["Submit", "crash (Server)"]);
}

#[test]
fn who_holds_more_than_the_named_node_must_stand() {
    let rules = Rules {
        stand: false,
        ..Rules::ALL
    };
    for (kinds, expected) in [
        (
            &[Kind::Close, Kind::StoppedNewDisk] as &[Kind],
            "its disk is lost",
        ),
        (
            &[Kind::Close, Kind::StoppedOldDisk],
            "its disk is as it was",
        ),
        (&[Kind::Close, Kind::StoppedHost], "its host is lost"),
    ] {
        ends_dead(rules, Bounds { kinds, ..AT_ONCE }, &[expected]);
    }
}

#[test]
fn without_a_closing_mark_one_node_of_a_closed_lab_waits_without_end() {
    let rules = Rules {
        closing: false,
        ..Rules::ALL
    };
    let kinds = &[Kind::Close, Kind::StoppedHost];
    ends_dead(rules, Bounds { kinds, ..AT_ONCE }, &["the lab is closed"]);
}

#[test]
fn without_a_closing_mark_an_older_disk_of_a_closed_lab_is_not_seen() {
    let rules = Rules {
        closing: false,
        ..Rules::ALL
    };
    let kinds = &[Kind::Close, Kind::StoppedOldDisk];
    let found = dead_ends::survey(rules, Bounds { kinds, ..AT_ONCE });
    let loss = found.loss.expect("a loss");
    assert!(loss.contains("as it was before its newest write"), "{loss}");
}

#[test]
#[ignore = "minutes: Sentinels that notice one after another, and failovers that cross"]
fn nothing_is_lost_when_everything_is_closed_and_started_again() {
    for kinds in [
        &[Kind::Close, Kind::StoppedNewDisk] as &[Kind],
        &[Kind::Close, Kind::StoppedOldDisk],
        &[Kind::Close, Kind::StoppedHost],
    ] {
        let bounds = Bounds {
            kinds,
            calm: false,
            endless: false,
            ..AT_ONCE
        };
        holds(bounds);
    }
}

#[test]
fn before_marks_a_new_disk_during_a_planned_stop_is_waited_for_without_end() {
    let bounds = Bounds {
        kinds: &[Kind::Close, Kind::StoppedNewDisk],
        ..TWO
    };
    ends_dead(Rules::BEFORE_MARKS, bounds, &["its disk is lost"]);
}

#[test]
fn before_marks_a_host_that_does_not_come_back_is_waited_for_without_end() {
    let bounds = Bounds {
        kinds: &[Kind::Close, Kind::StoppedHost],
        ..TWO
    };
    ends_dead(Rules::BEFORE_MARKS, bounds, &["its host is lost for good"]);
}

#[test]
fn before_marks_an_old_disk_after_a_planned_stop_loses_writes() {
    let bounds = Bounds {
        kinds: &[Kind::Close, Kind::StoppedOldDisk],
        ..TWO
    };
    let found = dead_ends::survey(Rules::BEFORE_MARKS, bounds);
    let loss = found.loss.expect("a loss");
    assert!(loss.contains("as it was before its newest write"), "{loss}");
}

#[test]
fn a_changed_name_of_the_primary_must_be_refused() {
    let bounds = Bounds {
        faults: 3,
        overlap: true,
        writes: 0,
        kinds: &[Kind::Node, Kind::Kill, Kind::Rename],
        ..TWO
    };
    let rules = Rules {
        name_checked: false,
        ..Rules::ALL
    };
    ends_dead(rules, bounds, &["the Sentinels begin anew"]);
}

#[test]
fn a_node_that_was_promoted_with_a_new_disk_must_park() {
    let rules = Rules {
        candidate: false,
        ..Rules::ALL
    };
    loses(
        rules,
        HANDOVER_AND_NEW_DISK,
        &["its disk is lost", "promotes"],
    );
}

#[test]
fn an_old_primary_must_not_follow_one_of_another_history() {
    let rules = Rules {
        same_history: false,
        ..Rules::ALL
    };
    loses(
        rules,
        HANDOVER_AND_NEW_DISK,
        &["its disk is lost", "Submit"],
    );
}

/// The replica ends before it is promoted, and comes back without its data.
const HANDOVER_AND_NEW_DISK: Bounds = Bounds {
    kinds: &[Kind::Handover, Kind::NewDisk],
    calm: true,
    ..TWO
};

/// Rounds on several connections of a session.
#[test]
fn a_round_confirms_only_what_is_on_every_node() {
    for nodes in [1, 2] {
        assert_eq!(rounds::explore(nodes, rounds::Rule::Stated), None);
    }
}

#[test]
fn without_a_rule_of_rounds_an_answer_is_confirmed_that_a_node_lacks() {
    use rounds::Rule::{AnyHigherNumber, BegunBefore, OneNode};
    for (nodes, rule) in [(1, AnyHigherNumber), (1, BegunBefore), (2, OneNode)] {
        let steps = rounds::explore(nodes, rule);
        println!(
            "{rule:?}: {}",
            steps.expect("a confirmed answer that a node lacks")
        );
    }
}
