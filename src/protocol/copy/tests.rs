//! The comparison of copies, and the marks that it rests on.

use super::*;

fn drawn(term: &str) -> RandomIds {
    RandomIds {
        lab: "lab".into(),
        term: term.into(),
    }
}

fn begin(last: Option<&Mark>, by: &str, term: &str) -> Mark {
    Mark::begin(last, by, drawn(term)).confirmed()
}

fn first(by: &str) -> Mark {
    begin(None, by, "first")
}

fn later(mark: &Mark, times: u64) -> Mark {
    (0..times).fold(mark.clone(), |mark, _| {
        mark.next(Some(0), Completeness::Open)
    })
}

fn relation(mine: &Mark, theirs: &Mark) -> Relation {
    let marked = |mark: &Mark| DataCopy::Marked(Box::new(mark.clone()));
    let there = marked(mine).against(&marked(theirs), false);
    let back = marked(theirs).against(&marked(mine), false);
    let mirrored = match there {
        Relation::Less => Relation::More,
        Relation::More => Relation::Less,
        same => same,
    };
    assert_eq!(back, mirrored, "{mine:?} {theirs:?}");
    there
}

#[test]
fn a_mark_is_read_as_it_was_written_and_anything_else_is_none() {
    let mark = begin(Some(&first("a")), "b", "second");
    assert_eq!(Mark::from_text(&mark.to_text()), Some(mark.clone()));
    assert_eq!(DataCopy::read(7, Some(&mark.to_text())).mark(), Some(&mark));
    assert_eq!(DataCopy::read(7, Some("{}")), DataCopy::Unmarked);
    assert_eq!(DataCopy::read(7, None), DataCopy::Unmarked);
    assert_eq!(DataCopy::read(0, None), DataCopy::Empty);
}

#[test]
fn a_mark_counts_only_for_its_node_and_history_and_in_a_confirmed_term() {
    let mark = Mark {
        history: "history".into(),
        ..first("a")
    };
    assert!(mark.counts_for("a", "history"));
    assert!(!mark.counts_for("b", "history"));
    // Promoted again, and that term is not marked yet.
    assert!(!mark.counts_for("a", "later history"));
    let unconfirmed = Mark {
        confirmed: false,
        ..mark
    };
    assert!(!unconfirmed.counts_for("a", "history"));
}

#[test]
fn the_next_mark_of_a_term_states_the_present_epoch_and_what_is_known_now() {
    let mark = first("a");
    let next = mark.next(Some(7), Completeness::Sole);
    assert_eq!(
        next,
        Mark {
            count: 2,
            epoch: Some(7),
            state: Completeness::Sole,
            ..mark
        }
    );
}

#[test]
fn a_mark_says_its_term_its_node_its_count_and_what_was_known_of_other_copies() {
    let open = later(&begin(Some(&first("a")), "b", "second"), 2);
    let as_text = |state| open.next(None, state).to_string();
    assert_eq!(as_text(Completeness::Open), "term 2 (b), mark 4");
    assert_eq!(as_text(Completeness::Sole), "term 2 (b), mark 4, only copy");
    assert_eq!(as_text(Completeness::Closed), "term 2 (b), mark 4, closed");
    assert_eq!(open.or_later(), "term 2 (b), mark 3 or later");
    let copy = DataCopy::Marked(Box::new(open));
    assert_eq!(copy.to_string(), "term 2 (b), mark 3");
    assert_eq!(DataCopy::Empty.to_string(), "nothing");
    assert_eq!(DataCopy::Unmarked.to_string(), "data without a mark");
}

#[test]
fn nothing_is_less_than_data_and_data_without_a_mark_less_than_data_with_one() {
    let marked = DataCopy::Marked(Box::new(first("a")));
    let ranks = [DataCopy::Empty, DataCopy::Unmarked, marked];
    for (i, mine) in ranks.iter().enumerate() {
        for (j, theirs) in ranks.iter().enumerate() {
            let wanted = match j.cmp(&i) {
                std::cmp::Ordering::Less => Relation::Less,
                std::cmp::Ordering::Equal => Relation::Same,
                std::cmp::Ordering::Greater => Relation::More,
            };
            assert_eq!(mine.against(theirs, false), wanted, "{mine:?} {theirs:?}");
        }
    }
}

#[test]
fn a_closed_lab_that_went_on_is_apart_from_one_that_was_away_and_started_alone() {
    let open = later(&first("a"), 3);
    let closed = open.next(Some(0), Completeness::Closed);
    let went_on = closed.reopen("history", drawn("again"));
    assert_eq!(went_on.epoch, closed.epoch);
    assert!(went_on.counts_for("a", "history") && went_on.state == Completeness::Open);
    for older in [&open, &closed] {
        assert_eq!(relation(older, &went_on), Relation::More);
    }
    // With another mark of the same term it would be more: later writes of its old primary do
    // not count.
    let alone = begin(Some(&closed), "b", "alone");
    assert_eq!(relation(&alone, &later(&closed, 9)), Relation::Less);
    assert_eq!(relation(&alone, &later(&went_on, 9)), Relation::Apart);
}

