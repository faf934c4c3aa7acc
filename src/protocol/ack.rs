//! When a batch of records is acknowledged.
//!
//! After the `MSET` of a batch the writer sends `ROLE` on the same connection. Its offset lies at
//! or behind the batch. On one more connection, opened earlier and used for all batches, the writer
//! asks rounds. A round confirms by the message that the other data nodes pass on
//! ([`super::round`]), or by offsets: after `WAIT`, `ROLE` states the offset that each replica has
//! confirmed. Replicas are identified by address. The number that `WAIT` returns is not used: it
//! counts a reconnected replica twice, and a replica that is not a member once.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::vote::{Elected, SentinelView};

/// The channel by which a data node gives the *assurance* that it cannot be promoted. Its
/// supervisor is subscribed to it on the node's server while the priority is 0 and no raise is in
/// progress. The subscription ends before a raise asks the primary for its offset. So a write that
/// was answered before another process saw the subscription is part of every offset that a later
/// raise asks for, however long the raise takes.
pub const ASSURANCE_CHANNEL: &str = "halab:not-promotable";

/// Which acknowledgements count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Policy {
    /// Only `replicated` counts: writes wait while a data node is lost.
    Replicated,
    /// `replicated` or `witnessed`: one lost node leaves the lab writable.
    Available,
    /// The server's `+OK` counts, as for most clients. This loses data: the negative control.
    None,
}

impl Policy {
    /// Its name on the command line and in the ledger.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The data nodes that have not confirmed everything up to `offset`, given the replicas as the last
/// `ROLE` listed them.
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

/// The offset up to which each of the `others` has confirmed the stream of the primary; `None` if
/// one of them is not among the online replicas.
pub fn replicated_up_to(others: &[SocketAddrV4], confirmed: &[Confirmed]) -> Option<u64> {
    let of = |node: &SocketAddrV4| {
        let its = confirmed.iter().filter(|c| c.address == *node);
        its.map(|c| c.offset).max()
    };
    others.iter().map(of).min().flatten()
}

/// The data nodes that have not confirmed anything behind `offset`. A confirmation of what is
/// behind it is later than the moment at which the primary was at `offset`: at that moment the node
/// still followed this primary. So if there is none, no other node was primary then. A node that
/// has confirmed exactly `offset` may have done so long before.
pub fn not_followed_beyond(
    others: &[SocketAddrV4],
    offset: u64,
    confirmed: &[Confirmed],
) -> Vec<SocketAddrV4> {
    uncovered(others, offset.saturating_add(1), confirmed)
}

/// A batch that the primary has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The first round that began after the batch's connection was established.
    pub first_round: u64,
    /// All its writes lie at or before this offset.
    pub offset: u64,
    /// The number of batches answered before it.
    pub number: u64,
}

/// How far the writes to one primary are acknowledged, as the keeper's rounds have found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The last round of the keeper that was answered; the first is 1.
    pub round: u64,
    /// Every other data node has confirmed everything up to this offset.
    pub replicated: Option<u64>,
    /// All batches with a lower number are witnessed: they had been answered when the Sentinels
    /// were asked.
    pub witnessed: u64,
    /// Everything that the primary had executed when this round began is confirmed, and it was
    /// still the primary then; 0: none yet.
    pub through: u64,
}

/// The two forms of acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Every other data node has confirmed the writes.
    Replicated,
    /// The data nodes that have not cannot be promoted.
    Witnessed,
}

impl Coverage {
    /// Adds the result of another round: what was confirmed once stays confirmed. Returns whether
    /// that is more.
    pub fn extend(&mut self, other: Coverage) -> bool {
        let before = *self;
        self.round = self.round.max(other.round);
        self.replicated = self.replicated.max(other.replicated);
        self.witnessed = self.witnessed.max(other.witnessed);
        self.through = self.through.max(other.through);
        *self != before
    }

    /// The form in which `batch` is acknowledged, or `None`.
    ///
    /// Offsets cannot be compared across histories. The keeper's connection and that of the batch
    /// must lead to one server in one role. An answer to a question asked *after* the batch's
    /// connection was established shows this: a demotion or the end of the server would have
    /// closed the older connection.
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

/// Why a batch is not witnessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoWitness {
    /// Fewer than a majority answered.
    TooFewAnswers,
    /// One Sentinel names another primary or another epoch: the batch went to a stale primary.
    OtherPrimary,
    /// One Sentinel could promote a node that has not confirmed the batch.
    Promotable(SocketAddrV4),
    /// A failover is in progress.
    FailoverInProgress,
    /// The primary has not marked its term, or the term is not confirmed.
    TermNotMarked,
}

/// Writes to an elected primary that not every data node has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncoveredWrites {
    /// The primary that answered the writes.
    pub primary: Elected,
    /// The data nodes that have not confirmed them.
    pub uncovered: Vec<SocketAddrV4>,
}

