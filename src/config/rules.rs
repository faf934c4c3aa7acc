//! The checks of several values together.
//!
//! A rule considers only values that are valid individually; all others are already reported.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::Proxy;
use super::app::is_free_name;
use super::check::{Document, Located, Table};
use super::problem::{ConfigProblem, ConfigProblemKind};
use super::values::{DATA_NODES_MIN, RESERVED_NAMES, SENTINELS_MIN, join};

/// Maximum number of nodes: those that a relocation can place into a /24 network, besides the two
/// addresses of the monitoring and that of the proxy.
pub(super) const NODES_MAX: usize = 251;

/// All violations of the rules.
pub(super) fn broken(document: &Document<'_>) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    names(document, &mut problems);
    addresses(document, &mut problems);
    ports(document, &mut problems);
    counts(document, &mut problems);
    problems.extend(quorum(document));
    problems.extend(seed_primary(document));
    problems.extend(mutual_tls(document));
    problems.extend(proxy_tls(document));
    apps(document, &mut problems);
    if let Some(timing) = document.table("timing") {
        problems.extend(hang_timeout(timing, None));
        for profile in document.tables("profiles").unwrap_or_default() {
            problems.extend(hang_timeout(timing, Some(profile)));
        }
    }
    problems
}

fn names(document: &Document<'_>, problems: &mut Vec<ConfigProblem>) {
    let mut first: HashMap<String, &Table<'_>> = HashMap::new();
    for node in document.nodes() {
        let Some(name) = node.get::<String>("name") else {
            continue;
        };
        if RESERVED_NAMES.contains(&name.value.as_str()) {
            let reserved = name.value.clone();
            problems.push(name.problem(ConfigProblemKind::ReservedName { name: reserved }));
        }
        match first.get(&name.value) {
            Some(earlier) => problems.push(name.problem(ConfigProblemKind::DuplicateName {
                name: name.value.clone(),
                earlier: earlier.path.clone(),
            })),
            None => {
                first.insert(name.value, node);
            }
        }
    }
}

/// Addresses have to be unique even if the ports differ: a node binds its outgoing connections to
/// its address, so a firewall rule or network fault on a shared address would affect two nodes.
fn addresses(document: &Document<'_>, problems: &mut Vec<ConfigProblem>) {
    let nodes = document.nodes().map(|node| (node, "address"));
    let monitoring = document
        .table("monitoring")
        .into_iter()
        .flat_map(|table| [(table, "address"), (table, "writer_address")]);
    let mut first: HashMap<Ipv4Addr, &String> = HashMap::new();
    let mut network: Option<(Ipv4Addr, &String)> = None;
    for (table, key) in nodes.chain(monitoring) {
        let Some(at) = table.get::<Ipv4Addr>(key) else {
            continue;
        };
        let (address, path) = (at.value, &table.path);
        if let Some(earlier) = first.get(&address) {
            let earlier = (*earlier).clone();
            problems.push(at.problem(ConfigProblemKind::DuplicateAddress { address, earlier }));
            continue;
        }
        first.insert(address, path);
        // A packet from a loopback address never leaves the machine, so a node bound to one cannot
        // reach a node on another machine.
        let (other, earlier) = *network.get_or_insert((address, path));
        if address.is_loopback() != other.is_loopback() {
            let earlier = earlier.clone();
            problems.push(at.problem(ConfigProblemKind::MixedLoopback {
                address,
                other,
                earlier,
            }));
        }
    }
    // Only clients connect to the proxy, so it may serve those of one host, at a loopback address.
    if let Some(at) = proxy_address(document)
        && let Some(earlier) = first.get(&at.value)
    {
        problems.push(at.problem(ConfigProblemKind::DuplicateAddress {
            address: at.value,
            earlier: (*earlier).clone(),
        }));
    }
}

