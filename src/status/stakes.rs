//! What is at stake in a lab that is not healthy: whether writes are accepted, and what the next
//! loss would cost.

use super::{DataNodeStatus, Problem, ProblemCode, Reached, Status, judge};

/// One sentence each. Empty in a healthy lab.
pub(super) fn stakes(status: &Status) -> Vec<String> {
    if status.healthy {
        return Vec::new();
    }
    let mut found = vec![data_stakes(status)];
    found.extend(sentinel_stakes(status));
    found
}

fn data_stakes(status: &Status) -> String {
    let Some(primary) = writable_primary(status) else {
        if let Some(name) = unnamed_primary(status) {
            return format!(
                "{name} reports that it is primary and may take writes; do not stop it before the Sentinels agree"
            );
        }
        return "no data node takes writes; every acknowledged record is on the disk of a data node above, so do not remove their state"
            .to_owned();
    };
    let replicas = status.data_nodes.iter().filter(|node| {
        let follows = node.state.up().is_some_and(|state| {
            state.replica_of.as_deref() == Some(primary)
                && state.link_up == Some(true)
                && state.promotable == Some(true)
        });
        follows && judge::not_full(status, &node.name).is_none()
    });
    let replicas: Vec<&str> = replicas.map(|node| node.name.as_str()).collect();
    if replicas.is_empty() {
        format!(
            "{primary} takes writes and is the only data node with every acknowledged record; if its disk is lost before another \
             node is in sync, records are lost"
        )
    } else {
        format!(
            "{primary} takes writes; every acknowledged record is also on {}",
            replicas.join(", ")
        )
    }
}

/// The named primary, if it takes writes.
fn writable_primary(status: &Status) -> Option<&str> {
    let primary = &status.primary.as_ref()?.node;
    let mut nodes = status.data_nodes.iter();
    let node = nodes.find(|node| node.name == *primary)?;
    let state = node.state.up()?;
    let refuses = |problem: &Problem| {
        let codes = [
            ProblemCode::MembersUnusable,
            ProblemCode::MemoryFull,
            ProblemCode::DiskRefuses,
        ];
        problem.node.as_deref() == Some(primary) && codes.contains(&problem.code)
    };
    let serves = state.role == "primary" && !node.closed && !status.problems.iter().any(refuses);
    serves.then_some(primary.as_str())
}

/// If no named primary answers: a data node that reports that it is primary.
fn unnamed_primary(status: &Status) -> Option<&str> {
    let node = |name: &str| status.data_nodes.iter().find(|node| node.name == *name);
    let named = status.primary.as_ref().and_then(|named| node(&named.node));
    if named.is_some_and(|node| node.state.up().is_some()) {
        return None;
    }
    let is_primary = |node: &&DataNodeStatus| node.state.up().is_some_and(|s| s.role == "primary");
    let mut nodes = status.data_nodes.iter().filter(is_primary);
    nodes
        .find(|node| !node.closed)
        .map(|node| node.name.as_str())
}

fn sentinel_stakes(status: &Status) -> Option<String> {
    let all = status.sentinels.len();
    let answer = |node: &&super::SentinelStatus| matches!(node.state, Reached::Up(_));
    let answering = status.sentinels.iter().filter(answer).count();
    let majority = all / 2 + 1;
    if answering < majority {
        Some(format!(
            "{answering} of {all} Sentinels answer: there may be no failover, and a write is acknowledged only if every data node \
             confirms it"
        ))
    } else if answering == majority && answering < all {
        Some(format!(
            "{answering} of {all} Sentinels answer: if one more is lost, no node can be promoted"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::{healthy, up};
    use super::*;

    /// Expects sentences with these parts, in a changed lab.
    fn assert_stakes(change: fn(&mut Status), parts: &[&str]) {
        let mut status = healthy();
        status.healthy = false;
        change(&mut status);
        let found = stakes(&status);
        assert_eq!(found.len(), parts.len(), "{found:#?}");
        for (sentence, part) in found.iter().zip(parts) {
            assert!(sentence.contains(part), "{part:?} in {sentence:?}");
        }
    }

    fn lose_sentinels(status: &mut Status, number: usize) {
        for sentinel in &mut status.sentinels[..number] {
            sentinel.state = Reached::Unreachable("refused".into());
        }
    }

    #[test]
    fn a_healthy_lab_has_nothing_at_stake() {
        assert_eq!(stakes(&healthy()), Vec::<String>::new());
    }

    #[test]
    fn the_copies_are_counted() {
        assert_stakes(|_| {}, &["every acknowledged record is also on redis-b"]);
        let only: &[&str] = &["redis-a takes writes and is the only data node"];
        assert_stakes(
            |s| s.data_nodes[1].state = Reached::Unreachable("x".into()),
            only,
        );
        assert_stakes(
            |s| up(&mut s.data_nodes[1].state).link_up = Some(false),
            only,
        );
        assert_stakes(
            |s| up(&mut s.data_nodes[1].state).promotable = Some(false),
            only,
        );
        let none: &[&str] = &["no data node takes writes"];
        assert_stakes(
            |s| s.primary = None,
            &["redis-a reports that it is primary and may take writes"],
        );
        assert_stakes(
            |s| {
                s.primary = None;
                up(&mut s.data_nodes[0].state).role = "replica";
            },
            none,
        );
        assert_stakes(
            |s| {
                let full = Problem::of_node(ProblemCode::MemoryFull, "redis-a", "x");
                s.problems.push(full);
            },
            none,
        );
        assert_stakes(
            |s| s.data_nodes[0].state = Reached::Unreachable("x".into()),
            none,
        );
        assert_stakes(|s| s.data_nodes[0].closed = true, none);
    }

    #[test]
    fn the_sentinels_are_counted() {
        assert_stakes(
            |s| lose_sentinels(s, 1),
            &["also on redis-b", "if one more is lost"],
        );
        let two_lost = |s: &mut Status| {
            lose_sentinels(s, 2);
            s.primary = None;
        };
        assert_stakes(
            two_lost,
            &[
                "redis-a reports that it is primary",
                "there may be no failover, and a write",
            ],
        );
    }
}