#[test]
fn an_operators_choice_gives_up_no_only_copy_that_was_not_seen() {
    let sole = first("b").next(Some(0), Completeness::Sole);
    let chosen = begin(Some(&sole), "a", "chosen");
    // Its writer may have accepted more writes with the same mark.
    assert_eq!(relation(&chosen, &sole), Relation::Less);
    let chosen = chosen.forced();
    assert_eq!(relation(&chosen, &sole), Relation::Apart);
    let mut seen = chosen.clone();
    seen.over.push(sole.place());
    assert_eq!(relation(&seen, &sole), Relation::Less);
    // The node that serves has no later term.
    let mut later = begin(Some(&begin(Some(&sole), "b", "1")), "b", "2");
    assert_eq!(relation(&chosen, &later), Relation::Apart);
    let mut serves = chosen.clone();
    serves.over.push(later.place());
    assert_eq!(relation(&serves, &later), Relation::Less);
    later.count += 1;
    assert_eq!(relation(&serves, &later), Relation::Apart);
}

#[test]
fn within_a_term_the_later_mark_is_more() {
    let mark = first("a");
    assert_eq!(relation(&mark, &mark), Relation::Same);
    assert_eq!(relation(&mark, &later(&mark, 1)), Relation::More);
}

#[test]
fn of_two_copies_with_one_mark_of_an_only_copy_that_of_its_writer_is_more() {
    let copy = |mark: Mark| DataCopy::Marked(Box::new(mark));
    let open = first("a");
    let sole = || copy(open.next(Some(0), Completeness::Sole));
    for (me, them, relation) in [
        ("a", "b", Relation::Less),
        ("b", "a", Relation::More),
        ("b", "c", Relation::Same),
    ] {
        assert_eq!(sole().against_that_of(me, &sole(), them, false), relation);
        let opened = copy(open.clone());
        let same = opened.against_that_of(me, &opened, them, false);
        assert_eq!(same, Relation::Same);
    }
    // Different marks decide first.
    let later = copy(
        open.next(Some(0), Completeness::Sole)
            .next(Some(0), Completeness::Open),
    );
    let relation = sole().against_that_of("a", &later, "b", false);
    assert_eq!(relation, Relation::More);
}

#[test]
fn a_later_term_that_went_on_from_the_copy_is_more() {
    let old = later(&first("a"), 5);
    let promoted = begin(Some(&old), "b", "second");
    assert_eq!(relation(&old, &promoted), Relation::More);
    // What the old primary marked later, alone, was acknowledged to nobody.
    assert_eq!(relation(&later(&old, 3), &promoted), Relation::More);
}

#[test]
fn a_node_that_went_on_from_less_than_it_had_passed_on_is_no_source() {
    let passed_on = later(&first("a"), 5);
    let rolled_back = begin(Some(&later(&first("a"), 2)), "a", "second");
    assert_eq!(relation(&passed_on, &rolled_back), Relation::Apart);
    // If it continues from all that it had, it is a source.
    let restarted = begin(Some(&passed_on), "a", "second");
    assert_eq!(relation(&passed_on, &restarted), Relation::More);
}

#[test]
fn two_terms_from_one_copy_are_apart_until_an_operator_gives_one_up() {
    let old = first("a");
    let one = begin(Some(&old), "b", "one");
    let two = begin(Some(&old), "c", "two");
    assert_eq!(relation(&one, &two), Relation::Apart);
    let mut chosen = begin(Some(&two), "c", "three");
    assert_eq!(relation(&one, &chosen), Relation::Apart);
    chosen.over = vec![one.place()];
    assert_eq!(relation(&one, &chosen), Relation::More);
    // Writes after the choice are not given up.
    assert_eq!(relation(&later(&one, 1), &chosen), Relation::Apart);
    // The next term continues from there.
    let next = begin(Some(&chosen), "d", "four");
    assert_eq!(relation(&chosen, &next), Relation::More);
    assert_eq!(relation(&one, &next), Relation::More);
}

#[test]
fn two_copies_that_operators_gave_up_for_each_other_are_apart() {
    let old = first("a");
    let mut one = begin(Some(&old), "b", "one");
    let mut two = begin(Some(&old), "c", "two");
    (one.over, two.over) = (vec![two.place()], vec![one.place()]);
    assert_eq!(relation(&one, &two), Relation::Apart);
}

