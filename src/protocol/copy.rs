//! What a copy of the data is worth: the mark that it carries, and how two copies are compared.
//!
//! That a file is there says nothing: a new disk, a restored snapshot and a repaired file all look like data. So the
//! data set itself carries a mark, one key that the parent of the primary writes. It comes to replicas by replication and
//! to backups with the data.
//!
//! A *term* is one unbroken time as primary. It begins with a mark of its own, and a write is witnessed only after
//! that mark (`docs/protocol.md`, *Marks*). Within a term the mark's count grows, and all copies are prefixes
//! of one stream. So of two copies the one with the later mark holds every acknowledged write that the other holds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key of the mark. No pattern of a record matches it.
pub const MARK_KEY: &str = "halab-mark";

/// The port of the address where a data node is parked as a replica: nothing listens there (port 1, `tcpmux`), so the node
/// is never writable before its role is decided.
pub const PARKED_PORT: u16 = 1;

/// Terms that a mark remembers. A copy that is older than all of them holds less.
const REMEMBERED: usize = 32;

/// By so much the number of a restored copy's term is higher than that of its backup: more terms than a lab has between the two, so
/// that no term of the lab as it was then looks later.
const AFTER_RESTORE: u64 = 1_000_000;

/// A term: one unbroken time as primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// Grows by one with each term.
    pub number: u64,
    /// Drawn at its begin: two terms of one number are told apart by it.
    pub id: String,
    /// The node that was primary.
    pub by: String,
}

/// A term that has ended, as the copy that goes on from it has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Past {
    /// The term.
    pub term: Term,
    /// The last mark of it that the copy had when the next term began.
    pub count: u64,
    /// An operator had the next term begin: what was marked later in this one may have been acknowledged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

/// What the primary's parent knew when it wrote the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// Replicas may be in sync.
    Open,
    /// No replica was in sync, and everything is written to disk before it is answered: this copy has all.
    Sole,
    /// The lab was closed: writes were paused, and none has been taken since. Whoever has this mark has all.
    Closed,
}

/// The mark of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The lab's identity, drawn when it was first started.
    pub lab: String,
    /// The term in which it was written.
    pub term: Term,
    /// Grows with each mark of the term.
    pub count: u64,
    /// The configuration epoch at which the Sentinels named the node in this term; none while they have not.
    pub epoch: Option<u64>,
    /// The Sentinels have announced the node, or, where it took the role by its own decision, have seen it as a primary with no
    /// failover under way; or the one that they name has submitted to it. Before that nothing is witnessed in the term: a
    /// promotion may still come to nothing.
    #[serde(default)]
    pub confirmed: bool,
    /// The history of replication in which it was written (`master_replid`). A promotion begins another, so a mark of an
    /// earlier time as primary of the same node is told from one of this time.
    #[serde(default)]
    pub history: String,
    /// What was known of other copies.
    pub state: Completeness,
    /// Earlier terms, the latest first.
    #[serde(default)]
    pub before: Vec<Past>,
    /// Copies that an operator has given up for this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<Past>,
    /// Restores of backups that the copy goes back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<Restored>,
}

/// A restore of a backup. What the lab did between the two terms is not in the restored copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Restored {
    /// The number of the term in which the backup was taken.
    pub from: u64,
    /// The last mark of that term up to which the backup has everything for certain.
    pub count: u64,
    /// The number of the term in which it was put in place.
    pub term: u64,
}

/// Two strings drawn at random: the identity of a lab and that of a term.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// For a lab that has none yet.
    pub lab: String,
    /// For the term.
    pub term: String,
}

impl Mark {
    /// The first mark of a term of the node `by`, whose copy carried `last` before.
    pub fn begin(last: Option<&Mark>, by: &str, drawn: Drawn) -> Mark {
        let confirmed = last.map(Mark::last_confirmed);
        let mut before: Vec<Past> = confirmed.iter().map(|mark| mark.place()).collect();
        before.extend(
            confirmed
                .iter()
                .flat_map(|mark| mark.before.iter().cloned()),
        );
        before.truncate(REMEMBERED);
        Mark {
            lab: last.map_or(drawn.lab, |mark| mark.lab.clone()),
            term: Term {
                number: last.map_or(1, |mark| mark.term.number + 1),
                id: drawn.term,
                by: by.to_owned(),
            },
            count: 1,
            epoch: None,
            confirmed: false,
            history: String::new(),
            state: Completeness::Open,
            before,
            // Given up for this copy is given up for all that follow from it.
            over: last.map_or_else(Vec::new, |mark| mark.over.clone()),
            restored: last.map_or_else(Vec::new, |mark| mark.restored.clone()),
        }
    }