/// Answers to questions that were all asked after the writes had been answered.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The Sentinels that answered.
    pub views: &'a [SentinelView],
    /// Sentinels that make a majority.
    pub majority: usize,
    /// The nodes that give the assurance ([`ASSURANCE_CHANNEL`]): priority 0, and no raise in
    /// progress.
    pub assured: &'a [SocketAddrV4],
    /// Time from the answer to the writes until the Sentinels were asked.
    pub age: Duration,
    /// Longest time from a replica's question for its primary's offset until the replica is
    /// promotable. That offset does not cover a write in between. An INFO does not show
    /// whether a raise is in progress, so its priority 0 counts only if the INFO is later than
    /// the write by more than this.
    pub raise_limit: Duration,
}

/// Whether the Sentinels are witnesses that no uncovered node can be promoted.
///
/// A majority must have answered, and *none* that answered may dissent: the Sentinel that leads a
/// failover decides by its own view alone.
///
/// # Errors
/// The reason why the writes are not witnessed.
pub fn witness(case: &UncoveredWrites, evidence: Evidence<'_>) -> Result<(), NoWitness> {
    if evidence.views.len() < evidence.majority {
        return Err(NoWitness::TooFewAnswers);
    }
    for view in evidence.views {
        if view.primary != case.primary.address || view.config_epoch != case.primary.epoch {
            return Err(NoWitness::OtherPrimary);
        }
        if view.failover_in_progress || view.primary_o_down {
            return Err(NoWitness::FailoverInProgress);
        }
        for node in &case.uncovered {
            if !cannot_be_promoted(view, *node, evidence) {
                return Err(NoWitness::Promotable(*node));
            }
        }
    }
    Ok(())
}

