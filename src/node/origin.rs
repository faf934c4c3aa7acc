//! The lab that a node's state belongs to, compared with the lab of `lab.toml`. Pure.
//!
//! It is noted in comments of the node's config file, which Redis and Sentinel keep when they
//! rewrite it. So the note and the state change in one step.

use std::net::SocketAddrV4;

use crate::config::{Lab, Node, NodeKind};

use super::conf::Conf;

/// The lab that a state belongs to, as far as the state depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The name under which the Sentinels monitor the primary.
    pub primary_name: String,
    /// Every node's name and address.
    pub nodes: Vec<(String, SocketAddrV4)>,
}

/// The differences between the lab of a state and that of `lab.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Of what.
    pub(super) what: String,
    /// In the state.
    pub(super) was: String,
    /// In `lab.toml`.
    pub(super) now: String,
}

impl Origin {
    /// The note for `lab`.
    pub fn of(lab: &Lab) -> Self {
        Origin {
            primary_name: lab.primary_name.clone(),
            nodes: lab.nodes().map(|n| (n.name.clone(), n.socket())).collect(),
        }
    }

    /// The note in a config file; `None` in one of an earlier version, or if a line of it is
    /// missing.
    pub(super) fn read(conf: &Conf) -> Option<Self> {
        let notes = conf.notes();
        let mut primary_name = None;
        let mut nodes = Vec::new();
        for note in &notes {
            match note.as_slice() {
                ["primary-name", name] => primary_name = Some((*name).to_owned()),
                ["node", name, address] => nodes.push(((*name).to_owned(), address.parse().ok()?)),
                _ => {}
            }
        }
        Some(Origin {
            primary_name: primary_name?,
            nodes,
        })
    }

    /// Writes the note to a config file, and keeps the old addresses of moved nodes.
    pub(super) fn note(&self, conf: &mut Conf) {
        let moved = moved_from(conf);
        self.note_with(conf, &moved);
    }

    fn note_with(&self, conf: &mut Conf, moved: &[(String, SocketAddrV4)]) {
        let name = format!("primary-name {}", self.primary_name);
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|(name, address)| format!("node {name} {address}"));
        let moved = moved.iter();
        let moved = moved.map(|(name, from)| format!("moved {name} {from}"));
        let notes = std::iter::once(name).chain(nodes).chain(moved);
        conf.set_notes(&notes.collect::<Vec<_>>());
    }

    /// Writes the note after an operator has moved the lab from `old`.
    pub(super) fn note_move(&self, old: &Origin, conf: &mut Conf) {
        let mut moved = moved_from(conf);
        for (name, was) in &old.nodes {
            let elsewhere = self.address(name).is_some_and(|now| now != *was);
            let from = (name.clone(), *was);
            if elsewhere && !moved.contains(&from) {
                moved.push(from);
            }
        }
        self.note_with(conf, &moved);
    }

    /// The address of the node of that name.
    pub(super) fn address(&self, name: &str) -> Option<SocketAddrV4> {
        let found = self.nodes.iter().find(|(n, _)| n == name);
        found.map(|(_, address)| *address)
    }

    /// The node that was at that address.
    pub(super) fn node_at(&self, address: SocketAddrV4) -> Option<&str> {
        let found = self.nodes.iter().find(|(_, a)| *a == address);
        found.map(|(name, _)| name.as_str())
    }

    /// The first difference to `now` in what both have.
    pub(super) fn difference(&self, now: &Origin) -> Option<Difference> {
        if self.primary_name != now.primary_name {
            return Some(name_difference(&self.primary_name, now));
        }
        let both = self.nodes.iter();
        let mut both = both.filter_map(|(name, was)| Some((name, was, now.address(name)?)));
        let (name, was, now) = both.find(|(_, was, now)| **was != *now)?;
        Some(address_difference(name, was.to_string(), now))
    }
}

/// Names and old addresses of nodes that an operator has moved with `halab move`.
pub(super) fn moved_from(conf: &Conf) -> Vec<(String, SocketAddrV4)> {
    let notes = conf.notes().into_iter();
    let moved = notes.filter_map(|note| match note.as_slice() {
        ["moved", name, from] => Some(((*name).to_owned(), from.parse().ok()?)),
        _ => None,
    });
    moved.collect()
}

