//! The rules that join several values: what makes good values a lab that can keep its claim.
//!
//! A rule judges only values that are good by themselves; the others are reported already.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::draft::{Draft, NodeDraft, TimingDraft};
use super::keys::{self, Section};
use super::problem::{Fault, Problem};
use super::reader::Read;

/// The nodes that a relocation can place into one /24 network, beside the two addresses of the monitoring.
pub(super) const NODES_MAX: usize = 252;

/// Every rule that the draft breaks.
pub(super) fn broken(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    names(draft, &mut problems);
    addresses(draft, &mut problems);
    ports(draft, &mut problems);
    counts(draft, &mut problems);
    problems.extend(quorum(draft));
    problems.extend(seed_primary(draft));
    problems.extend(mutual_tls(draft));
    problems.extend(hang_timeout(&draft.timing, None));
    for (_, profile) in &draft.profiles {
        let stated = profile.hang_timeout != draft.timing.hang_timeout
            || profile.down_after != draft.timing.down_after;
        // What a profile only inherits is judged once, in `[timing]`.
        if stated {
            problems.extend(hang_timeout(profile, Some(&draft.timing)));
        }
    }
    problems
}

fn names(draft: &Draft, problems: &mut Vec<Problem>) {
    let mut first: HashMap<&str, &NodeDraft> = HashMap::new();
    for (node, name) in draft
        .nodes()
        .filter_map(|n| Some((n, n.name.as_ref().ok()?)))
    {
        match first.get(name.value.as_str()) {
            Some(earlier) => problems.push(name.problem(Fault::DuplicateName {
                name: name.value.clone(),
                earlier: earlier.path.clone(),
            })),
            None => {
                first.insert(&name.value, node);
            }
        }
    }
}

/// Addresses alone must differ, whatever the ports: a node binds its outgoing connections to its
/// address, so a firewall rule or a network fault on a shared one would hit two nodes.
fn addresses(draft: &Draft, problems: &mut Vec<Problem>) {
    let monitoring = draft
        .monitoring
        .iter()
        .flat_map(|m| [(&m.path, &m.address), (&m.path, &m.writer_address)]);
    let nodes = draft.nodes().map(|n| (&n.path, &n.address));
    let mut first: HashMap<Ipv4Addr, &String> = HashMap::new();
    let mut network: Option<(Ipv4Addr, &String)> = None;
    for (path, at) in nodes
        .chain(monitoring)
        .filter_map(|(path, at)| Some((path, at.as_ref().ok()?)))
    {
        let address = at.value;
        if let Some(earlier) = first.get(&address) {
            let earlier = (*earlier).clone();
            problems.push(at.problem(Fault::DuplicateAddress { address, earlier }));
            continue;
        }
        first.insert(address, path);
        // A packet from a loopback address never leaves the machine, so that a node bound to one
        // cannot talk to a node elsewhere.
        let (other, earlier) = *network.get_or_insert((address, path));
        if address.is_loopback() != other.is_loopback() {
            let earlier = earlier.clone();
            problems.push(at.problem(Fault::MixedLoopback {
                address,
                other,
                earlier,
            }));
        }
    }
}

/// Listeners on one address have ports of their own: the four of the monitoring, and on each node the
/// server and the metrics.
fn ports(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(monitoring) = &draft.monitoring else {
        return;
    };
    let mut judge = |earlier: &Read<u16>, later: &Read<u16>| {
        if let (Ok(earlier), Ok(later)) = (earlier, later)
            && earlier.value == later.value
        {
            problems.push(later.problem(Fault::DuplicatePort {
                port: later.value,
                earlier: earlier.key.clone(),
            }));
            return true;
        }
        false
    };
    let services = [
        &monitoring.prometheus_port,
        &monitoring.grafana_port,
        &monitoring.redis_exporter_port,
        &monitoring.cadvisor_port,
    ];
    for (i, later) in services.iter().enumerate() {
        // One report is enough, however many have it.
        let _ = services[..i].iter().any(|earlier| judge(earlier, later));
    }
    let _ = draft
        .nodes()
        .any(|node| judge(&node.port, &monitoring.node_port));
}

