//! Who belongs to a lab, and who is only known to its Sentinels.
//!
//! Sentinels never forget a replica or a Sentinel by themselves. One at an address that `lab.toml` does not state (any
//! more) is a *stranger*: a Sentinel may promote a replica that it knows, whoever listens there now.

use std::net::SocketAddrV4;

use super::vote::SentinelView;

/// The replicas listed by one Sentinel that are no data node of the lab and that it could promote now.
pub fn promotable_strangers<'a>(
    view: &'a SentinelView,
    data_nodes: &'a [SocketAddrV4],
) -> impl Iterator<Item = SocketAddrV4> + 'a {
    let listed = view.replicas.iter();
    listed
        .filter(|r| r.promotable() && !data_nodes.contains(&r.address))
        .map(|r| r.address)
}

/// How many replicas a Sentinel knows without listing them, beyond the lab's own. A data node that leaves is known and not
/// listed; that many more than the lab has are strangers that left in the same way. They can't be promoted:
/// the Sentinel has their priority of 0 from the INFO that took them off its list.
pub fn unlisted_strangers(view: &SentinelView, data_nodes: &[SocketAddrV4]) -> usize {
    let unlisted = usize::try_from(view.known_replicas)
        .unwrap_or(usize::MAX)
        .saturating_sub(view.replicas.len());
    unlisted.saturating_sub(unlisted_members(view, data_nodes))
}

/// The data nodes, beside the primary, that a Sentinel does not list.
fn unlisted_members(view: &SentinelView, data_nodes: &[SocketAddrV4]) -> usize {
    let others = data_nodes.iter().filter(|a| **a != view.primary);
    others.filter(|a| view.replica(**a).is_none()).count()
}

/// Whether a Sentinel knows the data node at `address`: as primary, listed, or among those that it knows without listing them.
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