    /// The mark of a copy that is put in place on the node `by` from a backup with this mark: a term of its own, which goes on
    /// from the backup and from nothing later.
    ///
    /// A node that comes back with what it held when the backup was taken, or later, may hold what the backup lacks: the two are
    /// apart. That includes one with the very mark of the backup, behind which up to a second of writes may lie.
    #[must_use]
    pub fn restored(&self, by: &str, drawn: Drawn) -> Mark {
        let mut mark = Mark::begin(Some(self), by, drawn);
        mark.term.number = self.term.number + AFTER_RESTORE;
        if let Some(past) = mark.before.first_mut() {
            past.count = past.count.saturating_sub(1);
            past.forced = true;
        }
        mark.restored.push(Restored {
            from: self.term.number,
            count: self.count.saturating_sub(1),
            term: mark.term.number,
        });
        mark.confirmed()
    }

    /// Whether the node `by`, whose history of replication is `history`, has marked the time in which it is primary now, and that
    /// time counts.
    pub fn counts_for(&self, by: &str, history: &str) -> bool {
        self.confirmed && self.term.by == by && self.history == history
    }

    /// The same mark, in a term that counts.
    #[must_use]
    pub fn confirmed(self) -> Mark {
        Mark {
            confirmed: true,
            ..self
        }
    }

    /// Where the copy is in the last term that was confirmed. What was written in one that was not is acknowledged to nobody
    /// who lacks it elsewhere.
    fn last_confirmed(&self) -> Mark {
        let Some((last, before)) = self.before.split_first().filter(|_| !self.confirmed) else {
            return self.clone();
        };
        Mark {
            term: last.term.clone(),
            count: last.count,
            confirmed: true,
            before: before.to_vec(),
            ..self.clone()
        }
    }

    /// The next mark of the same term.
    #[must_use]
    pub fn next(&self, epoch: Option<u64>, state: Completeness) -> Mark {
        Mark {
            count: self.count + 1,
            epoch,
            state,
            ..self.clone()
        }
    }

    /// The first mark of the time after a closed lab goes on, in the history of replication `history`. Another term, for a node
    /// that was away then has the closing mark still: should it take the role alone, the two copies are apart, and neither
    /// replaces the other.
    #[must_use]
    pub fn reopen(&self, history: &str, drawn: Drawn) -> Mark {
        Mark {
            epoch: self.epoch,
            confirmed: true,
            history: history.to_owned(),
            ..Mark::begin(Some(self), &self.term.by, drawn)
        }
    }

    /// Where in the history of the lab it was written.
    pub fn place(&self) -> Past {
        Past {
            term: self.term.clone(),
            count: self.count,
            forced: false,
        }
    }

    /// The same mark, of a term that an operator had begin.
    #[must_use]
    pub fn forced(mut self) -> Mark {
        if let Some(past) = self.before.first_mut() {
            past.forced = true;
        }
        self
    }

    /// What is said of it while further marks may have been written: all but the count is as it was.
    pub fn or_later(&self) -> String {
        self.in_words(" or later")
    }

    fn in_words(&self, after_count: &str) -> String {
        let Term { number, by, .. } = &self.term;
        let state = match self.state {
            Completeness::Open => "",
            Completeness::Sole => ", only copy",
            Completeness::Closed => ", closed",
        };
        format!(
            "term {number} ({by}), mark {}{after_count}{state}",
            self.count
        )
    }

