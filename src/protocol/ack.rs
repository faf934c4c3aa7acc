//! When a batch of records is acknowledged.
//!
//! After the `MSET` of a batch the writer sends, on the same connection, `ROLE`: its offset lies at or
//! behind the batch. On another connection, opened earlier and for all batches, it sends `ROLE`, `PUBLISH`,
//! `WAIT`, `ROLE`, one such round after the other: the last `ROLE` says who has acknowledged how much. Nodes are
//! counted by identity, never by the number that `WAIT` returns: a replica that reconnected is counted
//! twice there, and a stranger's replica once.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::vote::{Elected, SentinelView};

/// The channel by which a data node assures that it can't be promoted: its parent is subscribed to it on the node's
/// server while the priority is 0 and no raise is under way. The subscription ends before a raise asks the primary
/// for its offset. So every write that was answered before somebody sees the subscription is part of any offset that
/// a later raise asks for, however long that takes.
pub const ASSURANCE_CHANNEL: &str = "halab:not-promotable";

/// Which acknowledgements count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Only `replicated` counts: writes wait while a data node is lost.
    Replicated,
    /// `replicated` or `witnessed`: one lost node leaves the lab writable.
    Available,
    /// The server's `+OK` counts, as for most clients. Loses data; the negative control.
    None,
}

impl Policy {
    /// Its name on the command line and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Replicated => "replicated",
            Policy::Available => "available",
            Policy::None => "none",
        }
    }
}

/// The data nodes that have not confirmed everything up to `offset`.
///
/// `confirmed` are the replicas as the last `ROLE` listed them.
pub fn uncovered(
    others: &[SocketAddrV4],
    offset: u64,
    confirmed: &[Confirmed],
) -> Vec<SocketAddrV4> {
    others
        .iter()
        .copied()
        .filter(|node| {
            !confirmed
                .iter()
                .any(|c| c.address == *node && c.offset >= offset)
        })
        .collect()
}

/// The offset up to which every one of the `others` has confirmed the stream of their primary; `None`
/// when one is not among its online replicas.
pub fn replicated_up_to(others: &[SocketAddrV4], confirmed: &[Confirmed]) -> Option<u64> {
    let of = |node: &SocketAddrV4| {
        let its = confirmed.iter().filter(|c| c.address == *node);
        its.map(|c| c.offset).max()
    };
    others.iter().map(of).min().flatten()
}

/// A batch whose writes the primary has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The first round of questions that was asked after its connection was made.
    pub first_round: u64,
    /// All its writes lie at or before this offset.
    pub offset: u64,
    /// How many batches had been answered before it.
    pub number: u64,
}

/// Up to where writes to one primary are acknowledged, as the rounds of questions on one connection to it
/// have found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The last round that was answered; the first is 1.
    pub round: u64,
    /// Every other data node has confirmed everything up to this offset.
    pub replicated: Option<u64>,
    /// So many batches had been answered when the question was put to which the Sentinels bore witness.
    pub witnessed: u64,
}

/// The forms of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Every other data node has confirmed the writes.
    Replicated,
    /// Those who have not can't be promoted.
    Witnessed,
}

impl Coverage {
    /// The form in which `batch` is acknowledged, if it is.
    ///
    /// Offsets say nothing across histories. That the two connections, of the questions and of the batch,
    /// lead to one server in one role follows from an answer to a question put *after* the batch's
    /// connection was made: a demotion or the end of the server would have closed the older connection.
    pub fn form(&self, batch: &Answered) -> Option<Form> {
        if self.round < batch.first_round {
            return None;
        }
        if self.replicated.is_some_and(|upto| batch.offset <= upto) {
            return Some(Form::Replicated);
        }
        (batch.number < self.witnessed).then_some(Form::Witnessed)
    }
}

/// How far one replica has confirmed the stream of its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// Where the replica listens.
    pub address: SocketAddrV4,
    /// The offset, in bytes, that it has acknowledged.
    pub offset: u64,
}

/// Why the Sentinels do not bear witness for a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoWitness {
    /// Fewer than a majority answered.
    TooFewAnswers,
    /// One that answered names another primary or another epoch: the batch went to a stale primary.
    OtherPrimary,
    /// One that answered could promote a node that has not confirmed the batch.
    Promotable(SocketAddrV4),
    /// A failover is under way.
    FailoverInProgress,
    /// The primary has not marked its term yet, or it does not count yet.
    TermNotMarked,
}

