//! The mark of a copy: its content and its next versions. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key of the mark. It matches no pattern of a record.
pub const MARK_KEY: &str = "halab-mark";

/// How many terms a mark remembers. A copy older than all of them holds less.
pub(super) const MAX_EARLIER_TERMS: usize = 32;

/// Added to the term number of a restored copy. No lab has that many terms between a backup and its
/// restore, so no term of the lab before the restore has a higher number.
const RESTORE_TERM_GAP: u64 = 1_000_000;

/// One unbroken time of one node as primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// Grows by one with each term.
    pub number: u64,
    /// Drawn at random when the term begins. It tells two terms of one number apart.
    pub id: String,
    /// The node that was primary.
    pub by: String,
}

/// A term that has ended, as recorded in a copy that continues from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EndedTerm {
    /// The term.
    pub term: Term,
    /// The last mark of the term in the copy when the next term began.
    pub count: u64,
    /// An operator began the next term, so writes after later marks of this term may have been
    /// acknowledged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

/// What the primary's supervisor knew about its copy when it wrote the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// Replicas may be in sync.
    Open,
    /// No replica was in sync, and every write is on disk before its answer: this copy has all
    /// writes.
    Sole,
    /// The lab was closed: writes were paused and none was accepted since. Every copy with this
    /// mark has all writes.
    Closed,
}

/// The mark of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The lab's identity, drawn at random when the lab was first started.
    pub lab: String,
    /// The term in which it was written.
    pub term: Term,
    /// Grows with each mark of the term.
    pub count: u64,
    /// The epoch at which the Sentinels named the node in this term; `None` until they have.
    pub epoch: Option<u64>,
    /// The promotion is final: the Sentinels have announced the node, or the node that they name
    /// has submitted to it, or the node took the role by its own decision and the Sentinels
    /// have seen it as primary with no failover in progress. Before that no write of the term
    /// is witnessed, because the promotion may still be abandoned.
    #[serde(default)]
    pub confirmed: bool,
    /// The replication history in which it was written (`master_replid`). A promotion begins a new
    /// history, so marks of an earlier term of the same node can be told apart.
    #[serde(default)]
    pub history: String,
    /// What was known about other copies.
    pub state: Completeness,
    /// Earlier terms, latest first.
    #[serde(default)]
    pub before: Vec<EndedTerm>,
    /// Copies that an operator gave up in favour of this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<EndedTerm>,
    /// Restores of backups in the past of this copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restored: Vec<Restore>,
}

/// A restore of a backup. The copy lacks what the lab did between the two terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Restore {
    /// The number of the term in which the backup was taken.
    pub from: u64,
    /// The last mark of that term whose preceding writes are certainly all in the backup.
    pub count: u64,
    /// The number of the term that the restore began.
    pub term: u64,
}

/// Random identities for a new mark.
#[derive(Debug, Clone)]
pub struct RandomIds {
    /// For a lab that has no identity yet.
    pub lab: String,
    /// For the term.
    pub term: String,
}

impl Mark {
    /// The first mark of a term of the node `by`. `last` is the mark of its copy.
    pub fn begin(last: Option<&Mark>, by: &str, drawn: RandomIds) -> Mark {
        let confirmed = last.map(Mark::last_confirmed);
        let mut before: Vec<EndedTerm> = confirmed.iter().map(|mark| mark.place()).collect();
        before.extend(
            confirmed
                .iter()
                .flat_map(|mark| mark.before.iter().cloned()),
        );
        before.truncate(MAX_EARLIER_TERMS);
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
            // What was given up for this copy is given up for all copies that continue from it.
            over: last.map_or_else(Vec::new, |mark| mark.over.clone()),
            restored: last.map_or_else(Vec::new, |mark| mark.restored.clone()),
        }
    }

    /// The mark of a copy restored from a backup with this mark, on the node `by`. It begins a term
    /// of its own, which continues from the backup and from nothing later.
    ///
    /// A node that returns with data from the time of the backup or later may have writes that the
    /// backup lacks, so the two copies are apart. This includes a copy with the same mark as the
    /// backup: up to one second of writes may follow the mark.
    #[must_use]
    pub fn restored(&self, by: &str, drawn: RandomIds) -> Mark {
        let mut mark = Mark::begin(Some(self), by, drawn);
        mark.term.number = self.term.number + RESTORE_TERM_GAP;
        if let Some(past) = mark.before.first_mut() {
            past.count = past.count.saturating_sub(1);
            past.forced = true;
        }
        mark.restored.push(Restore {
            from: self.term.number,
            count: self.count.saturating_sub(1),
            term: mark.term.number,
        });
        mark.confirmed()
    }

    /// Whether the node `by` has marked its present term, whose replication history is `history`,
    /// and the term is confirmed.
    pub fn counts_for(&self, by: &str, history: &str) -> bool {
        self.confirmed && self.term.by == by && self.history == history
    }

    /// The same mark, in a confirmed term.
    #[must_use]
    pub fn confirmed(self) -> Mark {
        Mark {
            confirmed: true,
            ..self
        }
    }

    /// The position of the copy in its last confirmed term. A write of an unconfirmed term is
    /// acknowledged only when every other node has it too.
    pub(super) fn last_confirmed(&self) -> Mark {
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

    /// The first mark after a closed lab is reopened, in the replication history `history`. It
    /// begins another term: a node that was away still has the closing mark, and if it takes
    /// the role alone, the two copies must be apart, so that neither replaces the other.
    #[must_use]
    pub fn reopen(&self, history: &str, drawn: RandomIds) -> Mark {
        Mark {
            epoch: self.epoch,
            confirmed: true,
            history: history.to_owned(),
            ..Mark::begin(Some(self), &self.term.by, drawn)
        }
    }

    /// The position in the lab's history at which it was written.
    pub fn place(&self) -> EndedTerm {
        EndedTerm {
            term: self.term.clone(),
            count: self.count,
            forced: false,
        }
    }

    /// The same mark, with its term begun by an operator.
    #[must_use]
    pub fn forced(mut self) -> Mark {
        if let Some(past) = self.before.first_mut() {
            past.forced = true;
        }
        self
    }

    /// Its text for messages while further marks may be written: only the count may grow.
    pub fn or_later(&self) -> String {
        self.text_with(" or later")
    }

    fn text_with(&self, after_count: &str) -> String {
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

    /// Its text, as stored.
    pub fn to_text(&self) -> String {
        // Serializing a struct of strings and numbers cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses its text; `None` if it is not a mark.
    pub fn from_text(text: &str) -> Option<Mark> {
        serde_json::from_str(text).ok()
    }

    /// Whether an operator gave up the copy with the mark `other` in favour of this one.
    pub fn gives_up(&self, other: &Mark) -> bool {
        let given_up = |past: &EndedTerm| past.term == other.term && other.count <= past.count;
        self.over.iter().any(given_up)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text_with(""))
    }
}
