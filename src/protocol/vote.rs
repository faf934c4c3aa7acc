//! The answers of the Sentinels, and the view that a majority of them shares.

use std::net::SocketAddrV4;
use std::time::Duration;

/// The quorum of a Sentinel that is not a full member: more than there are, so that it calls no primary down for all and leads no
/// failover. It votes, and says who is primary, like any other.
pub const PASSIVE_QUORUM: u64 = 1000;

/// What one Sentinel says of the monitored primary and of the other data nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelView {
    /// The node that it calls primary.
    pub primary: SocketAddrV4,
    /// The epoch of the configuration that made it primary; rises at each failover.
    pub config_epoch: u64,
    /// It calls the primary subjectively down.
    pub primary_s_down: bool,
    /// It calls the primary objectively down.
    pub primary_o_down: bool,
    /// It runs a failover, or knows of one.
    pub failover_in_progress: bool,
    /// Time since the primary last answered its PING acceptably.
    pub primary_silent_for: Duration,
    /// The role that the primary last said it has is that of a primary.
    pub primary_says_primary: bool,
    /// Age of what the primary last said of itself (`INFO`).
    pub primary_info_age: Option<Duration>,
    /// It leads no failover by itself: its quorum can't be reached ([`PASSIVE_QUORUM`]).
    pub passive: bool,
    /// The other Sentinels that it knows.
    pub other_sentinels: u64,
    /// How many replicas it knows, listed or not: one that is leaving is not listed any more.
    pub known_replicas: u64,
    /// The replicas that it lists.
    pub replicas: Vec<ReplicaView>,
}

/// What one Sentinel says of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaView {
    /// Where the replica listens.
    pub address: SocketAddrV4,
    /// Its `replica-priority` as last seen; 0 is never promoted.
    pub priority: u64,
    /// It last said that it is a replica. A node that says it is primary gives no new priority.
    pub says_replica: bool,
    /// It counts as subjectively (or objectively) down.
    pub down: bool,
    /// The Sentinel has no connection to it at this moment.
    pub disconnected: bool,
    /// Its link to its primary is up, as last seen.
    pub link_up: bool,
    /// Age of what it last said of itself (`INFO`); `None` when it never said anything.
    pub info_age: Option<Duration>,
}

impl ReplicaView {
    /// Whether this Sentinel, as it sees things now, could promote the replica. The conditions are a
    /// subset of those in `sentinelSelectSlave` (sentinel.c), so that "no" here is a "no" there.
    pub fn promotable(&self) -> bool {
        !self.down && !self.disconnected && self.priority != 0 && self.info_age.is_some()
    }
}

impl SentinelView {
    /// How recently the primary has proved, to this Sentinel, to be alive in that role.
    pub fn primary_proved_within(&self) -> Option<Duration> {
        let info = self
            .primary_info_age
            .filter(|_| self.primary_says_primary)?;
        Some(info.max(self.primary_silent_for))
    }

    /// What it says of the data node at `address`, when it is not the primary.
    pub fn replica(&self, address: SocketAddrV4) -> Option<&ReplicaView> {
        self.replicas.iter().find(|r| r.address == address)
    }
}

/// The primary that a majority of the Sentinels agrees on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Elected {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// The epoch of the configuration that made it primary.
    pub epoch: u64,
}

/// Why no primary could be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPrimary {
    /// Fewer Sentinels than a majority answered.
    #[error(
        "{answered} of {asked} Sentinels answered, {needed} are needed: {}",
        why.as_deref().unwrap_or("is the lab up?")
    )]
    TooFewAnswers {
        /// Sentinels that answered.
        answered: usize,
        /// Sentinels asked.
        asked: usize,
        /// Sentinels that make a majority.
        needed: usize,
        /// Why others did not, where that is known.
        why: Option<String>,
    },
    /// Enough answered, but no majority names the same node at the same epoch.
    #[error("the Sentinels disagree about the primary: {views}")]
    Disagreement {
        /// Who is named, at which epoch, by how many.
        views: String,
    },
}

/// The primary that at least `majority` of the `asked` Sentinels name, at the same epoch.
///
/// # Errors
/// When there is none. Two nodes can't both have a majority, so the highest epoch needs no tie-break.
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

/// Since when, at the latest, every Sentinel that answered has heard `elected` as a primary; none when one has not, names
/// another, or runs a failover: it may be about to promote another node.
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