    /// Its text, as it is stored.
    pub fn to_text(&self) -> String {
        // A struct of strings and numbers can't fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads its text; nothing when it is none.
    pub fn from_text(text: &str) -> Option<Mark> {
        serde_json::from_str(text).ok()
    }

    /// Whether an operator has given the copy with the mark `other` up for this one.
    pub fn gives_up(&self, other: &Mark) -> bool {
        let given_up = |past: &Past| past.term == other.term && other.count <= past.count;
        self.over.iter().any(given_up)
    }

    /// Whether a copy with this mark, of a later term, holds every acknowledged write of one with the mark `other`.
    fn has_all_of(&self, other: &Mark) -> bool {
        if self.gives_up(other) {
            return true;
        }
        let place = other.place();
        let terms = || std::iter::once(&self.term).chain(self.before.iter().map(|p| &p.term));
        let Some(at) = self.before.iter().position(|p| p.term == place.term) else {
            // Forgotten, for it is older than all that are remembered; or never had.
            let in_a_gap = |restored: &Restored| {
                let place = (place.term.number, place.count);
                (restored.from, restored.count) < place && place < (restored.term, 0)
            };
            return self.before.len() == REMEMBERED
                && !self.restored.iter().any(in_a_gap)
                && self
                    .before
                    .last()
                    .is_some_and(|oldest| oldest.term.number > place.term.number);
        };
        // What an old primary wrote after another node had been promoted is acknowledged to nobody. But one that went on by
        // itself from less than it had passed on has lost something.
        let went_on = terms().nth(at).map(|term| &term.by);
        let past = &self.before[at];
        // What its writer took as the only copy, after the mark that was passed on, an operator has not seen.
        if past.forced
            && place.count == past.count
            && other.state == Completeness::Sole
            && went_on != Some(&past.term.by)
        {
            return false;
        }
        place.count <= past.count || (!past.forced && went_on != Some(&past.term.by))
    }
}

/// What a data node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copy {
    /// No key at all.
    Empty,
    /// Keys, and no mark: it was written by something else, or before there were marks.
    Unmarked,
    /// Data with its mark.
    Marked(Box<Mark>),
}

/// What another copy holds, against the own one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Less: it may be replaced by the own one.
    Less,
    /// No difference can be told.
    Same,
    /// More: it may replace the own one.
    More,
    /// Each may hold what the other lacks, or they are of two labs.
    Apart,
}

impl Copy {
    /// From what a server says: its number of keys, and its value of [`MARK_KEY`].
    pub fn read(keys: u64, mark: Option<&str>) -> Copy {
        match mark.and_then(Mark::from_text) {
            Some(mark) => Copy::Marked(Box::new(mark)),
            None if keys == 0 => Copy::Empty,
            None => Copy::Unmarked,
        }
    }

    /// Its mark.
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            Copy::Marked(mark) => Some(mark),
            Copy::Empty | Copy::Unmarked => None,
        }
    }

    /// What `other` holds against this one, whose node takes no writes. `serves`: the node of `other` does, as it has since it
    /// was promoted; so it has what was acknowledged by then, confirmed or not.
    pub fn against(&self, other: &Copy, serves: bool) -> Relation {
        let rank = |copy: &Copy| match copy {
            Copy::Empty => 0,
            Copy::Unmarked => 1,
            Copy::Marked(_) => 2,
        };
        match (self, other) {
            (Copy::Marked(mine), Copy::Marked(theirs)) if serves => {
                compare(&mine.last_confirmed(), theirs)
            }
            (Copy::Marked(mine), Copy::Marked(theirs)) => {
                compare(&mine.last_confirmed(), &theirs.last_confirmed())
            }
            _ => match rank(other).cmp(&rank(self)) {
                std::cmp::Ordering::Less => Relation::Less,
                std::cmp::Ordering::Equal => Relation::Same,
                std::cmp::Ordering::Greater => Relation::More,
            },
        }
    }

    /// The same, where it is known whose they are: this one that of the node `me`, the other that of `them`. Two copies
    /// with one mark may differ by what was written since. When the mark says *only copy*, nobody but its writer has that for
    /// certain, who has it on disk.
    pub fn against_that_of(&self, me: &str, other: &Copy, them: &str, serves: bool) -> Relation {
        let only_copy = match (self, other) {
            (Copy::Marked(mine), Copy::Marked(theirs)) => {
                mine.place() == theirs.place() && theirs.state == Completeness::Sole
            }
            _ => false,
        };
        match self.mark().map(|mark| mark.term.by.as_str()) {
            Some(by) if only_copy && by == me => Relation::Less,
            Some(by) if only_copy && by == them => Relation::More,
            _ => self.against(other, serves),
        }
    }
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Copy::Empty => f.write_str("nothing"),
            Copy::Unmarked => f.write_str("data without a mark"),
            Copy::Marked(mark) => write!(f, "{mark}"),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words(""))
    }
}

