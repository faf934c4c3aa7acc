//! What every client finds out, with the crate's own rules: which node is the primary, what the
//! other nodes have confirmed to it, and whether those that have not can be promoted.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis_ha_lab::protocol::ack::{
    Confirmed, Evidence, UncoveredWrites, witness, witness_promoted,
};
use redis_ha_lab::protocol::copy::{Completeness, Relation};
use redis_ha_lab::protocol::vote::{Elected, ReplicaView, SentinelView, elect};

use super::rules::{Bounds, Rules, WitnessRule};
use super::state::*;

/// Age of what is to be confirmed when the Sentinels are asked.
const AGE: Duration = Duration::from_millis(100);
/// Longest duration of a raise.
const RAISE_LIMIT: Duration = Duration::from_millis(50);
/// Age of an INFO that is later by more than that than what is to be confirmed.
const FRESH: Duration = Duration::from_millis(10);
/// Age of an INFO that is earlier, but within the INFO period.
pub const RECENT: Duration = Duration::from_millis(200);
/// Age of an INFO older than the period.
pub const OLD: Duration = Duration::from_millis(1500);

/// The address of data node `d`.
pub fn address(d: usize) -> SocketAddrV4 {
    let host = u8::try_from(d).map_or(u8::MAX, |d| 11 + d);
    SocketAddrV4::new([127, 0, 0, host].into(), 6379)
}

/// The node at `address`.
pub fn node_at(address: SocketAddrV4) -> usize {
    usize::from(address.ip().octets()[3].saturating_sub(11))
}

/// The data nodes other than `d`.
pub fn others(nodes: usize, d: usize) -> Vec<SocketAddrV4> {
    (0..nodes).filter(|x| *x != d).map(address).collect()
}

/// The offset of a copy.
pub fn offset(log: Log) -> u64 {
    u64::from(Log::BITS - log.leading_zeros())
}

/// The answer of Sentinel `s` to the `client`.
pub fn view(nodes: usize, state: &State, s: usize, client: Clients) -> SentinelView {
    let sentinel = &state.sentinels[s];
    let replica = |d: usize| {
        let sight = sentinel.sights[d];
        ReplicaView {
            address: address(d),
            priority: if sight.promotable { 100 } else { 0 },
            down: false,
            disconnected: !sight.up,
            says_replica: !sight.says_primary,
            link_up: sight.up,
            info_age: match sight.info {
                Info::Never => None,
                _ if sight.fresh & client != 0 => Some(FRESH),
                Info::Recent => Some(RECENT),
                Info::Old => Some(OLD),
            },
        }
    };
    SentinelView {
        primary: address(sentinel.primary),
        config_epoch: u64::from(sentinel.epoch),
        primary_s_down: !sentinel.sights[sentinel.primary].up,
        // Known late and never needed: it would only add dissent.
        primary_o_down: false,
        failover_in_progress: sentinel.failover.is_some(),
        primary_silent_for: Duration::ZERO,
        primary_says_primary: true,
        primary_info_age: sentinel.sights[sentinel.primary].up.then_some(FRESH),
        passive: false,
        other_sentinels: 2,
        known_replicas: if sentinel.knows {
            (nodes - 1) as u64
        } else {
            0
        },
        replicas: (0..nodes)
            .filter(|d| *d != sentinel.primary && sentinel.knows)
            .map(replica)
            .collect(),
    }
}

/// Whether `d` answers a client as primary.
pub fn serves(state: &State, d: usize) -> bool {
    state.answers_writer(d) && state.data[d].role == Role::Primary
}

fn answers(sentinel: &Sentinel) -> bool {
    matches!(sentinel.watch, Watch::Up | Watch::Alone)
}

/// One round of discovery.
pub fn discover(nodes: usize, state: &State) -> Option<(usize, Standing)> {
    let views: Vec<SentinelView> = (0..SENTINELS)
        .filter(|s| answers(&state.sentinels[*s]))
        .map(|s| view(nodes, state, s, 0))
        .collect();
    let elected = elect(&views, SENTINELS, MAJORITY).ok()?;
    let named = node_at(elected.address);
    let epoch = u8::try_from(elected.epoch).unwrap_or(u8::MAX);
    let primaries: Vec<usize> = (0..nodes).filter(|d| serves(state, *d)).collect();
    if primaries.contains(&named) {
        return Some((named, Standing::Elected(epoch)));
    }
    match primaries.as_slice() {
        [promoted] => {
            let over = named;
            Some((*promoted, Standing::Promoted { over, epoch }))
        }
        _ => None,
    }
}

/// Whether a client with this target leaves it for the one that was found.
pub fn is_superseded(target: Option<(usize, Standing)>, found: (usize, Standing)) -> bool {
    match target {
        None => true,
        Some((d, _)) if d != found.0 => true,
        Some((_, Standing::Elected(mine))) => {
            matches!(found.1, Standing::Elected(newer) if newer > mine)
        }
        Some(_) => false,
    }
}

/// Whether the change of a client's target closes its connections. A change of role does, and the
/// client notices. The end of a server may go unnoticed while the Sentinels are asked, but not
/// until it is started again.
pub fn closes(was: &Data, is: &Data) -> bool {
    let demoted = was.role == Role::Primary && is.role != Role::Primary;
    let restarted = matches!(was.process, Process::ServerGone { .. });
    is.process == Process::Up && (demoted || restarted)
}