/// What is asked of the witnesses: writes to an elected primary that not every node has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degraded {
    /// Where the writes went.
    pub primary: Elected,
    /// The data nodes that have not confirmed them.
    pub uncovered: Vec<SocketAddrV4>,
}

/// Answers to questions that were all asked after the writes had been answered.
#[derive(Debug, Clone, Copy)]
pub struct Testimony<'a> {
    /// The Sentinels that answered.
    pub views: &'a [SentinelView],
    /// Sentinels that make a majority.
    pub majority: usize,
    /// The nodes that assured themselves ([`ASSURANCE_CHANNEL`]) that they are replicas with a priority of 0 and that
    /// no raise is under way.
    pub own_word: &'a [SocketAddrV4],
    /// Time from the answer to the writes to the question to the Sentinels.
    pub age: Duration,
    /// Longest time from a replica's question for its primary's offset to its being promotable. A write in between is
    /// not covered by that offset. An INFO does not tell whether a raise is under way, so its 0 counts only when it is
    /// later than the write by more than this.
    pub raise_limit: Duration,
}

/// Whether the Sentinels bear witness that no uncovered node can be promoted.
///
/// A majority must have answered, and *nobody* who answered may disagree: the Sentinel that leads a
/// failover decides by its own view alone, so one dissenting view is one too many.
///
/// # Errors
/// Why they do not.
pub fn witness(case: &Degraded, heard: Testimony<'_>) -> Result<(), NoWitness> {
    if heard.views.len() < heard.majority {
        return Err(NoWitness::TooFewAnswers);
    }
    for view in heard.views {
        if view.primary != case.primary.address || view.config_epoch != case.primary.epoch {
            return Err(NoWitness::OtherPrimary);
        }
        if view.failover_in_progress || view.primary_o_down {
            return Err(NoWitness::FailoverInProgress);
        }
        for node in &case.uncovered {
            if !cannot_be_promoted(view, *node, heard) {
                return Err(NoWitness::Promotable(*node));
            }
        }
    }
    Ok(())
}

/// Whether it is certain that `old`, primary in the eyes of the Sentinels, will not be primary again before
/// it has copied everything from `new`, which was promoted over it and is not announced yet.
///
/// `old_follows` is whose replica `old` says it is while its own priority is 0, asked after the writes had
/// been answered. A node submits to a promoted one only if it saw that one as its replica before, and from
/// then on never takes the role by its own decision. The Sentinels that name it can't promote it: to them
/// it is the primary. To those that name the new one already it is a replica like any other.
///
/// # Errors
/// Why it is not.
pub fn witness_promoted(
    old: Elected,
    new: SocketAddrV4,
    old_follows: Option<SocketAddrV4>,
    heard: Testimony<'_>,
) -> Result<(), NoWitness> {
    if heard.views.len() < heard.majority {
        return Err(NoWitness::TooFewAnswers);
    }
    for view in heard.views {
        // The one that leads the failover gives the new epoch to the old primary for a moment.
        let names_old = view.primary == old.address && view.config_epoch >= old.epoch;
        if view.primary == new {
            // It leads one from the new one, and may have selected the old one already.
            if view.failover_in_progress || view.primary_o_down {
                return Err(NoWitness::FailoverInProgress);
            }
            if !cannot_be_promoted(view, old.address, heard) {
                return Err(NoWitness::Promotable(old.address));
            }
        } else if !names_old {
            return Err(NoWitness::OtherPrimary);
        }
    }
    if old_follows != Some(new) {
        return Err(NoWitness::Promotable(old.address));
    }
    Ok(())
}

