//! A short description of the lab as one program knows it, for comparison with that of others.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Lab;

/// What all members must agree on: their names, addresses and security settings. Settings that may
/// differ for a while, such as time limits, are not included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// A digest of the rest, prefixed with the version of its form.
    pub digest: String,
    /// The members, such as `redis-a 127.0.0.11:6379`.
    pub members: Vec<String>,
    /// The settings, such as `quorum = 2`.
    pub rules: Vec<String>,
}

/// Prefix of the digest. Digests with another prefix cannot be compared.
const VERSION: &str = "1:";

impl Description {
    /// The description of `lab`.
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

    /// What `other` has that this one lacks, and the reverse; `None` if they agree or cannot be
    /// compared.
    pub fn difference(&self, other: &Description) -> Option<String> {
        if !other.digest.starts_with(VERSION) || self.digest == other.digest {
            return None;
        }
        let all = |of: &Description| [of.members.clone(), of.rules.clone()].concat();
        let (ours, theirs) = (all(self), all(other));
        let lacks: Vec<String> = ours
            .iter()
            .filter(|l| !theirs.contains(l))
            .cloned()
            .collect();
        let has: Vec<String> = theirs
            .iter()
            .filter(|l| !ours.contains(l))
            .cloned()
            .collect();
        let mut parts = Vec::new();
        if !has.is_empty() {
            parts.push(format!("it has {}", has.join(", ")));
        }
        if !lacks.is_empty() {
            parts.push(format!("it lacks {}", lacks.join(", ")));
        }
        if parts.is_empty() {
            parts.push("it does not state the difference".to_owned());
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
    fn another_member_or_setting_is_a_difference_that_is_named() {
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
        let (ours, theirs) = (Description::of(&lab()), Description::of(&other));
        assert_eq!(ours.difference(&theirs), None);
        assert_eq!(ours.digest, theirs.digest);
    }

    #[test]
    fn a_digest_of_another_version_is_not_compared() {
        let other = Description {
            digest: "9:ff".into(),
            ..Description::default()
        };
        assert_eq!(Description::of(&lab()).difference(&other), None);
    }
}