/// The address of the proxy: the stated one, or the one derived from the first data node's.
fn proxy_address(document: &Document<'_>) -> Option<Located<Ipv4Addr>> {
    let proxy = document.table("proxy").filter(|table| table.is_stated())?;
    if proxy.states("address") {
        return proxy.get("address");
    }
    let first = document.tables("data_node")?.first()?;
    Some(Located {
        value: Proxy::usual_address(first.get("address")?.value),
        key: join(&proxy.path, "address"),
        position: None,
    })
}

/// Listeners on the same address have unique ports: the four of the monitoring, and on each node
/// and the proxy the server and the metrics.
fn ports(document: &Document<'_>, problems: &mut Vec<ConfigProblem>) {
    let Some(monitoring) = document.table("monitoring") else {
        return;
    };
    let port = |table: &Table<'_>, key| table.get::<u16>(key);
    let mut judge = |earlier: &Option<Located<u16>>, later: &Option<Located<u16>>| {
        if let (Some(earlier), Some(later)) = (earlier, later)
            && earlier.value == later.value
        {
            problems.push(later.problem(ConfigProblemKind::DuplicatePort {
                port: later.value,
                earlier: earlier.key.clone(),
            }));
            return true;
        }
        false
    };
    let services = [
        "prometheus_port",
        "grafana_port",
        "web_port",
        "redis_exporter_port",
        "cadvisor_port",
    ]
    .map(|key| port(monitoring, key));
    for (i, later) in services.iter().enumerate() {
        // One report is enough, however many listeners share the port.
        let _ = services[..i].iter().any(|earlier| judge(earlier, later));
    }
    let metrics = port(monitoring, "node_port");
    let _ = document
        .nodes()
        .any(|node| judge(&port(node, "port"), &metrics));
    if let Some(proxy) = document.table("proxy").filter(|table| table.is_stated()) {
        judge(&port(proxy, "port"), &port(monitoring, "proxy_port"));
    }
}

fn counts(document: &Document<'_>, problems: &mut Vec<ConfigProblem>) {
    let mut report = |section: &str, kind| {
        problems.push(ConfigProblem {
            key: section.into(),
            position: None,
            kind,
        });
    };
    let too_few = |count, least, header: &str, why| ConfigProblemKind::TooFew {
        count,
        least,
        header: header.into(),
        why,
    };
    let count = |section| document.tables(section).map(<[_]>::len);
    if let Some(count) = count("data_node").filter(|count| *count < DATA_NODES_MIN) {
        let why = "with a single copy, the loss of its node loses every record";
        report(
            "data_node",
            too_few(count, DATA_NODES_MIN, "[[data_node]]", why),
        );
    }
    match count("sentinel") {
        Some(count) if count < SENTINELS_MIN => {
            let why = "a majority must remain after the loss of one";
            report(
                "sentinel",
                too_few(count, SENTINELS_MIN, "[[sentinel]]", why),
            );
        }
        Some(count) if count % 2 == 0 => {
            report("sentinel", ConfigProblemKind::EvenSentinels { count })
        }
        _ => {}
    }
    let count = document.nodes().count();
    if count > NODES_MAX {
        let most = NODES_MAX;
        report("data_node", ConfigProblemKind::TooManyNodes { count, most });
    }
}

/// A quorum is at least a majority of the Sentinels.
///
/// Sentinel itself accepts a smaller one. But a primary is fenced only if it does not reach a
/// majority, and the other Sentinels vote for a failover without checking that the primary is down.
/// So with a smaller quorum, a minority with a broken link fails over a primary that a majority
/// still reaches. A quorum of all Sentinels is safe, but there is no failover while one of them is
/// lost.
fn quorum(document: &Document<'_>) -> Option<ConfigProblem> {
    let quorum = document.table("lab")?.get::<usize>("quorum")?;
    let sentinels = document.tables("sentinel")?.len();
    let kind = match quorum.value {
        // Their number is invalid and already reported; the right quorum depends on the corrected
        // number.
        _ if sentinels < SENTINELS_MIN => return None,
        value if value > sentinels => ConfigProblemKind::QuorumOverSentinels {
            quorum: value,
            sentinels,
        },
        value if sentinels % 2 == 1 && value < sentinels / 2 + 1 => {
            ConfigProblemKind::QuorumBelowMajority {
                quorum: value,
                sentinels,
            }
        }
        _ => return None,
    };
    Some(quorum.problem(kind))
}