/// Down or disconnected counts as the Sentinel sees it now. A priority of 0 that it remembers counts only
/// when the node has said so after the writes, to it or to us: an older 0 may have been raised since. To us it says
/// more than its priority, and that holds at once.
fn cannot_be_promoted(view: &SentinelView, node: SocketAddrV4, heard: Testimony<'_>) -> bool {
    match view.replica(node) {
        // Not known as a replica, so not a candidate; it becomes one only with an INFO of its own, and
        // it raises its priority only after it has caught up with this primary.
        None => true,
        Some(replica) => {
            let fresh = replica
                .info_age
                .is_some_and(|info| info + heard.raise_limit < heard.age)
                || heard.own_word.contains(&node);
            replica.down
                || replica.disconnected
                || replica.info_age.is_none()
                || (replica.priority == 0 && replica.says_replica && fresh)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vote::ReplicaView;
    use super::super::vote::tests::view;
    use super::*;

    const A: &str = "127.0.0.11:6379";
    const B: &str = "127.0.0.12:6379";
    const C: &str = "127.0.0.13:6379";

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    fn replica(priority: u64, down: bool, disconnected: bool, info_ms: u64) -> ReplicaView {
        ReplicaView {
            address: at(B),
            priority,
            down,
            disconnected,
            says_replica: true,
            link_up: !down,
            info_age: Some(Duration::from_millis(info_ms)),
        }
    }

    fn views(replicas: &[ReplicaView]) -> Vec<SentinelView> {
        replicas
            .iter()
            .map(|r| SentinelView {
                replicas: vec![r.clone()],
                ..view(A, 7)
            })
            .collect()
    }

    fn ask_beside(views: &[SentinelView], own_word: &[SocketAddrV4]) -> Result<(), NoWitness> {
        ask_at(views, own_word, Duration::from_millis(100))
    }

    fn ask_at(
        views: &[SentinelView],
        own_word: &[SocketAddrV4],
        age: Duration,
    ) -> Result<(), NoWitness> {
        let primary = Elected {
            address: at(A),
            epoch: 7,
        };
        let case = Degraded {
            primary,
            uncovered: vec![at(B)],
        };
        witness(
            &case,
            Testimony {
                views,
                majority: 2,
                own_word,
                age,
                raise_limit: Duration::from_millis(25),
            },
        )
    }

    fn ask(views: &[SentinelView]) -> Result<(), NoWitness> {
        ask_beside(views, &[])
    }

    #[test]
    fn a_remembered_priority_of_zero_counts_when_the_node_itself_confirms_it() {
        let stale = replica(0, false, false, 900);
        let answers = views(&[stale.clone(), stale]);
        assert_eq!(ask(&answers), Err(NoWitness::Promotable(at(B))));
        assert_eq!(ask_beside(&answers, &[at(B)]), Ok(()));
        // However soon after the writes it is heard: nothing that was begun before goes on.
        assert_eq!(ask_at(&answers, &[at(B)], Duration::ZERO), Ok(()));
        // The node's word alone is not enough: a Sentinel acts on what it remembers.
        let remembered = replica(100, false, false, 900);
        let answers = views(&[remembered.clone(), remembered]);
        assert_eq!(
            ask_beside(&answers, &[at(B)]),
            Err(NoWitness::Promotable(at(B)))
        );
    }

    #[test]
    fn a_dead_replica_is_witnessed_by_a_majority() {
        let dead = replica(100, true, true, 6000);
        assert_eq!(ask(&views(&[dead.clone(), dead.clone()])), Ok(()));
        assert_eq!(ask(&views(&[dead])), Err(NoWitness::TooFewAnswers));
    }

    #[test]
    fn one_sentinel_with_another_view_is_enough_to_refuse() {
        let dead = replica(100, true, false, 6000);
        let alive = replica(100, false, false, 300);
        assert_eq!(
            ask(&views(&[dead.clone(), dead, alive])),
            Err(NoWitness::Promotable(at(B)))
        );
    }

    #[test]
    fn a_priority_of_zero_counts_only_when_it_was_said_after_the_write() {
        let fresh = replica(0, false, false, 50);
        let stale = replica(0, false, false, 150);
        assert_eq!(ask(&views(&[fresh.clone(), fresh.clone()])), Ok(()));
        assert_eq!(
            ask(&views(&[fresh, stale])),
            Err(NoWitness::Promotable(at(B)))
        );
    }

    #[test]
    fn another_primary_or_epoch_acknowledges_nothing() {
        let dead = replica(0, true, true, 0);
        let mut answers = views(&[dead.clone(), dead.clone(), dead]);
        answers[2].config_epoch = 8;
        assert_eq!(ask(&answers), Err(NoWitness::OtherPrimary));
        answers[2].config_epoch = 7;
        answers[2].primary = at(B);
        assert_eq!(ask(&answers), Err(NoWitness::OtherPrimary));
    }

    #[test]
    fn a_failover_under_way_acknowledges_nothing() {
        let dead = replica(0, true, true, 0);
        let mut answers = views(&[dead.clone(), dead]);
        answers[0].failover_in_progress = true;
        assert_eq!(ask(&answers), Err(NoWitness::FailoverInProgress));
    }

    #[test]
    fn an_unannounced_primary_is_witnessed_by_the_old_one_that_follows_it() {
        let old = Elected {
            address: at(A),
            epoch: 7,
        };
        let ask = |follows, views: &[SentinelView]| {
            let age = Duration::from_millis(100);
            let heard = Testimony {
                views,
                majority: 2,
                own_word: &[],
                age,
                raise_limit: Duration::from_millis(25),
            };
            witness_promoted(old, at(B), follows, heard)
        };
        let answers = [view(A, 7), view(A, 7), view(B, 8)];
        assert_eq!(ask(Some(at(B)), &answers), Ok(()));
        assert_eq!(ask(None, &answers), Err(NoWitness::Promotable(at(A))));
        assert_eq!(
            ask(Some(at(C)), &answers),
            Err(NoWitness::Promotable(at(A)))
        );
        assert_eq!(
            ask(Some(at(B)), &answers[..1]),
            Err(NoWitness::TooFewAnswers)
        );
        let third = [view(A, 7), view(C, 9)];
        assert_eq!(ask(Some(at(B)), &third), Err(NoWitness::OtherPrimary));
        // Announced to one, and the old primary has caught up and is promotable there.
        let raised = ReplicaView {
            address: at(A),
            ..replica(100, false, false, 10)
        };
        let announced = SentinelView {
            replicas: vec![raised],
            ..view(B, 8)
        };
        assert_eq!(
            ask(Some(at(B)), &[view(A, 7), announced]),
            Err(NoWitness::Promotable(at(A)))
        );
    }

    #[test]
    fn a_priority_said_within_a_raise_or_by_a_primary_is_no_evidence() {
        let during_a_raise = replica(0, false, false, 80);
        assert_eq!(
            ask(&views(&[during_a_raise.clone(), during_a_raise])),
            Err(NoWitness::Promotable(at(B)))
        );
        let as_primary = ReplicaView {
            says_replica: false,
            ..replica(0, false, false, 10)
        };
        assert_eq!(
            ask(&views(&[as_primary.clone(), as_primary])),
            Err(NoWitness::Promotable(at(B)))
        );
    }

    #[test]
    fn nodes_are_covered_by_identity_and_offset() {
        let others = [at(B), at(C)];
        let confirmed = |address, offset| Confirmed { address, offset };
        let twice = [confirmed(at(B), 90), confirmed(at(B), 120)];
        assert_eq!(uncovered(&others, 100, &twice), [at(C)]);
        assert_eq!(replicated_up_to(&others, &twice), None);
        let both = [confirmed(at(B), 100), confirmed(at(C), 99)];
        assert_eq!(uncovered(&others, 100, &both), [at(C)]);
        assert!(uncovered(&others, 99, &both).is_empty());
        assert_eq!(replicated_up_to(&others, &both), Some(99));
        let stranger = "127.0.0.99:6379";
        let both = [confirmed(at(B), 100), confirmed(at(stranger), 100)];
        assert_eq!(replicated_up_to(&others, &both), None);
    }

    #[test]
    fn a_batch_is_acknowledged_by_offset_or_by_the_question_put_after_it() {
        let batch = Answered {
            first_round: 3,
            offset: 100,
            number: 7,
        };
        let found = |round, replicated, witnessed| Coverage {
            round,
            replicated,
            witnessed,
        };
        assert_eq!(found(3, Some(100), 0).form(&batch), Some(Form::Replicated));
        assert_eq!(found(3, Some(99), 7).form(&batch), None);
        assert_eq!(found(3, None, 8).form(&batch), Some(Form::Witnessed));
    }

    #[test]
    fn answers_from_before_the_batchs_connection_acknowledge_nothing() {
        // The server at this address was another one then, perhaps, with a longer history.
        let batch = Answered {
            first_round: 4,
            offset: 100,
            number: 0,
        };
        let old = Coverage {
            round: 3,
            replicated: Some(5000),
            witnessed: 9,
        };
        assert_eq!(old.form(&batch), None);
    }
}
