//! Limits and checks of single values, and their names in messages.

use std::net::Ipv4Addr;

use toml::de::DeValue;

/// Minimum number of data nodes: with a single copy, the loss of its node loses every record.
pub(super) const DATA_NODES_MIN: usize = 2;
/// Minimum number of Sentinels: a majority must remain after the loss of one.
pub(super) const SENTINELS_MIN: usize = 3;
/// Maximum length of a name: that of a DNS label, because names are also host names.
pub(super) const NAME_MAX: usize = 63;
/// The other folders of the state folder, and the other processes and services of a lab, whose logs
/// and volumes are beside those of the nodes.
pub(super) const RESERVED_NAMES: [&str; 11] = [
    "cadvisor",
    "closing",
    "grafana",
    "log",
    "monitoring",
    "prometheus",
    "proxy",
    "redis-exporter",
    "secrets",
    "web",
    "writer",
];

/// Maximum length of a pattern or an ACL rule of an application.
pub(super) const RULE_MAX: usize = 200;

/// The default commands of an application: none that stops a server, changes its role, or reads or
/// deletes all keys. `INFO` is in the category *dangerous* because it describes the server, but
/// client libraries use it to check whether the server has loaded its data (ioredis).
pub(super) const DEFAULT_COMMANDS: [&str; 4] = ["+@all", "-@admin", "-@dangerous", "+info"];

/// Users of the servers that are not applications. A test compares them with those in `access`.
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

/// `path.key`; a key that is not a bare TOML key is quoted and escaped.
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

/// Whether a name is valid as a folder, cgroup, unit, host name and metric label.
pub(super) fn is_valid_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        // A leading '-' would be read as a flag, and a host name has none at either end.
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Why an address is not a host address; `None` if it is one.
pub(super) fn unusable(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, 0, 0, 0] => Some("the unspecified address"),
        [0, ..] => Some("in the reserved network 0.0.0.0/8"),
        [127, 0, 0, 0] => Some("the address of the loopback network"),
        [127, 255, 255, 255] | [255, 255, 255, 255] => Some("a broadcast address"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

/// The name of a TOML type, with its article.
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
