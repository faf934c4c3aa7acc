//! The answers of the Sentinels, and the primary that a majority of them names.

use std::net::SocketAddrV4;
use std::time::Duration;

/// The quorum of a Sentinel that is not a full member. It cannot be reached, so the Sentinel
/// considers no primary objectively down and leads no failover. It still votes and names the
/// primary.
pub const PASSIVE_QUORUM: u64 = 1000;

/// One Sentinel's view of the monitored primary and the other data nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelView {
    /// The node that it names as primary.
    pub primary: SocketAddrV4,
    /// The epoch of that configuration; grows with each failover.
    pub config_epoch: u64,
    /// It considers the primary subjectively down.
    pub primary_s_down: bool,
    /// It considers the primary objectively down.
    pub primary_o_down: bool,
    /// It runs a failover, or knows of one.
    pub failover_in_progress: bool,
    /// Time since the primary last gave an acceptable answer to a PING.
    pub primary_silent_for: Duration,
    /// In its last INFO the primary reported the role of a primary.
    pub primary_says_primary: bool,
    /// Age of the primary's last INFO.
    pub primary_info_age: Option<Duration>,
    /// It leads no failover, because its quorum cannot be reached ([`PASSIVE_QUORUM`]).
    pub passive: bool,
    /// Number of other Sentinels that it knows.
    pub other_sentinels: u64,
    /// Number of replicas that it knows, including unlisted ones: a leaving replica is not listed.
    pub known_replicas: u64,
    /// The replicas that it lists.
    pub replicas: Vec<ReplicaView>,
}

/// One Sentinel's view of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaView {
    /// Where the replica listens.
    pub address: SocketAddrV4,
    /// Its `replica-priority` in the last INFO; a replica with 0 is never promoted.
    pub priority: u64,
    /// In its last INFO it reported the role of a replica. A primary's INFO updates no priority.
    pub says_replica: bool,
    /// It is considered subjectively or objectively down.
    pub down: bool,
    /// The Sentinel has no connection to it now.
    pub disconnected: bool,
    /// Its link to its primary was up in the last INFO.
    pub link_up: bool,
    /// Age of its last INFO; `None` if there was none.
    pub info_age: Option<Duration>,
}

impl ReplicaView {
    /// Whether this Sentinel could promote the replica now. The conditions are a subset of those of
    /// `sentinelSelectSlave` (sentinel.c), so a "no" here is a "no" there.
    pub fn promotable(&self) -> bool {
        !self.down && !self.disconnected && self.priority != 0 && self.info_age.is_some()
    }
}

impl SentinelView {
    /// The age of this Sentinel's last proof that the primary is alive in that role.
    pub fn primary_proved_within(&self) -> Option<Duration> {
        let info = self
            .primary_info_age
            .filter(|_| self.primary_says_primary)?;
        Some(info.max(self.primary_silent_for))
    }

    /// Its view of the data node at `address`; `None` for the primary.
    pub fn replica(&self, address: SocketAddrV4) -> Option<&ReplicaView> {
        self.replicas.iter().find(|r| r.address == address)
    }
}

/// The primary that a majority of the Sentinels names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Elected {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// The epoch of the configuration that made it primary.
    pub epoch: u64,
}

/// Why there is no elected primary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPrimary {
    /// Fewer than a majority of the Sentinels answered.
    #[error(
        "{answered} of {asked} Sentinels answered, {needed} are needed: {}",
        why.as_deref().unwrap_or("is the lab up?")
    )]
    TooFewAnswers {
        /// Sentinels that answered.
        answered: usize,
        /// Sentinels asked.
        asked: usize,
        /// The size of a majority.
        needed: usize,
        /// Why the others did not answer, if known.
        why: Option<String>,
    },
    /// Enough answered, but no majority names the same node at the same epoch.
    #[error("the Sentinels disagree about the primary: {views}")]
    Disagreement {
        /// The named nodes, with epoch and number of Sentinels.
        views: String,
    },
}

/// The primary that at least `majority` of the `asked` Sentinels name at one epoch.
///
/// # Errors
/// If there is none. Two nodes cannot both have a majority, so the highest epoch needs no
/// tie-break.
pub fn elect(views: &[SentinelView], asked: usize, majority: usize) -> Result<Elected, NoPrimary> {
    let mut tally: Vec<(Elected, usize)> = Vec::new();
    for view in views {
        let named = Elected {
            address: view.primary,
            epoch: view.config_epoch,
        };
        match tally.iter_mut().find(|(elected, _)| *elected == named) {
            Some((_, votes)) => *votes += 1,
            None => tally.push((named, 1)),
        }
    }
    if let Some((elected, _)) = tally.iter().find(|(_, votes)| *votes >= majority) {
        return Ok(*elected);
    }
    if views.len() < majority {
        return Err(NoPrimary::TooFewAnswers {
            answered: views.len(),
            asked,
            needed: majority,
            why: None,
        });
    }
    tally.sort_by_key(|(elected, _)| std::cmp::Reverse(elected.epoch));
    let list: Vec<String> = tally
        .iter()
        .map(|(e, votes)| format!("{} at epoch {} by {votes}", e.address, e.epoch))
        .collect();
    Err(NoPrimary::Disagreement {
        views: list.join(", "),
    })
}

