//! The lab as one program knows it, short enough to be compared with what others know.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Lab;

/// What all members have to agree on: who they are and how they let each other in. Not what may differ for a while without
/// harm, as time limits do while they are changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// A digest of all of it, behind the version of what it is made of.
    pub digest: String,
    /// The members, as `redis-a 127.0.0.11:6379`.
    pub members: Vec<String>,
    /// The rest, as `quorum = 2`.
    pub rules: Vec<String>,
}

/// Digests of another version are made of something else, and say nothing.
const VERSION: &str = "1:";

impl Description {
    /// That of `lab`.
    pub fn of(lab: &Lab) -> Self {
        let mut members: Vec<String> = lab
            .nodes()
            .map(|node| format!("{} {}", node.name, node.socket()))
            .collect();
        members.sort();
        let rules = vec![
            format!("primary_name = {}", lab.primary_name),
            format!("quorum = {}", lab.quorum),
            format!("security.acl = {}", lab.security.acl),
            format!("security.tls = {}", lab.security.tls),
            format!("security.mutual_tls = {}", lab.security.mutual_tls),
        ];
        let text = [members.join("\n"), rules.join("\n")].join("\n");
        let digest: String = Sha256::digest(text)
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Description {
            digest: format!("{VERSION}{digest}"),
            members,
            rules,
        }
    }

    /// What the `other` says that this one does not, and the reverse; nothing when they agree, or can't be compared.
    pub fn difference(&self, other: &Description) -> Option<String> {
        if !other.digest.starts_with(VERSION) || self.digest == other.digest {
            return None;
        }
        let all = |of: &Description| [of.members.clone(), of.rules.clone()].concat();
        let (own, its) = (all(self), all(other));
        let lacks: Vec<String> = own.iter().filter(|l| !its.contains(l)).cloned().collect();
        let has: Vec<String> = its.iter().filter(|l| !own.contains(l)).cloned().collect();
        let mut parts = Vec::new();
        if !has.is_empty() {
            parts.push(format!("it has {}", has.join(", ")));
        }
        if !lacks.is_empty() {
            parts.push(format!("it lacks {}", lacks.join(", ")));
        }
        if parts.is_empty() {
            parts.push("it does not say where".to_owned());
        }
        Some(parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Lab {
        Lab::parse(include_str!("../../lab.toml"), None).unwrap()
    }

    #[test]
    fn a_member_or_a_rule_makes_a_difference_and_says_which() {
        let mut other = lab();
        other.data_nodes[1].port = 7000;
        other.quorum = 3;
        let difference = Description::of(&lab()).difference(&Description::of(&other));
        assert_eq!(
            difference.unwrap(),
            "it has redis-b 127.0.0.12:7000, quorum = 3; it lacks redis-b 127.0.0.12:6379, quorum = 2"
        );
    }

    #[test]
    fn time_limits_and_the_order_of_nodes_make_none() {
        let mut other = Lab::parse(include_str!("../../lab.toml"), Some("fast")).unwrap();
        other.data_nodes.reverse();
        let (own, its) = (Description::of(&lab()), Description::of(&other));
        assert_eq!(own.difference(&its), None);
        assert_eq!(own.digest, its.digest);
    }

    #[test]
    fn what_is_made_otherwise_is_not_compared() {
        let other = Description {
            digest: "9:ff".into(),
            ..Description::default()
        };
        assert_eq!(Description::of(&lab()).difference(&other), None);
    }
}