fn compare(mine: &Mark, theirs: &Mark) -> Relation {
    if mine.lab != theirs.lab {
        return Relation::Apart;
    }
    if mine.term == theirs.term {
        return match theirs.count.cmp(&mine.count) {
            std::cmp::Ordering::Less => Relation::Less,
            std::cmp::Ordering::Equal => Relation::Same,
            std::cmp::Ordering::Greater => Relation::More,
        };
    }
    // Given up is given up, whichever term is the later one.
    match (theirs.gives_up(mine), mine.gives_up(theirs)) {
        (true, false) => return Relation::More,
        (false, true) => return Relation::Less,
        _ => {}
    }
    if theirs.term.number > mine.term.number && theirs.has_all_of(mine) {
        Relation::More
    } else if mine.term.number > theirs.term.number && mine.has_all_of(theirs) {
        Relation::Less
    } else {
        Relation::Apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(term: &str) -> Drawn {
        Drawn {
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
        let marked = |mark: &Mark| Copy::Marked(Box::new(mark.clone()));
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
        assert_eq!(Copy::read(7, Some(&mark.to_text())).mark(), Some(&mark));
        assert_eq!(Copy::read(7, Some("{}")), Copy::Unmarked);
        assert_eq!(Copy::read(7, None), Copy::Unmarked);
        assert_eq!(Copy::read(0, None), Copy::Empty);
    }

    #[test]
    fn nothing_is_less_than_data_and_data_without_a_mark_less_than_data_with_one() {
        let marked = Copy::Marked(Box::new(first("a")));
        let ranks = [Copy::Empty, Copy::Unmarked, marked];
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
        // By another mark of the same term it would be more: what its old primary wrote later counts for nothing.
        let alone = begin(Some(&closed), "b", "alone");
        assert_eq!(relation(&alone, &later(&closed, 9)), Relation::Less);
        assert_eq!(relation(&alone, &later(&went_on, 9)), Relation::Apart);
    }

    #[test]
    fn an_operators_choice_gives_up_no_only_copy_that_was_not_seen() {
        let sole = first("b").next(Some(0), Completeness::Sole);
        let chosen = begin(Some(&sole), "a", "chosen");
        // Its writer may have taken more, with the same mark.
        assert_eq!(relation(&chosen, &sole), Relation::Less);
        let chosen = chosen.forced();
        assert_eq!(relation(&chosen, &sole), Relation::Apart);
        let mut seen = chosen.clone();
        seen.over.push(sole.place());
        assert_eq!(relation(&seen, &sole), Relation::Less);
        // By the node that serves, whose term is none later.
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
        let copy = |mark: Mark| Copy::Marked(Box::new(mark));
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
        // Another mark decides first.
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
        // What the old primary still marked, alone, was acknowledged to nobody.
        assert_eq!(relation(&later(&old, 3), &promoted), Relation::More);
    }

    #[test]
    fn a_node_that_went_on_from_less_than_it_had_passed_on_is_no_source() {
        let passed_on = later(&first("a"), 5);
        let rolled_back = begin(Some(&later(&first("a"), 2)), "a", "second");
        assert_eq!(relation(&passed_on, &rolled_back), Relation::Apart);
        // From all that it had, it is one.
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
        // What came to it after the decision is not given up.
        assert_eq!(relation(&later(&one, 1), &chosen), Relation::Apart);
        // And the next term goes on from there.
        let next = begin(Some(&chosen), "d", "four");
        assert_eq!(relation(&chosen, &next), Relation::More);
        assert_eq!(relation(&one, &next), Relation::More);
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
        assert_eq!(newest.before.len(), REMEMBERED);
        assert_eq!(relation(&old, &newest), Relation::More);
    }

    #[test]
    fn a_term_that_was_never_confirmed_counts_only_while_its_node_serves() {
        let copy = |mark: &Mark| Copy::Marked(Box::new(mark.clone()));
        let old = later(&first("a"), 5);
        let promoted = Mark::begin(Some(&old), "b", drawn("second"));
        // It was given up, and the old primary went on.
        let went_on = later(&old, 1);
        assert_eq!(relation(&promoted, &went_on), Relation::More);
        assert_eq!(relation(&promoted, &old), Relation::Same);
        // It serves: what the old primary wrote beside it is acknowledged to nobody.
        assert_eq!(
            copy(&went_on).against(&copy(&promoted), true),
            Relation::More
        );
        // The old primary has submitted to it, or it was announced.
        assert_eq!(
            relation(&went_on, &promoted.clone().confirmed()),
            Relation::More
        );
        // A term that begins from it goes on from what counts.
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
            // What the backup has for certain.
            for less in [&first("a"), &earlier, &term, &later(&term, 6)] {
                assert_eq!(relation(&restored, less), Relation::Less, "{less}");
            }
            // The same mark, later ones, and later terms, of whichever node and however many.
            let mut after = vec![backup.clone(), later(&backup, 1)];
            let mut last = later(&backup, 3);
            for number in 0..100 {
                last = later(
                    &begin(Some(&last), ["a", "b"][number % 2], &format!("t{number}")),
                    1,
                );
                after.push(last.clone());
            }
            // The restored lab goes on, and has terms of its own.
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
            // Another restore of the same backup, and one of a backup of the restored lab.
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
}
