//! Moves the config file of a node from one lab to another: other addresses, another name of the
//! primary. Pure.
//!
//! Epochs, votes, the Sentinel's id and everything else stay. All addresses are replaced at once,
//! so that two nodes may swap theirs.

use std::net::SocketAddrV4;

use crate::config::NodeKind;

use crate::node::conf::{Change, Conf};
use crate::node::origin::{Origin, announced, monitored};

/// Directives of a Sentinel that are about one primary: their first argument is its name.
const OF_A_PRIMARY: [&str; 15] = [
    "monitor",
    "down-after-milliseconds",
    "failover-timeout",
    "parallel-syncs",
    "notification-script",
    "client-reconfig-script",
    "auth-pass",
    "auth-user",
    "config-epoch",
    "leader-epoch",
    "known-slave",
    "known-replica",
    "known-sentinel",
    "rename-command",
    "master-reboot-down-after-period",
];

/// Those of them that also have an address.
const WITH_ADDRESS: [&str; 4] = ["monitor", "known-slave", "known-replica", "known-sentinel"];

/// A moved config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MovedConf {
    /// The file.
    pub(super) conf: Conf,
    /// Each change, in words.
    pub(super) changes: Vec<String>,
}

/// Moves the config file of the node `name`.
///
/// # Errors
/// The reason why it can't be moved, as a sentence.
pub(super) fn move_conf(
    conf: &Conf,
    (name, kind): (&str, NodeKind),
    old: &Origin,
    new: &Origin,
) -> Result<MovedConf, String> {
    let address = |lab: &Origin, which: &str| {
        let address = lab.address(name);
        address.ok_or_else(|| format!("the {which} lab has no node of that name"))
    };
    let (was, now) = (address(old, "old")?, address(new, "new")?);
    if let Some(stated) = announced(conf, kind).filter(|at| *at != was.to_string()) {
        return Err(format!(
            "its state is of {stated}, and in the old lab it is at {was}: say with --from or --from-subnet which lab it is of"
        ));
    }
    let mut moved = MovedConf {
        conf: conf.clone(),
        changes: Vec::new(),
    };
    if was != now {
        moved
            .changes
            .push(format!("its own address: {was} -> {now}"));
    }
    let (ip, port) = (now.ip().to_string(), now.port().to_string());
    match kind {
        NodeKind::Data => {
            moved.conf.set(&["replica-announce-ip"], &[&ip]);
            moved.conf.set(&["replica-announce-port"], &[&port]);
        }
        NodeKind::Sentinel => {
            moved.conf.set(&["sentinel", "announce-ip"], &[&ip]);
            moved.conf.set(&["sentinel", "announce-port"], &[&port]);
            sentinel(&mut moved, old, new)?;
        }
    }
    if old.primary_name != new.primary_name {
        let renamed = format!("primary_name: {} -> {}", old.primary_name, new.primary_name);
        moved.changes.push(renamed);
    }
    new.note_move(old, &mut moved.conf);
    Ok(moved)
}

/// Moves a Sentinel's entries of the primary and of the other servers.
fn sentinel(moved: &mut MovedConf, old: &Origin, new: &Origin) -> Result<(), String> {
    let (was, now) = (old.primary_name.as_str(), new.primary_name.as_str());
    let names = monitored(&moved.conf);
    let primary = names.iter().find(|(name, _)| name == was);
    let Some((_, primary)) = primary else {
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!(
            "it monitors {}, and not {was}, the name in the old lab",
            names.join(", ")
        ));
    };
    let new_address = |at: SocketAddrV4| old.node_at(at).and_then(|name| new.address(name));
    if primary.and_then(new_address).is_none() {
        let at = primary.map_or("an address that is none".into(), |at| at.to_string());
        return Err(format!(
            "its primary is {at}, which is not a data node of both the old and the new lab"
        ));
    }
    if was != now && names.iter().any(|(name, _)| name == now) {
        drop_newcomer(moved, was, now)?;
    }
    let mut known: Vec<SocketAddrV4> = Vec::new();
    let MovedConf { conf, changes } = moved;
    conf.rewrite(|words| {
        let [first, key, name, rest @ ..] = words else {
            return Change::Keep;
        };
        let of_primary = OF_A_PRIMARY.iter().any(|k| key.eq_ignore_ascii_case(k));
        if !first.eq_ignore_ascii_case("sentinel") || !of_primary || *name != was {
            return Change::Keep;
        }
        let mut line: Vec<String> = [*first, *key, now].map(str::to_owned).into();
        line.extend(rest.iter().map(|w| (*w).to_owned()));
        if !WITH_ADDRESS.iter().any(|k| key.eq_ignore_ascii_case(k)) {
            return Change::To(line);
        }
        let at = rest.get(..2).map(|at| at.join(":").parse());
        let Some(Ok(at)) = at else {
            return Change::Keep;
        };
        let to = new_address(at).unwrap_or(at);
        if old.node_at(at).is_none() {
            changes.push(format!("{key} {at} stays: it is no node of the old lab"));
        } else if to == at && new_address(at).is_none() {
            changes.push(format!("{key} {at} stays: it is no node of the new lab"));
        } else if to != at {
            changes.push(format!("{key}: {at} -> {to}"));
        }
        // Sentinel does not start with a duplicate.
        if known.contains(&to) {
            changes.push(format!("{key} {at} goes: {to} is there already"));
            return Change::Remove;
        }
        known.push(to);
        for (word, new) in line
            .iter_mut()
            .skip(3)
            .zip([to.ip().to_string(), to.port().to_string()])
        {
            *word = new;
        }
        Change::To(line)
    });
    Ok(())
}