#[test]
fn an_operators_choice_gives_up_no_copy_that_was_not_seen() {
    let old = later(&first("a"), 5);
    let chosen = begin(Some(&old), "b", "second").forced();
    assert_eq!(relation(&old, &chosen), Relation::More);
    assert_eq!(relation(&later(&old, 1), &chosen), Relation::Apart);
    assert_eq!(Mark::from_text(&chosen.to_text()), Some(chosen));
}

#[test]
fn copies_of_two_labs_are_never_compared() {
    let other = Mark {
        lab: "another".into(),
        ..later(&first("a"), 9)
    };
    assert_eq!(relation(&first("a"), &other), Relation::Apart);
}

#[test]
fn a_copy_older_than_all_terms_remembered_is_less() {
    let old = first("a");
    let newest = (0..100).fold(old.clone(), |mark, i| {
        begin(Some(&mark), "b", &i.to_string())
    });
    assert_eq!(newest.before.len(), MAX_EARLIER_TERMS);
    assert_eq!(relation(&old, &newest), Relation::More);
}

#[test]
fn a_term_beside_the_oldest_one_remembered_is_apart() {
    let newest = (0..100).fold(first("a"), |mark, i| {
        begin(Some(&mark), "b", &i.to_string())
    });
    let oldest = &newest.before[MAX_EARLIER_TERMS - 1].term;
    let beside = Mark {
        term: Term {
            id: "beside".into(),
            ..oldest.clone()
        },
        ..first("c")
    };
    assert_eq!(relation(&beside, &newest), Relation::Apart);
}

#[test]
fn a_term_that_was_never_confirmed_counts_only_while_its_node_serves() {
    let copy = |mark: &Mark| DataCopy::Marked(Box::new(mark.clone()));
    let old = later(&first("a"), 5);
    let promoted = Mark::begin(Some(&old), "b", drawn("second"));
    // The promotion was abandoned, and the old primary continued.
    let went_on = later(&old, 1);
    assert_eq!(relation(&promoted, &went_on), Relation::More);
    assert_eq!(relation(&promoted, &old), Relation::Same);
    // It serves: what the old primary wrote meanwhile is acknowledged to nobody.
    assert_eq!(
        copy(&went_on).against(&copy(&promoted), true),
        Relation::More
    );
    // The old primary has submitted to it, or it was announced.
    assert_eq!(
        relation(&went_on, &promoted.clone().confirmed()),
        Relation::More
    );
    // The next term continues from the last confirmed one.
    let next = begin(Some(&promoted), "b", "third");
    assert_eq!(next.before[0].term, old.term);
    assert_eq!(next.term.number, 3);
}

#[test]
fn a_restored_copy_is_apart_from_all_that_the_lab_did_after_the_backup() {
    let earlier = later(&first("a"), 5);
    let term = begin(Some(&earlier), "a", "second");
    let backup = later(&term, 7);
    for by in ["a", "b"] {
        let restored = backup.restored(by, drawn("restored"));
        assert_eq!(restored.lab, backup.lab);
        // What the backup certainly has.
        for less in [&first("a"), &earlier, &term, &later(&term, 6)] {
            assert_eq!(relation(&restored, less), Relation::Less, "{less}");
        }
        // The same mark, later ones, and any number of later terms of either node.
        let mut after = vec![backup.clone(), later(&backup, 1)];
        let mut last = later(&backup, 3);
        for number in 0..100 {
            last = later(
                &begin(Some(&last), ["a", "b"][number % 2], &format!("t{number}")),
                1,
            );
            after.push(last.clone());
        }
        // The restored lab continues, with terms of its own.
        let mut now = restored.clone();
        for number in 0..100 {
            for old in &after {
                assert_eq!(relation(&now, old), Relation::Apart, "{now} and {old}");
            }
            let next = later(
                &begin(Some(&now), ["a", "b"][number % 2], &format!("n{number}")),
                1,
            );
            assert_eq!(relation(&next, &now), Relation::Less, "{now}");
            now = next;
        }
        // However many terms later, it has what the backup certainly had.
        for less in [&first("a"), &earlier, &term, &later(&term, 6)] {
            assert_eq!(relation(&now, less), Relation::Less, "{less}");
        }
        // Another restore of the same backup, and a restore of a backup of the restored lab.
        assert_eq!(
            relation(&restored, &backup.restored(by, drawn("again"))),
            Relation::Apart
        );
        let second = now.restored(by, drawn("second-restore"));
        for number in 0..100 {
            now = begin(Some(&now), "a", &format!("m{number}"));
        }
        assert_eq!(relation(&second, &now), Relation::Apart);
        for old in &after {
            assert_eq!(
                relation(&second, old),
                Relation::Apart,
                "{second} and {old}"
            );
        }
    }
}
