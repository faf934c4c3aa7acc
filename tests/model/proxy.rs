//! What `halab proxy` adds to the protocol: reads, and the fate of a write of a lost primary.

use std::sync::atomic::Ordering;

use super::explore::{current, judged_rightly, kept};
use super::faults::Kind;
use super::rules::{Bounds, FateRule, ReadRule, Rules};
use super::{TWO, breaks, holds};

/// One write, one read, one fault.
const READ: Bounds = Bounds {
    reads: 1,
    faults: 1,
    calm: true,
    ..TWO
};

/// One write that is judged, one fault.
const JUDGED: Bounds = Bounds {
    judged: true,
    faults: 1,
    calm: true,
    ..TWO
};

/// Explores what readers do, and checks that they read after a failover and with witnesses.
fn reads_hold(bounds: Bounds) {
    let tally = holds(bounds).tally;
    for (count, what) in [
        (&tally.read_after_failover, "after a failover"),
        (&tally.read_with_witnesses, "with witnesses"),
    ] {
        assert!(count.load(Ordering::Relaxed) > 0, "no read {what}");
    }
}

#[test]
#[ignore = "minutes: wider than the others"]
fn what_was_read_is_kept_and_current_when_a_node_is_cut_off() {
    let kinds = &[Kind::Cut];
    reads_hold(Bounds { kinds, ..READ });
}

#[test]
#[ignore = "minutes: wider than the others"]
fn what_was_read_is_kept_and_current_when_a_stopped_node_goes_on() {
    let kinds = &[Kind::Pause];
    reads_hold(Bounds { kinds, ..READ });
}

#[test]
fn what_was_read_is_kept_and_current_when_a_server_ends() {
    let kinds = &[Kind::Server];
    reads_hold(Bounds { kinds, ..READ });
}

fn with_reads(reads: ReadRule) -> Rules {
    Rules {
        reads,
        ..Rules::ALL
    }
}

#[test]
fn a_read_that_is_answered_at_once_may_be_taken_back() {
    let rules = with_reads(ReadRule::Local);
    breaks(kept, rules, READ, &["reader: Read", "promotes"]);
}

#[test]
fn a_read_that_is_answered_at_once_by_an_old_primary_may_be_stale() {
    let rules = with_reads(ReadRule::Local);
    let kinds = &[Kind::Cut];
    let expected = ["cut off", "promotes", "a stale read"];
    breaks(current, rules, Bounds { kinds, ..READ }, &expected);
}

#[test]
fn a_confirmation_from_before_the_read_does_not_show_that_the_primary_still_is_one() {
    let rules = with_reads(ReadRule::AnyConfirmation);
    let kinds = &[Kind::Cut];
    let expected = ["cut off", "promotes", "a stale read"];
    breaks(current, rules, Bounds { kinds, ..READ }, &expected);
}

#[test]
fn a_round_from_before_the_answer_confirms_nothing() {
    let rules = with_reads(ReadRule::EarlierRound);
    let kinds = &[Kind::Cut];
    let bounds = Bounds { kinds, ..READ };
    breaks(kept, rules, bounds, &["reader: Begin", "promotes"]);
}

/// Explores what becomes of writes of a lost primary, and checks that some have survived, and some
/// were sent again.
fn fates_hold(bounds: Bounds) {
    let tally = holds(bounds).tally;
    for (count, what) in [
        (&tally.survived, "has survived"),
        (&tally.sent_again, "was sent again"),
    ] {
        assert!(count.load(Ordering::Relaxed) > 0, "no write {what}");
    }
}

#[test]
fn a_write_of_a_primary_that_has_ended_is_judged_rightly() {
    let kinds = &[Kind::Server, Kind::Node];
    fates_hold(Bounds { kinds, ..JUDGED });
}

#[test]
#[ignore = "minutes: wider than the others"]
fn a_write_of_a_primary_that_is_cut_off_is_judged_rightly() {
    let kinds = &[Kind::Cut];
    fates_hold(Bounds { kinds, ..JUDGED });
}

/// A Sentinel has connected to the old primary before that follows the new one, which acknowledges
/// a write alone: the Sentinel remembers the old one's priority as a primary.
#[test]
fn a_handover_that_trusts_what_the_sentinels_remember_loses_a_write() {
    let rules = Rules {
        handover_asks: false,
        ..Rules::ALL
    };
    let expected = ["the Sentinels bear witness", "a handover is called for"];
    breaks(kept, rules, HANDOVERS, &expected);
}

/// Judged as lost on the promoted node, it would be sent again to the old primary, which has it.
#[test]
fn every_earlier_execution_of_a_write_counts_also_if_a_promotion_is_given_up() {
    let kinds = &[Kind::Cut];
    let bounds = Bounds { kinds, ..JUDGED };
    let rules = with_fate(FateRule::LastExecution);
    let expected = ["promotes", "turns B into a replica", "again: true"];
    breaks(judged_rightly, rules, bounds, &expected);
}

/// There and back.
const HANDOVERS: Bounds = Bounds {
    faults: 2,
    max_epoch: 3,
    kinds: &[Kind::Handover],
    ..JUDGED
};

fn with_fate(fate: FateRule) -> Rules {
    Rules { fate, ..Rules::ALL }
}

#[test]
fn a_write_behind_the_end_of_the_old_history_has_not_survived() {
    let rules = with_fate(FateRule::EndTooHigh);
    breaks(judged_rightly, rules, JUDGED, &["misjudged: true"]);
    breaks(kept, rules, JUDGED, &["misjudged: true"]);
}

#[test]
fn a_write_before_the_end_of_the_old_history_must_not_be_sent_again() {
    let rules = with_fate(FateRule::EndTooLow);
    breaks(judged_rightly, rules, JUDGED, &["promotes", "again: true"]);
}

#[test]
fn the_end_of_another_history_says_nothing() {
    let rules = with_fate(FateRule::AnyHistory);
    breaks(judged_rightly, rules, HANDOVERS, &["misjudged: true"]);
}
