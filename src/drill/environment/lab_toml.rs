//! Variants of a `lab.toml`: other members, other addresses, an additional application.

use std::collections::HashMap;

use toml::{Table, Value};

use crate::config::{Lab, Node, NodeKind};

/// The last octets of the addresses of new nodes.
const OCTETS: std::ops::Range<u8> = 60..250;

/// Last octets of addresses that no node of the lab has.
pub fn free_octets(lab: &Lab) -> impl Iterator<Item = u8> {
    let taken: Vec<u8> = lab.nodes().map(|n| n.address.octets()[3]).collect();
    OCTETS.filter(move |octet| !taken.contains(octet))
}

/// The text with one node added and one removed.
pub fn with_members(text: &str, added: Option<&Node>, removed: Option<&Node>) -> String {
    edited(text, |nodes, kind| {
        if let Some(node) = removed {
            nodes.retain(|table| name_of(table) != Some(&node.name));
        }
        if let Some(node) = added.filter(|node| node.kind == kind) {
            let mut table = Table::new();
            table.insert("name".into(), node.name.clone().into());
            table.insert("address".into(), node.address.to_string().into());
            table.insert("port".into(), i64::from(node.port).into());
            nodes.push(table.into());
        }
    })
}

/// The text with one more application of that name, and the defaults of all else.
pub fn with_application(text: &str, name: &str) -> String {
    let Ok(mut table) = text.parse::<Table>() else {
        return text.to_owned();
    };
    let app = Table::from_iter([("name".to_owned(), Value::from(name))]);
    let apps = table
        .entry("app")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(apps) = apps {
        apps.push(app.into());
    }
    table.to_string()
}

/// The text with the addresses of `lab`.
pub fn with_addresses(text: &str, lab: &Lab) -> String {
    let addresses: HashMap<&str, String> = lab
        .nodes()
        .map(|node| (node.name.as_str(), node.address.to_string()))
        .collect();
    edited(text, |nodes, _| {
        for table in nodes {
            let address = name_of(table).and_then(|name| addresses.get(name)).cloned();
            if let (Some(address), Some(table)) = (address, table.as_table_mut()) {
                table.insert("address".into(), address.into());
            }
        }
    })
}

fn name_of(table: &Value) -> Option<&str> {
    table.get("name")?.as_str()
}

/// Text that is no TOML is returned unchanged: the nodes that read it report the error.
fn edited(text: &str, edit: impl Fn(&mut Vec<Value>, NodeKind)) -> String {
    let Ok(mut table) = text.parse::<Table>() else {
        return text.to_owned();
    };
    for (key, kind) in [
        ("data_node", NodeKind::Data),
        ("sentinel", NodeKind::Sentinel),
    ] {
        if let Some(Value::Array(nodes)) = table.get_mut(key) {
            edit(nodes, kind);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../../lab.toml");

    fn lab() -> Lab {
        Lab::parse(TEXT, None).unwrap()
    }

    #[test]
    fn a_lab_toml_with_other_members_is_valid() {
        let lab = lab();
        assert_eq!(
            Lab::parse(&with_members(TEXT, None, None), None),
            Ok(lab.clone())
        );
        let new = Node {
            name: "sentinel-new".into(),
            address: [127, 0, 0, 60].into(),
            ..lab.sentinels[0].clone()
        };
        let other = with_members(TEXT, Some(&new), lab.sentinels.last());
        let other = Lab::parse(&other, None).unwrap();
        let names: Vec<&str> = other.sentinels.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["sentinel-1", "sentinel-2", "sentinel-new"]);
        assert_eq!(other.data_nodes, lab.data_nodes);
    }

    #[test]
    fn a_lab_toml_with_another_application_is_valid() {
        let once = with_application(TEXT, "shop");
        let twice = Lab::parse(&with_application(&once, "news"), None).unwrap();
        let names: Vec<&str> = twice.apps.iter().map(|app| app.name.as_str()).collect();
        assert_eq!(names, ["shop", "news"]);
        assert_eq!(twice.data_nodes, lab().data_nodes);
    }

    #[test]
    fn a_lab_toml_with_other_addresses_is_the_same_lab_elsewhere() {
        let mut there = lab();
        let octets: Vec<u8> = free_octets(&there).collect();
        let nodes = there.data_nodes.iter_mut().chain(&mut there.sentinels);
        for (node, octet) in nodes.zip(octets) {
            node.address = [127, 0, 0, octet].into();
        }
        assert!(
            lab()
                .nodes()
                .all(|n| there.nodes().all(|m| m.address != n.address))
        );
        assert_eq!(Lab::parse(&with_addresses(TEXT, &there), None), Ok(there));
        assert_eq!(Lab::parse(&with_addresses(TEXT, &lab()), None), Ok(lab()));
    }
}
