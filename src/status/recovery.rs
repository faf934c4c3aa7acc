//! From healthy to recovered: what one look at the lab can't say. Pure.

use super::{DataNodeStatus, Named, Status};

/// What a lab had when all its nodes agreed: who was primary, and its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    primary: Named,
    offset: u64,
}

impl Status {
    /// Notes as a problem that a healthy lab is not known to be recovered. `mark` is what the last look
    /// returned; returns what the next one needs.
    pub(super) fn recover(&mut self, mark: Option<Mark>) -> Option<Mark> {
        let primary = self.primary.clone().filter(|_| self.healthy)?;
        let is_primary = |n: &&DataNodeStatus| n.name == primary.node;
        let offset = self.data_nodes.iter().find(is_primary)?.state.up()?.offset;
        let now = Mark { primary, offset };
        let Some(mark) = mark.filter(|m| m.primary == now.primary) else {
            self.add_problem("the replicas have to process what the primary has now".to_owned());
            return Some(now);
        };
        let behind = |n: &&DataNodeStatus| n.state.up().is_none_or(|s| s.offset < mark.offset);
        if let Some(node) = self.data_nodes.iter().find(behind) {
            let problem = format!("{} has not processed offset {}", node.name, mark.offset);
            self.add_problem(problem);
        }
        Some(mark)
    }

    fn add_problem(&mut self, problem: String) {
        self.healthy = false;
        self.problems.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataNodeState, Reached};
    use super::*;

    fn healthy(epoch: u64, primary_at: u64, replica_at: u64) -> Status {
        let node = |name: &str, role, offset| DataNodeStatus {
            name: name.into(),
            address: "127.0.0.11:6379".parse().unwrap(),
            state: Reached::Up(DataNodeState {
                pid: 1,
                role,
                replica_of: None,
                link_up: None,
                promotable: None,
                offset,
                lag_bytes: None,
                replicas: None,
                version: "7.0.15".into(),
            }),
        };
        Status {
            lab: "lab".into(),
            primary: Some(Named {
                node: "a".into(),
                epoch,
            }),
            data_nodes: vec![
                node("a", "primary", primary_at),
                node("b", "replica", replica_at),
            ],
            sentinels: Vec::new(),
            healthy: true,
            problems: Vec::new(),
        }
    }

    #[test]
    fn recovered_is_who_has_processed_what_the_primary_had_when_all_agreed() {
        let mut first = healthy(1, 900, 900);
        let mark = first.recover(None);
        assert!(!first.healthy);
        let mut behind = healthy(1, 1000, 899);
        assert_eq!(behind.recover(mark.clone()), mark);
        assert_eq!(behind.problems, ["b has not processed offset 900"]);
        let mut recovered = healthy(1, 2000, 900);
        assert_eq!(recovered.recover(mark.clone()), mark);
        assert!(recovered.healthy);
        // Another epoch, or no agreement in between: from the beginning.
        assert!(healthy(2, 2000, 2000).recover(mark.clone()) != mark);
        let mut disagreed = healthy(1, 2000, 2000);
        disagreed.add_problem("sentinel-1 is not reachable".into());
        assert_eq!(disagreed.recover(mark), None);
    }
}