fn counts(draft: &Draft, problems: &mut Vec<Problem>) {
    let about = |section: &Section, fault| Problem {
        key: section.name.into(),
        position: None,
        fault,
    };
    let too_few = |section: &Section, count, least, why| {
        about(
            section,
            Fault::TooFew {
                count,
                least,
                header: section.header(),
                why,
            },
        )
    };
    if let Ok(data_nodes) = &draft.data_nodes
        && data_nodes.len() < 2
    {
        let why = "with a single copy, losing that node loses every record";
        problems.push(too_few(&keys::DATA_NODE, data_nodes.len(), 2, why));
    }
    if let Ok(sentinels) = &draft.sentinels {
        if sentinels.len() < 3 {
            let why = "a majority must be left when one is lost";
            problems.push(too_few(&keys::SENTINEL, sentinels.len(), 3, why));
        } else if sentinels.len() % 2 == 0 {
            problems.push(about(
                &keys::SENTINEL,
                Fault::EvenSentinels {
                    count: sentinels.len(),
                },
            ));
        }
    }
    let count = draft.nodes().count();
    if count > NODES_MAX {
        let fault = Fault::TooManyNodes {
            count,
            most: NODES_MAX,
        };
        problems.push(about(&keys::DATA_NODE, fault));
    }
}

/// A quorum is a majority of the Sentinels at least.
///
/// Sentinel itself takes a smaller one. But a primary fences itself by reaching a majority, and the
/// other Sentinels vote for a failover without checking that the primary is down: with a smaller
/// quorum, a minority whose own link is broken fails over a primary that a majority still reaches.
/// A quorum of all Sentinels is slow to tolerate (no failover while one is lost), but safe.
fn quorum(draft: &Draft) -> Option<Problem> {
    let quorum = draft.quorum.as_ref().ok()?;
    let sentinels = draft.sentinels.as_ref().ok()?.len();
    let fault = match quorum.value {
        // Their number is wrong and reported; which quorum is right depends on how it is mended.
        _ if sentinels < 3 => return None,
        value if value > sentinels => Fault::QuorumOverSentinels {
            quorum: value,
            sentinels,
        },
        value if sentinels % 2 == 1 && value < sentinels / 2 + 1 => Fault::QuorumBelowMajority {
            quorum: value,
            sentinels,
        },
        _ => return None,
    };
    Some(quorum.problem(fault))
}

fn seed_primary(draft: &Draft) -> Option<Problem> {
    let seed = draft.seed_primary.as_ref().ok()?;
    let names: Vec<&Read<String>> = draft
        .data_nodes
        .as_ref()
        .ok()?
        .iter()
        .map(|n| &n.name)
        .collect();
    let good: Vec<String> = names
        .iter()
        .filter_map(|n| Some(n.as_ref().ok()?.value.clone()))
        .collect();
    // One of the names that are no good may be the one that is meant.
    if good.contains(&seed.value) || good.len() < names.len() {
        return None;
    }
    Some(seed.problem(Fault::UnknownSeedPrimary {
        name: seed.value.clone(),
        data_nodes: good,
    }))
}

fn mutual_tls(draft: &Draft) -> Option<Problem> {
    let (tls, mutual) = (draft.tls.as_ref().ok()?, draft.mutual_tls.as_ref().ok()?);
    (mutual.value && !tls.value).then(|| mutual.problem(Fault::MutualWithoutTls))
}

/// The hang timeout is below down-after: otherwise the Sentinels fail over first, and the hung
/// primary is found by guess instead of by its parent.
///
/// With a `base`, `timing` is a profile on top of it.
fn hang_timeout(timing: &TimingDraft, base: Option<&TimingDraft>) -> Option<Problem> {
    let (hang, down) = (
        timing.hang_timeout.as_ref().ok()?,
        timing.down_after.as_ref().ok()?,
    );
    if hang.value < down.value {
        return None;
    }
    // The place is the hang timeout, unless down-after alone is what the table states.
    let states_hang = match base {
        Some(base) => timing.hang_timeout != base.hang_timeout,
        None => hang.position.is_some(),
    };
    let place = if states_hang || down.position.is_none() {
        hang
    } else {
        down
    };
    Some(place.problem(Fault::HangTimeoutNotBelowDownAfter {
        hang_ms: hang.value.as_millis(),
        down_ms: down.value.as_millis(),
    }))
}
