//! The mark of a copy of the data, and the comparison of two copies.
//!
//! The existence of a data file proves nothing: a new disk, a restored snapshot and a repaired file
//! all look like data. So the data set itself carries a mark: one key, written by the supervisor of
//! the primary. Replication and backups carry it with the data.
//!
//! A *term* is one unbroken time of one node as primary. It begins with a mark, and a write is
//! witnessed only after that mark (`docs/protocol.md`, *Marks*). Within a term the count of the
//! mark grows, and all copies are prefixes of one stream. So of two copies, the one with the later
//! mark has every acknowledged write that the other has.

mod mark;
#[cfg(test)]
mod tests;

use std::fmt;

use mark::MAX_EARLIER_TERMS;

pub use mark::{Completeness, EndedTerm, MARK_KEY, Mark, RandomIds, Restore, Term};

/// The port of the address from which a parked data node replicates. Nothing listens on it (port 1,
/// `tcpmux`), so the node is not writable before its role is decided.
pub const PARKED_PORT: u16 = 1;

/// The data of a data node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataCopy {
    /// No keys.
    Empty,
    /// Keys without a mark: written by something else, or by a version without marks.
    Unmarked,
    /// Data with its mark.
    Marked(Box<Mark>),
}

/// What another copy holds, compared with this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Less: this copy may replace it.
    Less,
    /// No difference is known.
    Same,
    /// More: it may replace this copy.
    More,
    /// Each may hold what the other lacks, or they belong to two labs.
    Apart,
}

impl DataCopy {
    /// From the number of keys and the value of [`MARK_KEY`] on a server.
    pub fn read(keys: u64, mark: Option<&str>) -> DataCopy {
        match mark.and_then(Mark::from_text) {
            Some(mark) => DataCopy::Marked(Box::new(mark)),
            None if keys == 0 => DataCopy::Empty,
            None => DataCopy::Unmarked,
        }
    }

    /// Its mark.
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            DataCopy::Marked(mark) => Some(mark),
            DataCopy::Empty | DataCopy::Unmarked => None,
        }
    }

    /// What `other` holds, compared with this copy, whose node takes no writes. `serves`: the node
    /// of `other` has taken writes since it was promoted. Then it has everything acknowledged
    /// before its promotion, whether its term is confirmed or not.
    pub fn against(&self, other: &DataCopy, serves: bool) -> Relation {
        let rank = |copy: &DataCopy| match copy {
            DataCopy::Empty => 0,
            DataCopy::Unmarked => 1,
            DataCopy::Marked(_) => 2,
        };
        match (self, other) {
            (DataCopy::Marked(mine), DataCopy::Marked(theirs)) if serves => {
                compare(&mine.last_confirmed(), theirs)
            }
            (DataCopy::Marked(mine), DataCopy::Marked(theirs)) => {
                compare(&mine.last_confirmed(), &theirs.last_confirmed())
            }
            _ => match rank(other).cmp(&rank(self)) {
                std::cmp::Ordering::Less => Relation::Less,
                std::cmp::Ordering::Equal => Relation::Same,
                std::cmp::Ordering::Greater => Relation::More,
            },
        }
    }

    /// Like [`DataCopy::against`], where the owners are known: `me` has this copy, `them` the
    /// other. Two copies with the same mark may differ in later writes. If the mark says *only
    /// copy*, only its writer is certain to have these writes, on disk.
    pub fn against_that_of(
        &self,
        me: &str,
        other: &DataCopy,
        them: &str,
        serves: bool,
    ) -> Relation {
        let only_copy = match (self, other) {
            (DataCopy::Marked(mine), DataCopy::Marked(theirs)) => {
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

impl fmt::Display for DataCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataCopy::Empty => f.write_str("nothing"),
            DataCopy::Unmarked => f.write_str("data without a mark"),
            DataCopy::Marked(mark) => write!(f, "{mark}"),
        }
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
    // A given-up copy stays given up, whichever term is later.
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

impl Mark {
    /// Whether a copy with this mark, of a later term, has every acknowledged write of a copy with
    /// the mark `other`.
    fn has_all_of(&self, other: &Mark) -> bool {
        if self.gives_up(other) {
            return true;
        }
        let place = other.place();
        let terms = || std::iter::once(&self.term).chain(self.before.iter().map(|p| &p.term));
        let Some(at) = self.before.iter().position(|p| p.term == place.term) else {
            // Either the term is older than all remembered ones, or this copy never had it.
            let in_a_gap = |restored: &Restore| {
                let place = (place.term.number, place.count);
                (restored.from, restored.count) < place && place < (restored.term, 0)
            };
            return self.before.len() == MAX_EARLIER_TERMS
                && !self.restored.iter().any(in_a_gap)
                && self
                    .before
                    .last()
                    .is_some_and(|oldest| oldest.term.number > place.term.number);
        };
        // What a former primary wrote after another node was promoted is acknowledged to nobody.
        // But a primary that began its next term with less than it had replicated has lost
        // writes.
        let went_on = terms().nth(at).map(|term| &term.by);
        let past = &self.before[at];
        // The operator has not seen what the writer of an only copy accepted after the last
        // replicated mark.
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