/// Whether it is certain that `old`, which the Sentinels still name, will not be primary again
/// before it has copied everything from `new`, which was promoted and is not announced yet.
///
/// `old_follows` is the node of which `old` reports to be a replica, with priority 0, asked after
/// the writes had been answered. A node submits to a promoted node only if it saw that node as its
/// replica before, and from then on it never takes the role by its own decision. The Sentinels that
/// name it cannot promote it, because they see it as the primary. For those that already name
/// `new`, it is a replica like any other.
///
/// # Errors
/// The reason why the writes are not witnessed.
pub fn witness_promoted(
    old: Elected,
    new: SocketAddrV4,
    old_follows: Option<SocketAddrV4>,
    evidence: Evidence<'_>,
) -> Result<(), NoWitness> {
    if evidence.views.len() < evidence.majority {
        return Err(NoWitness::TooFewAnswers);
    }
    for view in evidence.views {
        // The Sentinel that leads the failover briefly assigns the new epoch to the old primary.
        let names_old = view.primary == old.address && view.config_epoch >= old.epoch;
        if view.primary == new {
            // It leads a failover away from the new primary, and may have selected the old one
            // already.
            if view.failover_in_progress || view.primary_o_down {
                return Err(NoWitness::FailoverInProgress);
            }
            if !cannot_be_promoted(view, old.address, evidence) {
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

/// Down and disconnected count as the Sentinel sees them now. A remembered priority of 0 counts
/// only if the node stated it after the writes, to the Sentinel or by its assurance: an older 0 may
/// have been raised since. The assurance also excludes a raise, so it counts at once.
fn cannot_be_promoted(view: &SentinelView, node: SocketAddrV4, evidence: Evidence<'_>) -> bool {
    match view.replica(node) {
        // Not known as a replica, so not a candidate. It becomes one only with an INFO of its own,
        // and raises its priority only after it has caught up with this primary.
        None => true,
        Some(replica) => {
            let fresh = replica
                .info_age
                .is_some_and(|info| info + evidence.raise_limit < evidence.age)
                || evidence.assured.contains(&node);
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

    fn ask_with_assurance(
        views: &[SentinelView],
        assured: &[SocketAddrV4],
    ) -> Result<(), NoWitness> {
        ask_at(views, assured, Duration::from_millis(100))
    }

    fn ask_at(
        views: &[SentinelView],
        assured: &[SocketAddrV4],
        age: Duration,
    ) -> Result<(), NoWitness> {
        let primary = Elected {
            address: at(A),
            epoch: 7,
        };
        let case = UncoveredWrites {
            primary,
            uncovered: vec![at(B)],
        };
        witness(
            &case,
            Evidence {
                views,
                majority: 2,
                assured,
                age,
                raise_limit: Duration::from_millis(25),
            },
        )
    }

    fn ask(views: &[SentinelView]) -> Result<(), NoWitness> {
        ask_with_assurance(views, &[])
    }

    #[test]
    fn a_remembered_priority_of_zero_counts_when_the_node_itself_confirms_it() {
        let stale = replica(0, false, false, 900);
        let answers = views(&[stale.clone(), stale]);
        assert_eq!(ask(&answers), Err(NoWitness::Promotable(at(B))));
        assert_eq!(ask_with_assurance(&answers, &[at(B)]), Ok(()));
        // However early after the writes: the assurance excludes a raise that began before.
        assert_eq!(ask_at(&answers, &[at(B)], Duration::ZERO), Ok(()));
        // The assurance alone is not enough: a Sentinel acts on the priority that it remembers.
        let remembered = replica(100, false, false, 900);
        let answers = views(&[remembered.clone(), remembered]);
        assert_eq!(
            ask_with_assurance(&answers, &[at(B)]),
            Err(NoWitness::Promotable(at(B)))
        );
    }

    #[test]
    fn a_policy_has_one_name_on_the_command_line_and_in_the_ledger() {
        let names = [Policy::Replicated, Policy::Available, Policy::None].map(Policy::as_str);
        assert_eq!(names, ["replicated", "available", "none"]);
    }

    #[test]
    fn a_dead_replica_is_witnessed_by_a_majority() {
        let dead = replica(100, true, true, 6000);
        assert_eq!(ask(&views(&[dead.clone(), dead.clone()])), Ok(()));
        assert_eq!(ask(&views(&[dead])), Err(NoWitness::TooFewAnswers));
    }

    #[test]
    fn a_replica_that_is_down_or_disconnected_or_without_an_info_is_no_candidate() {
        let never_heard = ReplicaView {
            info_age: None,
            ..replica(100, false, false, 0)
        };
        let down = replica(100, true, false, 6000);
        let disconnected = replica(100, false, true, 6000);
        for lost in [down, disconnected, never_heard] {
            let answers = views(&[lost.clone(), lost]);
            assert_eq!(ask(&answers), Ok(()), "{answers:?}");
        }
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
        assert_eq!(ask(&views(&[fresh.clone(), fresh.clone()])), Ok(()));
        // A raise that takes its whole limit may have begun before the write.
        let at_the_limit = replica(0, false, false, 75);
        let stale = replica(0, false, false, 150);
        for late in [at_the_limit, stale] {
            assert_eq!(
                ask(&views(&[fresh.clone(), late])),
                Err(NoWitness::Promotable(at(B)))
            );
        }
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
        let answers = views(&[dead.clone(), dead]);
        for (failover_in_progress, primary_o_down) in [(true, false), (false, true)] {
            let mut answers = answers.clone();
            answers[0].failover_in_progress = failover_in_progress;
            answers[0].primary_o_down = primary_o_down;
            assert_eq!(ask(&answers), Err(NoWitness::FailoverInProgress));
        }
    }

    #[test]
    fn an_unannounced_primary_is_witnessed_by_the_old_one_that_follows_it() {
        let old = Elected {
            address: at(A),
            epoch: 7,
        };
        let ask = |follows, views: &[SentinelView]| {
            let age = Duration::from_millis(100);
            let evidence = Evidence {
                views,
                majority: 2,
                assured: &[],
                age,
                raise_limit: Duration::from_millis(25),
            };
            witness_promoted(old, at(B), follows, evidence)
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
        // Announced to one Sentinel, and the old primary has caught up and is promotable there.
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
        // Announced, and that Sentinel is about to fail over again.
        let leads = SentinelView {
            failover_in_progress: true,
            ..view(B, 8)
        };
        let calls_it_down = SentinelView {
            primary_o_down: true,
            ..view(B, 8)
        };
        for away in [leads, calls_it_down] {
            assert_eq!(
                ask(Some(at(B)), &[view(A, 7), away]),
                Err(NoWitness::FailoverInProgress)
            );
        }
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
    fn a_confirmation_of_exactly_the_offset_proves_nothing_of_the_present() {
        let confirmed = |offset| {
            [Confirmed {
                address: at(B),
                offset,
            }]
        };
        assert_eq!(not_followed_beyond(&[at(B)], 100, &confirmed(100)), [at(B)]);
        assert!(not_followed_beyond(&[at(B)], 100, &confirmed(101)).is_empty());
        assert_eq!(not_followed_beyond(&[at(B)], 100, &[]), [at(B)]);
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
            through: 0,
        };
        assert_eq!(found(3, Some(100), 0).form(&batch), Some(Form::Replicated));
        assert_eq!(found(3, Some(99), 7).form(&batch), None);
        assert_eq!(found(3, None, 8).form(&batch), Some(Form::Witnessed));
    }

    #[test]
    fn answers_from_before_the_batchs_connection_acknowledge_nothing() {
        // Another server, with a longer history, may have had this address then.
        let batch = Answered {
            first_round: 4,
            offset: 100,
            number: 0,
        };
        let old = Coverage {
            round: 3,
            replicated: Some(5000),
            witnessed: 9,
            through: 0,
        };
        assert_eq!(old.form(&batch), None);
    }
}
