//! What holds while something is wrong: whether writes are taken, and what the next loss would cost.

use super::{Code, DataNodeStatus, Problem, Reached, Status, judge};

/// In sentences; nothing in a healthy lab.
pub(super) fn stakes(status: &Status) -> Vec<String> {
    if status.healthy {
        return Vec::new();
    }
    let mut found = vec![of_data(status)];
    found.extend(of_sentinels(status));
    found
}

fn of_data(status: &Status) -> String {
    let Some(primary) = serving(status) else {
        if let Some(name) = unnamed(status) {
            return format!(
                "{name} says that it is primary, and may take writes; do not stop it before the Sentinels agree"
            );
        }
        return "no data node takes writes; a record that was acknowledged is on the disk of a data node above: remove none of them"
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
            "{primary} takes writes, and is the only data node with every acknowledged record: if its disk is lost before another is \
             in sync, records are lost"
        )
    } else {
        format!(
            "{primary} takes writes, and {} has every acknowledged record too",
            replicas.join(", ")
        )
    }
}

/// The primary, if it takes writes.
fn serving(status: &Status) -> Option<&str> {
    let primary = &status.primary.as_ref()?.node;
    let mut nodes = status.data_nodes.iter();
    let node = nodes.find(|node| node.name == *primary)?;
    let state = node.state.up()?;
    let refuses = |problem: &Problem| {
        let codes = [Code::MembersUnusable, Code::MemoryFull, Code::DiskRefuses];
        problem.node.as_deref() == Some(primary) && codes.contains(&problem.code)
    };
    let serves =
        state.role == "primary" && !judge::is_closed(node) && !status.problems.iter().any(refuses);
    serves.then_some(primary.as_str())
}

/// Without a primary that the Sentinels name and that answers, a data node that says that it is primary.
fn unnamed(status: &Status) -> Option<&str> {
    let of = |name: &str| status.data_nodes.iter().find(|node| node.name == *name);
    let named = status.primary.as_ref().and_then(|named| of(&named.node));
    if named.is_some_and(|node| node.state.up().is_some()) {
        return None;
    }
    let is_primary = |node: &&DataNodeStatus| node.state.up().is_some_and(|s| s.role == "primary");
    let mut nodes = status.data_nodes.iter().filter(is_primary);
    nodes
        .find(|node| !judge::is_closed(node))
        .map(|node| node.name.as_str())
}

fn of_sentinels(status: &Status) -> Option<String> {
    let all = status.sentinels.len();
    let answer = |node: &&super::SentinelStatus| matches!(node.state, Reached::Up(_));
    let answering = status.sentinels.iter().filter(answer).count();
    let majority = all / 2 + 1;
    if answering < majority {
        Some(format!(
            "{answering} of {all} Sentinels answer, so failovers may not come about, and a write is acknowledged only while every data node \
             confirms it"
        ))
    } else if answering == majority && answering < all {
        Some(format!(
            "{answering} of {all} Sentinels answer: with one more lost, nobody can be promoted"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::{healthy, up};
    use super::*;

    /// A part of each sentence, in a lab that was changed so.
    fn says(change: fn(&mut Status), parts: &[&str]) {
        let mut status = healthy();
        status.healthy = false;
        change(&mut status);
        let said = stakes(&status);
        assert_eq!(said.len(), parts.len(), "{said:#?}");
        for (said, part) in said.iter().zip(parts) {
            assert!(said.contains(part), "{part:?} in {said:?}");
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
        says(|_| {}, &["redis-b has every acknowledged record too"]);
        let only: &[&str] = &["redis-a takes writes, and is the only data node"];
        says(
            |s| s.data_nodes[1].state = Reached::Unreachable("x".into()),
            only,
        );
        says(
            |s| up(&mut s.data_nodes[1].state).link_up = Some(false),
            only,
        );
        says(
            |s| up(&mut s.data_nodes[1].state).promotable = Some(false),
            only,
        );
        let none: &[&str] = &["no data node takes writes"];
        says(
            |s| s.primary = None,
            &["redis-a says that it is primary, and may take writes"],
        );
        says(
            |s| {
                s.primary = None;
                up(&mut s.data_nodes[0].state).role = "replica";
            },
            none,
        );
        says(
            |s| {
                let full = Problem::of_node(Code::MemoryFull, "redis-a", "x");
                s.problems.push(full);
            },
            none,
        );
        says(
            |s| s.data_nodes[0].state = Reached::Unreachable("x".into()),
            none,
        );
        says(
            |s| s.data_nodes[0].holds = Some("term 1, closed".into()),
            none,
        );
    }

    #[test]
    fn the_sentinels_are_counted() {
        says(
            |s| lose_sentinels(s, 1),
            &["redis-b has every", "with one more lost"],
        );
        let two_lost = |s: &mut Status| {
            lose_sentinels(s, 2);
            s.primary = None;
        };
        says(
            two_lost,
            &[
                "redis-a says that it is primary",
                "failovers may not come about, and a write",
            ],
        );
    }
}