/// The first difference between the lab of the state with `conf` and `lab.toml`, with which the
/// node must not start: another name of the primary, or another address of any node. Only `halab
/// move` may change them.
pub(super) fn differs(conf: &Conf, lab: &Lab, node: &Node) -> Option<Difference> {
    let now = Origin::of(lab);
    let own = announced(conf, node.kind);
    if let Some(was) = own.filter(|was| *was != node.socket().to_string()) {
        return Some(address_difference(&node.name, was, node.socket()));
    }
    let noted = Origin::read(conf);
    match node.kind {
        NodeKind::Data => noted?.difference(&now),
        NodeKind::Sentinel => {
            let monitored = monitored(conf);
            if let Some((other, _)) = monitored.iter().find(|(n, _)| *n != now.primary_name) {
                return Some(name_difference(other, &now));
            }
            match noted {
                Some(was) => was.difference(&now),
                None => monitors_elsewhere(conf, lab, monitored.first()?.1),
            }
        }
    }
}

/// For a state folder without a note: the difference if the monitored primary is at no address of a
/// data node. If the Sentinel knows all data nodes as its replicas, the primary is a stranger that
/// was promoted, and the state is of this lab.
fn monitors_elsewhere(conf: &Conf, lab: &Lab, at: Option<SocketAddrV4>) -> Option<Difference> {
    let at = at?;
    let known = known_replicas(conf, &lab.primary_name);
    let missing = |n: &&Node| !known.contains(&n.socket());
    let missing = lab.data_nodes.iter().find(missing)?;
    let elsewhere = lab.data_node_at(at).is_none();
    elsewhere.then(|| address_difference("the primary", at.to_string(), missing.socket()))
}

fn name_difference(was: &str, now: &Origin) -> Difference {
    Difference {
        what: "primary_name".into(),
        was: was.to_owned(),
        now: now.primary_name.clone(),
    }
}

fn address_difference(name: &str, was: String, now: SocketAddrV4) -> Difference {
    Difference {
        what: format!("the address of {name}"),
        was,
        now: now.to_string(),
    }
}

/// The address at which the node of that file announces itself, if it is there.
pub(super) fn announced(conf: &Conf, kind: NodeKind) -> Option<String> {
    let value = |key: &str| {
        let value = match kind {
            NodeKind::Data => conf.get(&[&format!("replica-{key}")]),
            NodeKind::Sentinel => conf.get(&["sentinel", key]),
        };
        value.and_then(|a| a.first().map(|v| v.trim_matches('"').to_owned()))
    };
    Some(format!(
        "{}:{}",
        value("announce-ip")?,
        value("announce-port")?
    ))
}

/// The names under which a Sentinel monitors a primary, each with the address if that is one.
pub(super) fn monitored(conf: &Conf) -> Vec<(String, Option<SocketAddrV4>)> {
    let lines = conf.get_all(&["sentinel", "monitor"]);
    let lines = lines.into_iter().filter_map(|line| match line.as_slice() {
        [name, ip, port, ..] => Some((name.clone(), format!("{ip}:{port}").parse().ok())),
        _ => None,
    });
    lines.collect()
}