fn seed_primary(document: &Document<'_>) -> Option<ConfigProblem> {
    let seed = document.table("lab")?.get::<String>("seed_primary")?;
    // If a node name is invalid, it may be the intended one, so nothing is reported.
    let data_nodes = document.tables("data_node")?.iter();
    let data_nodes: Option<Vec<String>> = data_nodes
        .map(|node| node.get::<String>("name").map(|name| name.value))
        .collect();
    let data_nodes = data_nodes.filter(|names| !names.contains(&seed.value))?;
    Some(seed.problem(ConfigProblemKind::UnknownSeedPrimary {
        name: seed.value.clone(),
        data_nodes,
    }))
}

fn mutual_tls(document: &Document<'_>) -> Option<ConfigProblem> {
    let security = document.table("security")?;
    let (tls, mutual) = (security.get::<bool>("tls")?, security.get("mutual_tls")?);
    (mutual.value && !tls.value).then(|| mutual.problem(ConfigProblemKind::MutualWithoutTls))
}

/// Without TLS, the lab has no certificates.
fn proxy_tls(document: &Document<'_>) -> Option<ConfigProblem> {
    let stated = document.table("proxy")?.get::<bool>("tls")?;
    let tls = document.table("security")?.get::<bool>("tls")?;
    (stated.value && !tls.value).then(|| stated.problem(ConfigProblemKind::ProxyTlsWithoutTls))
}

/// The names of applications are unique and not reserved.
fn apps(document: &Document<'_>, problems: &mut Vec<ConfigProblem>) {
    let acl = document
        .table("security")
        .and_then(|t| t.get::<bool>("acl"));
    let mut first: HashMap<String, &String> = HashMap::new();
    for app in document.tables("app").unwrap_or_default() {
        let Some(name) = app.get::<String>("name") else {
            continue;
        };
        if acl.as_ref().is_some_and(|acl| !acl.value) {
            problems.push(name.problem(ConfigProblemKind::AppWithoutAcl));
        }
        if !is_free_name(&name.value) {
            problems.push(name.problem(ConfigProblemKind::UserOfLab {
                name: name.value.clone(),
            }));
        }
        match first.get(&name.value) {
            Some(earlier) => problems.push(name.problem(ConfigProblemKind::DuplicateApp {
                name: name.value.clone(),
                earlier: (*earlier).clone(),
            })),
            None => {
                first.insert(name.value, &app.path);
            }
        }
    }
}

/// The hang timeout is below down-after. Otherwise the Sentinels fail over first, and the hung
/// primary is detected by timeout instead of by its supervisor.
///
/// With a `profile`, its values are checked; inherited ones are checked once, in `timing`.
fn hang_timeout(timing: &Table<'_>, profile: Option<&Table<'_>>) -> Option<ConfigProblem> {
    const HANG: &str = "hang_timeout_ms";
    const DOWN: &str = "down_after_ms";
    let table = profile.unwrap_or(timing);
    let stated = table.states(HANG) || table.states(DOWN);
    if profile.is_some() && !stated {
        return None;
    }
    let get = |key| match table.states(key) {
        true => table.get::<u64>(key),
        false => timing.get(key),
    };
    let (hang, down) = (get(HANG)?, get(DOWN)?);
    if hang.value < down.value {
        return None;
    }
    // The reported position is the hang timeout, unless the table contains only down-after.
    let place = if stated && !table.states(HANG) {
        &down
    } else {
        &hang
    };
    Some(
        place.problem(ConfigProblemKind::HangTimeoutNotBelowDownAfter {
            hang_ms: hang.value,
            down_ms: down.value,
        }),
    )
}
