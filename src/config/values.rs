//! Limits and single values: which values are good, and what they are called in messages.

use std::net::Ipv4Addr;

use toml::de::DeValue;

/// The fewest data nodes: of a single copy, every record is lost with its node.
pub(super) const DATA_NODES_MIN: usize = 2;
/// The fewest Sentinels of which a majority is left when one is lost.
pub(super) const SENTINELS_MIN: usize = 3;
/// The length limit of a name: that of a DNS label, since names become host names too.
pub(super) const NAME_MAX: usize = 63;
/// The other folders of the state folder, and the other processes and services of a lab, whose logs
/// and volumes are beside those of the nodes.
pub(super) const RESERVED_NAMES: [&str; 10] = [
    "cadvisor",
    "closing",
    "grafana",
    "log",
    "monitoring",
    "prometheus",
    "proxy",
    "redis-exporter",
    "secrets",
    "writer",
];

/// The length limit of a pattern and of an ACL rule of an application.
pub(super) const RULE_MAX: usize = 200;

/// The commands that an application may use where `lab.toml` does not say: what may stop a server,
/// change its role, or read and delete all keys, it may not. `INFO` is among the dangerous ones
/// because it tells about the server; client libraries ask it whether the server has loaded its
/// data (ioredis).
pub(super) const DEFAULT_COMMANDS: [&str; 4] = ["+@all", "-@admin", "-@dangerous", "+info"];

/// Users of the servers that are no application. `access` has the same, by a test.
pub(super) const USERS_OF_LAB: [&str; 9] = [
    "default",
    "exporter",
    "node",
    "operator",
    "proxy",
    "replication",
    "sentinel",
    "verifier",
    "writer",
];

/// `path.key`; a key that is no bare TOML key is quoted and escaped.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// Whether a name works as folder, cgroup, unit, host name and metric label alike.
pub(super) fn is_good_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        // A leading '-' reads as a flag, and a host name has none at either end.
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// What an address is that no single node can have; nothing for one that a node can have.
pub(super) fn unusable(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, 0, 0, 0] => Some("every address of the machine"),
        [0, ..] => Some("in the network 0.0.0.0/8, which has no hosts"),
        [127, 0, 0, 0] => Some("the loopback network"),
        [127, 255, 255, 255] | [255, 255, 255, 255] => Some("a broadcast address"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

/// A TOML type with its article.
pub(super) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