fn known_replicas(conf: &Conf, name: &str) -> Vec<SocketAddrV4> {
    let lines = conf.get_all(&["sentinel", "known-replica", name]);
    let lines = lines.into_iter().filter_map(|line| match line.as_slice() {
        [ip, port, ..] => format!("{ip}:{port}").parse().ok(),
        _ => None,
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Lab {
        Lab::parse(include_str!("../../lab.toml"), None).unwrap()
    }

    const DATA: &str = "replica-announce-ip 127.0.0.11\nreplica-announce-port 6379\n";
    const SENTINEL: &str = "sentinel announce-ip \"127.0.0.21\"\nsentinel announce-port 26379\n\
        sentinel monitor halab 127.0.0.11 6379 2\nsentinel known-replica halab 127.0.0.12 6379\n";

    fn noted(text: &str, lab: &Lab) -> Conf {
        let mut conf = Conf::parse(text);
        Origin::of(lab).note(&mut conf);
        conf
    }

    fn what(conf: &Conf, lab: &Lab, node: &Node) -> Option<String> {
        differs(conf, lab, node).map(|d| format!("{}: {} -> {}", d.what, d.was, d.now))
    }

    #[test]
    fn the_lab_that_was_noted_is_read_again_and_differs_in_nothing() {
        let lab = lab();
        let conf = noted(SENTINEL, &lab);
        assert_eq!(Origin::read(&conf), Some(Origin::of(&lab)));
        assert_eq!(what(&conf, &lab, &lab.sentinels[0]), None);
        assert_eq!(what(&noted(DATA, &lab), &lab, &lab.data_nodes[0]), None);
        // Of an earlier version.
        assert_eq!(what(&Conf::parse(SENTINEL), &lab, &lab.sentinels[0]), None);
        assert_eq!(what(&Conf::parse(DATA), &lab, &lab.data_nodes[0]), None);
    }

    #[test]
    fn another_name_and_another_address_are_seen_by_both_kinds() {
        let old = lab();
        let mut renamed = lab();
        renamed.primary_name = "other".into();
        let (data, sentinel) = (&old.data_nodes[0], &old.sentinels[0]);
        let name = Some("primary_name: halab -> other".to_owned());
        assert_eq!(what(&noted(DATA, &old), &renamed, data), name);
        assert_eq!(what(&noted(SENTINEL, &old), &renamed, sentinel), name);
        assert_eq!(what(&Conf::parse(SENTINEL), &renamed, sentinel), name);
        // A second one beside the right one.
        let both = format!("{SENTINEL}sentinel monitor older 127.0.0.11 6379 2\n");
        let older = Some("primary_name: older -> halab".to_owned());
        assert_eq!(what(&noted(&both, &old), &old, sentinel), older);

        let moved = lab().relocated([127, 0, 7]);
        let own = "the address of redis-a: 127.0.0.11:6379 -> 127.0.7.11:6379";
        let data = &moved.data_nodes[0];
        assert_eq!(what(&noted(DATA, &old), &moved, data), Some(own.into()));
        assert_eq!(what(&Conf::parse(DATA), &moved, data), Some(own.into()));
    }

    #[test]
    fn that_another_node_has_moved_is_seen() {
        let old = lab();
        let mut moved = lab();
        moved.data_nodes[1].address = "127.0.0.13".parse().unwrap();
        let sentinel = &moved.sentinels[0];
        let other = "the address of redis-b: 127.0.0.12:6379 -> 127.0.0.13:6379";
        assert_eq!(
            what(&noted(SENTINEL, &old), &moved, sentinel),
            Some(other.into())
        );
        let data = &moved.data_nodes[0];
        assert_eq!(what(&noted(DATA, &old), &moved, data), Some(other.into()));
        // Moved by an operator: it is that lab, and from where it came is known from then on.
        let mut conf = noted(DATA, &old);
        Origin::of(&moved).note_move(&Origin::of(&old), &mut conf);
        assert_eq!(what(&conf, &moved, data), None);
        let from = [("redis-b".to_owned(), old.data_nodes[1].socket())];
        assert_eq!(moved_from(&conf), from);
        Origin::of(&moved).note(&mut conf);
        assert_eq!(moved_from(&conf), from);
        // Further moves are added, each place once.
        for (from, to) in [(&moved, &old), (&old, &moved), (&moved, &old)] {
            Origin::of(to).note_move(&Origin::of(from), &mut conf);
        }
        let back = ("redis-b".to_owned(), moved.data_nodes[1].socket());
        assert_eq!(moved_from(&conf), [from[0].clone(), back]);
        // Without a note: the primary is nowhere in lab.toml.
        let mut primary = lab();
        primary.data_nodes[0].address = "127.0.0.13".parse().unwrap();
        let elsewhere = "the address of the primary: 127.0.0.11:6379 -> 127.0.0.13:6379";
        assert_eq!(
            what(&Conf::parse(SENTINEL), &primary, &primary.sentinels[0]),
            Some(elsewhere.into())
        );
    }

    #[test]
    fn a_stranger_that_was_promoted_is_no_other_lab() {
        let lab = lab();
        let promoted = "sentinel announce-ip 127.0.0.21\nsentinel announce-port 26379\n\
            sentinel monitor halab 127.0.0.99 6379 2\nsentinel known-replica halab 127.0.0.12 6379\n\
            sentinel known-replica halab 127.0.0.11 6379\n";
        assert_eq!(what(&Conf::parse(promoted), &lab, &lab.sentinels[0]), None);
    }
}
