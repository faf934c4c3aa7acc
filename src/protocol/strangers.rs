//! Strangers: servers that a Sentinel knows and that are neither in `lab.toml` nor in the list of
//! members.
//!
//! Sentinels never forget a replica or a Sentinel by themselves. A Sentinel may promote a replica
//! that it knows, whatever server listens at that address now.

use std::net::SocketAddrV4;

use super::vote::SentinelView;

/// The listed replicas that are no data nodes of the lab and that this Sentinel could promote now.
pub fn promotable_strangers<'a>(
    view: &'a SentinelView,
    data_nodes: &'a [SocketAddrV4],
) -> impl Iterator<Item = SocketAddrV4> + 'a {
    let listed = view.replicas.iter();
    listed
        .filter(|r| r.promotable() && !data_nodes.contains(&r.address))
        .map(|r| r.address)
}

/// The number of unlisted strangers: replicas that a Sentinel knows without listing them, minus the
/// unlisted data nodes of the lab. A leaving data node is known and not listed. These strangers
/// cannot be promoted: the INFO that removed them from the Sentinel's list also stated their
/// priority of 0.
pub fn unlisted_strangers(view: &SentinelView, data_nodes: &[SocketAddrV4]) -> usize {
    let unlisted = usize::try_from(view.known_replicas)
        .unwrap_or(usize::MAX)
        .saturating_sub(view.replicas.len());
    unlisted.saturating_sub(unlisted_members(view, data_nodes))
}

/// The number of data nodes, other than the primary, that a Sentinel does not list.
fn unlisted_members(view: &SentinelView, data_nodes: &[SocketAddrV4]) -> usize {
    let others = data_nodes.iter().filter(|a| **a != view.primary);
    others.filter(|a| view.replica(**a).is_none()).count()
}

/// Whether a Sentinel may know the data node at `address`: as primary, as a listed replica, or as
/// one that it knows without listing it.
pub fn may_know(view: &SentinelView, address: SocketAddrV4) -> bool {
    view.primary == address
        || view.replica(address).is_some()
        || view.known_replicas > view.replicas.len() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::vote::ReplicaView;
    use super::super::vote::tests::view;
    use super::*;

    const A: &str = "127.0.0.11:6379";
    const B: &str = "127.0.0.12:6379";
    const STRANGER: &str = "127.0.0.99:6379";

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    fn replica(address: &str, down: bool) -> ReplicaView {
        ReplicaView {
            address: at(address),
            priority: 100,
            says_replica: true,
            down,
            disconnected: down,
            link_up: !down,
            info_age: Some(Duration::from_millis(200)),
        }
    }

    fn knows(known: u64, replicas: Vec<ReplicaView>) -> SentinelView {
        SentinelView {
            known_replicas: known,
            replicas,
            ..view(A, 3)
        }
    }

    #[test]
    fn a_stranger_that_could_be_promoted_is_found_beside_a_good_replica() {
        let lab = [at(A), at(B)];
        let view = knows(2, vec![replica(B, false), replica(STRANGER, false)]);
        let found: Vec<_> = promotable_strangers(&view, &lab).collect();
        assert_eq!(found, [at(STRANGER)]);
        let down = knows(2, vec![replica(B, false), replica(STRANGER, true)]);
        assert_eq!(promotable_strangers(&down, &lab).count(), 0);
    }

    #[test]
    fn a_data_node_that_left_is_known_without_being_listed_and_one_more_is_a_stranger() {
        let lab = [at(A), at(B)];
        let left = knows(1, vec![]);
        assert_eq!(unlisted_strangers(&left, &lab), 0);
        assert!(may_know(&left, at(B)));
        let two = knows(2, vec![]);
        assert_eq!(unlisted_strangers(&two, &lab), 1);
        let beside = knows(2, vec![replica(B, false)]);
        assert_eq!(unlisted_strangers(&beside, &lab), 1);
        let reset = knows(0, vec![]);
        assert!(!may_know(&reset, at(B)) && may_know(&reset, at(A)));
    }
}