/// Earlier versions let a Sentinel begin to monitor a second name, at the seed primary, when the
/// name was changed. What it has learned under that name goes, unless that is newer.
fn drop_newcomer(moved: &mut MovedConf, was: &str, now: &str) -> Result<(), String> {
    let epoch = |name: &str| -> u64 {
        let line = moved.conf.get(&["sentinel", "config-epoch", name]);
        let word = line.and_then(|l| l.first().cloned());
        word.and_then(|w| w.parse().ok()).unwrap_or(0)
    };
    let (old, new) = (epoch(was), epoch(now));
    if new > old {
        return Err(format!(
            "it monitors {now} too, at epoch {new}, which is newer than {old} of {was}: what is under {now} would be lost; see \
             docs/runbook.md, A second name"
        ));
    }
    for key in OF_A_PRIMARY {
        moved.conf.remove(&["sentinel", key, now]);
    }
    let gone =
        format!("{now}, which it monitored too, at epoch {new}, goes: {was} has epoch {old}");
    moved.changes.push(gone);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str, nodes: &[(&str, &str)]) -> Origin {
        let nodes = nodes.iter();
        let nodes = nodes.map(|(name, at)| ((*name).to_owned(), at.parse().unwrap()));
        Origin {
            primary_name: name.into(),
            nodes: nodes.collect(),
        }
    }

    fn old() -> Origin {
        origin(
            "halab",
            &[
                ("redis-a", "127.0.0.11:6379"),
                ("redis-b", "127.0.0.12:6379"),
                ("sentinel-1", "127.0.0.21:26379"),
                ("sentinel-2", "127.0.0.22:26379"),
            ],
        )
    }

    fn new() -> Origin {
        // The data nodes have each other's.
        origin(
            "other",
            &[
                ("redis-a", "127.0.0.12:6379"),
                ("redis-b", "127.0.0.11:6379"),
                ("sentinel-1", "127.0.0.31:26379"),
                ("sentinel-2", "127.0.0.22:26379"),
            ],
        )
    }

    const SENTINEL: &str = "port 26379\n\
        sentinel myid 097e\n\
        sentinel announce-ip \"127.0.0.21\"\n\
        sentinel announce-port 26379\n\
        sentinel monitor halab 127.0.0.12 6379 2\n\
        sentinel auth-pass halab secret\n\
        sentinel config-epoch halab 7\n\
        sentinel known-replica halab 127.0.0.99 6379\n\
        sentinel known-replica halab 127.0.0.11 6379\n\
        sentinel known-sentinel halab 127.0.0.22 26379 12ab\n\
        sentinel current-epoch 7\n";

    fn move_one(text: &str) -> Result<MovedConf, String> {
        let kind = ("sentinel-1", NodeKind::Sentinel);
        move_conf(&Conf::parse(text), kind, &old(), &new())
    }

    #[test]
    fn names_and_addresses_change_at_once_and_epochs_and_ids_stay() {
        let moved = move_one(SENTINEL).unwrap();
        let text = moved.conf.text();
        let directives: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(
            directives,
            [
                "port 26379",
                "sentinel myid 097e",
                "sentinel announce-ip 127.0.0.31",
                "sentinel announce-port 26379",
                "sentinel monitor other 127.0.0.11 6379 2",
                "sentinel auth-pass other secret",
                "sentinel config-epoch other 7",
                "sentinel known-replica other 127.0.0.99 6379",
                "sentinel known-replica other 127.0.0.12 6379",
                "sentinel known-sentinel other 127.0.0.22 26379 12ab",
                "sentinel current-epoch 7",
            ]
        );
        assert_eq!(Origin::read(&moved.conf), Some(new()));
        let changes = moved.changes.join("\n");
        assert!(
            changes.contains("known-replica 127.0.0.99:6379 stays"),
            "{changes}"
        );
        assert!(!changes.contains("known-sentinel"), "{changes}");
    }

    #[test]
    fn a_second_name_goes_unless_it_knows_something_newer() {
        let second = |epoch: u64| {
            format!(
                "{SENTINEL}sentinel monitor other 127.0.0.11 6379 2\nsentinel config-epoch other {epoch}\n\
                 sentinel known-replica other 127.0.0.12 6379\n"
            )
        };
        assert_eq!(
            move_one(&second(0)).unwrap().conf,
            move_one(SENTINEL).unwrap().conf
        );
        let refused = move_one(&second(8)).unwrap_err();
        assert!(refused.contains("newer"), "{refused}");
    }

    #[test]
    fn a_state_of_neither_lab_is_refused() {
        let other_own = SENTINEL.replace("\"127.0.0.21\"", "127.0.0.77");
        let other_primary = SENTINEL.replace("halab 127.0.0.12", "halab 127.0.0.77");
        let other_name = SENTINEL.replace("halab", "third");
        for (text, why) in [
            (other_own, "its state is of 127.0.0.77:26379"),
            (other_primary, "its primary is 127.0.0.77:6379"),
            (other_name, "it monitors third"),
        ] {
            let refused = move_one(&text).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_stranger_at_a_new_address_is_not_there_twice() {
        let mut moved_to_stranger = new();
        moved_to_stranger.nodes[0].1 = "127.0.0.99:6379".parse().unwrap();
        let kind = ("sentinel-1", NodeKind::Sentinel);
        let moved = move_conf(&Conf::parse(SENTINEL), kind, &old(), &moved_to_stranger).unwrap();
        assert_eq!(moved.conf.text().matches("127.0.0.99 6379").count(), 1);
    }
}