/// Whether the link of `replica` to the primary `of` is up.
pub fn online(state: &State, replica: usize, of: usize) -> bool {
    let up = Role::Replica { of, link: Link::Up };
    state.data[replica].role == up
}

/// What the replicas of `d` have confirmed to it.
pub fn confirmed(nodes: usize, state: &State, d: usize) -> Vec<Confirmed> {
    (0..nodes)
        .filter(|x| online(state, *x, d))
        .map(|x| Confirmed {
            address: address(x),
            offset: offset(state.data[x].log),
        })
        .collect()
}

/// One round of questions of the `client` to the witnesses: whether what `target` has executed is
/// kept, though the nodes in `uncovered` have not confirmed it.
pub fn is_witnessed(
    (bounds, rules): (&Bounds, &Rules),
    state: &State,
    client: Clients,
    (d, standing): (usize, Standing),
    uncovered: &[SocketAddrV4],
) -> bool {
    let alone = uncovered.len() + 1 == bounds.nodes;
    let log = state.data[d].log;
    let stamp = state.history.stamp(log);
    let sole = stamp.is_some_and(|stamp| stamp.state == Completeness::Sole);
    // The mark is of the present term, by its replication history.
    let counts = stamp.is_some_and(|stamp| stamp.confirmed) && state.data[d].memory.in_term;
    if rules.term_first && (state.history.by(log) != Some(d) || !counts || alone && !sole) {
        return false;
    }
    let elected = |node: usize, epoch: u8| Elected {
        address: address(node),
        epoch: u64::from(epoch),
    };
    let submitted = not_promotable(state, uncovered);
    // A node gives no assurance during a raise.
    let assures =
        |x: &&SocketAddrV4| !rules.assurance || state.data[node_at(**x)].raising.is_none();
    let assured: Vec<SocketAddrV4> = submitted.iter().filter(assures).copied().collect();
    let view_of = |s: usize| interpreted_view(bounds, rules, state, s, client);
    let by_sentinel = |primary: Elected, s: usize| {
        let views = [view_of(s)];
        let case = UncoveredWrites {
            primary,
            uncovered: uncovered.to_vec(),
        };
        let heard = Evidence {
            views: &views,
            majority: 1,
            assured: &assured,
            age: AGE,
            raise_limit: RAISE_LIMIT,
        };
        witness(&case, heard).is_ok()
    };
    let willing = |s: usize| match standing {
        Standing::Elected(epoch) => by_sentinel(elected(d, epoch), s),
        Standing::Promoted { over, epoch } => {
            let mut view = view_of(s);
            if !rules.submission_checked && view.primary == address(d) {
                // As if the old primary's report were enough for a Sentinel that also names the new
                // one.
                view.primary = address(over);
                view.config_epoch = u64::from(epoch);
            }
            let follows = match state.data[over].role {
                _ if rules.submission_checked && !assured.contains(&address(over)) => None,
                Role::Replica { of, .. } if state.answers_writer(over) => Some(address(of)),
                _ => None,
            };
            let views = [view];
            let heard = Evidence {
                views: &views,
                majority: 1,
                assured: &assured,
                age: AGE,
                raise_limit: RAISE_LIMIT,
            };
            // Its copy holds no more than that of the new one.
            let copy = |x: usize| state.history.copy(state.data[x].log);
            let loading = matches!(
                state.data[over].role,
                Role::Replica {
                    link: Link::Loading(_),
                    ..
                }
            );
            let gives_way = !rules.term_first
                || loading
                || copy(over).against(&copy(d), true) == Relation::More;
            uncovered == [address(over)]
                && gives_way
                && witness_promoted(elected(over, epoch), address(d), follows, heard).is_ok()
        }
    };
    let heard: Vec<usize> = (0..SENTINELS)
        .filter(|s| answers(&state.sentinels[*s]))
        .collect();
    let witnesses = heard.iter().filter(|s| willing(**s)).count();
    let needed = match rules.witness {
        WitnessRule::OneSentinel => 1,
        // A dissenting Sentinel is never among those that happen to be heard.
        _ if !rules.dissent_vetoes => MAJORITY,
        _ => MAJORITY.max(heard.len()),
    };
    witnesses >= needed
}

/// The nodes among `uncovered` that report to be replicas with priority 0.
fn not_promotable(state: &State, uncovered: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
    let says_so = |x: &&SocketAddrV4| {
        let d = node_at(**x);
        let node = &state.data[d];
        state.answers_writer(d) && node.role != Role::Primary && !node.promotable
    };
    uncovered.iter().filter(says_so).copied().collect()
}

/// The answer of Sentinel `s`, as the rule under test interprets it.
fn interpreted_view(
    bounds: &Bounds,
    rules: &Rules,
    state: &State,
    s: usize,
    client: Clients,
) -> SentinelView {
    let mut interpreted_view = view(bounds.nodes, state, s, client);
    if rules.witness == WitnessRule::AnyAge {
        for replica in &mut interpreted_view.replicas {
            replica.info_age = replica.info_age.map(|_| FRESH);
        }
    }
    if !rules.role_read {
        for replica in &mut interpreted_view.replicas {
            replica.says_replica = true;
        }
    }
    interpreted_view
}

/// The `client` waits for nothing, so no INFO is later than that.
pub fn forget_evidence(state: &mut State, client: Clients) {
    for sentinel in &mut state.sentinels {
        for sight in &mut sentinel.sights {
            sight.fresh &= !client;
        }
    }
}