/// The age of the oldest proof, over all Sentinels that answered, that `elected` is alive as
/// primary. `None` if one of them has no proof, names another node, or runs a failover, because it
/// may be about to promote another node.
pub fn settled_within(views: &[SentinelView], elected: Elected) -> Option<Duration> {
    let agrees = |view: &SentinelView| {
        let named = (view.primary, view.config_epoch) == (elected.address, elected.epoch);
        view.primary_proved_within()
            .filter(|_| named && !view.failover_in_progress)
    };
    let mut longest = Duration::ZERO;
    for view in views {
        longest = longest.max(agrees(view)?);
    }
    Some(longest)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn view(primary: &str, epoch: u64) -> SentinelView {
        SentinelView {
            primary: primary.parse().unwrap(),
            config_epoch: epoch,
            primary_s_down: false,
            primary_o_down: false,
            failover_in_progress: false,
            primary_silent_for: Duration::from_millis(40),
            primary_says_primary: true,
            primary_info_age: Some(Duration::from_millis(400)),
            passive: false,
            other_sentinels: 2,
            known_replicas: 0,
            replicas: Vec::new(),
        }
    }

    const A: &str = "127.0.0.11:6379";
    const B: &str = "127.0.0.12:6379";

    #[test]
    fn a_majority_at_one_epoch_names_the_primary() {
        let elected = elect(&[view(A, 1), view(B, 2), view(B, 2)], 3, 2).unwrap();
        assert_eq!(
            elected,
            Elected {
                address: B.parse().unwrap(),
                epoch: 2
            }
        );
    }

    #[test]
    fn a_higher_epoch_alone_names_nobody() {
        let elected = elect(&[view(A, 1), view(A, 1), view(B, 99)], 3, 2).unwrap();
        assert_eq!(elected.epoch, 1);
        assert!(matches!(
            elect(&[view(A, 1), view(B, 99)], 3, 2),
            Err(NoPrimary::Disagreement { .. })
        ));
    }

    #[test]
    fn a_replica_that_is_lost_or_has_priority_zero_or_gave_no_info_is_not_promotable() {
        let good = ReplicaView {
            address: B.parse().unwrap(),
            priority: 100,
            says_replica: true,
            down: false,
            disconnected: false,
            link_up: true,
            info_age: Some(Duration::ZERO),
        };
        assert!(good.promotable());
        let spoil: [fn(&mut ReplicaView); 4] = [
            |r| r.down = true,
            |r| r.disconnected = true,
            |r| r.priority = 0,
            |r| r.info_age = None,
        ];
        for spoil in spoil {
            let mut replica = good.clone();
            spoil(&mut replica);
            assert!(!replica.promotable(), "{replica:?}");
        }
    }

    #[test]
    fn one_answer_of_three_is_too_few() {
        assert_eq!(
            elect(&[view(A, 1)], 3, 2),
            Err(NoPrimary::TooFewAnswers {
                answered: 1,
                asked: 3,
                needed: 2,
                why: None
            })
        );
    }

    #[test]
    fn the_same_node_at_two_epochs_is_no_agreement() {
        assert!(elect(&[view(A, 1), view(A, 2)], 3, 2).is_err());
    }

    #[test]
    fn a_primary_is_settled_when_every_sentinel_that_answers_hears_it_and_runs_no_failover() {
        let elected = elect(&[view(A, 1), view(A, 1)], 3, 2).unwrap();
        let settled =
            |third: SentinelView| settled_within(&[view(A, 1), view(A, 1), third], elected);
        let ms = Duration::from_millis;
        assert_eq!(settled(view(A, 1)), Some(ms(400)));
        let silent = SentinelView {
            primary_silent_for: ms(900),
            ..view(A, 1)
        };
        assert_eq!(settled(silent), Some(ms(900)));
        let leads = SentinelView {
            failover_in_progress: true,
            ..view(A, 1)
        };
        let heard_a_replica = SentinelView {
            primary_says_primary: false,
            ..view(A, 1)
        };
        let never_heard = SentinelView {
            primary_info_age: None,
            ..view(A, 1)
        };
        for dissents in [leads, heard_a_replica, never_heard, view(B, 2), view(A, 0)] {
            assert_eq!(settled(dissents.clone()), None, "{dissents:?}");
        }
    }
}
