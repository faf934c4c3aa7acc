//! The writer: one write at a time, with the crate's own rules.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis_ha_lab::protocol::ack::{
    Confirmed, Evidence, UncoveredWrites, uncovered, witness, witness_promoted,
};
use redis_ha_lab::protocol::copy::{Completeness, Relation};
use redis_ha_lab::protocol::vote::{Elected, ReplicaView, SentinelView, elect};

use super::faults::Kind;
use super::marks::Entry;
use super::rules::{Bounds, Rules, WitnessRule};
use super::state::*;

/// Age of the pending write when the Sentinels are asked.
const AGE: Duration = Duration::from_millis(100);
/// Longest duration of a raise.
const RAISE_LIMIT: Duration = Duration::from_millis(50);
/// Age of an INFO that is later than the write by more than that.
const FRESH: Duration = Duration::from_millis(10);
/// Age of an INFO that is earlier than the write, but within the INFO period.
pub const RECENT: Duration = Duration::from_millis(200);
/// Age of an INFO older than the period.
pub const OLD: Duration = Duration::from_millis(1500);

/// A step of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It finds another node to write to, and leaves the old one.
    Discover,
    /// Its target executes a write.
    Send,
    /// The commands of that write (`MSET`, `ROLE`, possibly `WAIT`, `ROLE`) are answered.
    Answered,
    /// Another `ROLE`.
    Role,
    /// The Sentinels are asked, and the write is witnessed.
    Ask,
    /// Its target does not answer, or reports not to be primary: the outcome is unknown.
    GiveUp,
}

/// All steps.
pub fn all() -> Vec<Step> {
    vec![
        Step::Discover,
        Step::Send,
        Step::Answered,
        Step::Role,
        Step::Ask,
        Step::GiveUp,
    ]
}

/// The address of data node `d`.
pub fn address(d: usize) -> SocketAddrV4 {
    let host = u8::try_from(d).map_or(u8::MAX, |d| 11 + d);
    SocketAddrV4::new([127, 0, 0, host].into(), 6379)
}

/// The node at `address`.
pub fn node_at(address: SocketAddrV4) -> usize {
    usize::from(address.ip().octets()[3].saturating_sub(11))
}

/// The answer of Sentinel `s`.
pub fn view(nodes: usize, state: &State, s: usize) -> SentinelView {
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
                _ if sight.fresh => Some(FRESH),
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

/// The lab after a step of the writer, if it is possible.
pub fn step(bounds: &Bounds, rules: &Rules, state: &State, step: Step) -> Option<State> {
    let mut next = *state;
    match step {
        Step::Discover => {
            if state.writer.pending.is_none() && state.writer.next >= bounds.writes {
                return None;
            }
            let found = discover(bounds.nodes, state)?;
            let superseded = match state.writer.target {
                None => true,
                Some((d, _)) if d != found.0 => true,
                Some((_, Standing::Elected(mine))) => {
                    matches!(found.1, Standing::Elected(newer) if newer > mine)
                }
                Some(_) => false,
            };
            next.writer.target = Some(found);
            if superseded {
                drop_pending(&mut next);
            }
        }
        Step::Send => {
            let (d, _) = state.writer.target?;
            if state.writer.pending.is_some()
                || state.writer.next >= bounds.writes
                || !takes_writes(state, d)
                || state.handing == Some(d)
                // What happens before a handover is explored without a second fault.
                || bounds.at_once && state.faults == 0 && bounds.kinds[0] == Kind::Handover
            {
                return None;
            }
            let write = next.history.add(Entry::Write);
            next.data[d].log |= 1 << write;
            sync(state, &mut next, d);
            next.writer.pending = Some(Pending {
                write: write as u8,
                stamped: false,
            });
            next.writer.next += 1;
        }
        Step::Answered => {
            let (d, _) = state.writer.target?;
            let pending = state.writer.pending?;
            if pending.stamped || !takes_writes(state, d) {
                return None;
            }
            next.writer.pending = Some(Pending {
                stamped: true,
                ..pending
            });
            look(bounds, rules, &mut next, d, pending.write);
        }
        Step::Role => {
            let (d, _) = state.writer.target?;
            let pending = state.writer.pending?;
            if !pending.stamped || !takes_writes(state, d) {
                return None;
            }
            look(bounds, rules, &mut next, d, pending.write);
        }
        Step::Ask => ask(bounds, rules, state, &mut next)?,
        Step::GiveUp => {
            let (d, _) = state.writer.target?;
            if state.writer.pending.is_none() || takes_writes(state, d) {
                return None;
            }
            drop_pending(&mut next);
        }
    }
    (next != *state).then_some(next)
}

/// The only copy writes to disk before it answers.
pub fn sync(before: &State, next: &mut State, d: usize) {
    let log = before.data[d].log;
    let stamp = before.history.stamp(log);
    let sole = stamp.is_some_and(|stamp| stamp.state == Completeness::Sole);
    if sole && before.history.by(log) == Some(d) && before.data[d].memory.in_term {
        next.data[d].synced = next.data[d].log;
    }
}

fn takes_writes(state: &State, d: usize) -> bool {
    state.answers_writer(d) && state.data[d].role == Role::Primary
}

fn answers(sentinel: &Sentinel) -> bool {
    matches!(sentinel.watch, Watch::Up | Watch::Alone)
}

/// One round of discovery.
fn discover(nodes: usize, state: &State) -> Option<(usize, Standing)> {
    let views: Vec<SentinelView> = (0..SENTINELS)
        .filter(|s| answers(&state.sentinels[*s]))
        .map(|s| view(nodes, state, s))
        .collect();
    let elected = elect(&views, SENTINELS, MAJORITY).ok()?;
    let named = node_at(elected.address);
    let epoch = u8::try_from(elected.epoch).unwrap_or(u8::MAX);
    let primaries: Vec<usize> = (0..nodes).filter(|d| takes_writes(state, *d)).collect();
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

/// The data nodes that have not confirmed `write` to `d`.
fn missing(nodes: usize, state: &State, d: usize, write: u8) -> Vec<SocketAddrV4> {
    let others: Vec<SocketAddrV4> = (0..nodes).filter(|x| *x != d).map(address).collect();
    let offset = |log: Log| u64::from(Log::BITS - log.leading_zeros());
    let confirmed: Vec<Confirmed> = (0..nodes)
        .filter(|x| online(state, *x, d))
        .map(|x| Confirmed {
            address: address(x),
            offset: offset(state.data[x].log),
        })
        .collect();
    uncovered(&others, u64::from(write) + 1, &confirmed)
}

fn online(state: &State, replica: usize, of: usize) -> bool {
    let up = Role::Replica { of, link: Link::Up };
    state.data[replica].role == up
}

/// The answer to `ROLE` is read.
fn look(bounds: &Bounds, rules: &Rules, next: &mut State, d: usize, write: u8) {
    let confirmed = missing(bounds.nodes, next, d, write).is_empty();
    if confirmed || rules.witness == WitnessRule::PlainOk {
        acknowledge(next, write);
    }
}

/// One round of questions.
fn ask(bounds: &Bounds, rules: &Rules, state: &State, next: &mut State) -> Option<()> {
    let (d, standing) = state.writer.target?;
    let pending = state.writer.pending?;
    if !pending.stamped {
        return None;
    }
    let uncovered = missing(bounds.nodes, state, d, pending.write);
    let alone = uncovered.len() + 1 == bounds.nodes;
    let log = state.data[d].log;
    let stamp = state.history.stamp(log);
    let sole = stamp.is_some_and(|stamp| stamp.state == Completeness::Sole);
    // The mark is of the present term, by its replication history.
    let counts = stamp.is_some_and(|stamp| stamp.confirmed) && state.data[d].memory.in_term;
    if rules.term_first && (state.history.by(log) != Some(d) || !counts || alone && !sole) {
        return None;
    }
    let elected = |node: usize, epoch: u8| Elected {
        address: address(node),
        epoch: u64::from(epoch),
    };
    let submitted = not_promotable(state, &uncovered);
    // A node gives no assurance during a raise.
    let assures =
        |x: &&SocketAddrV4| !rules.assurance || state.data[node_at(**x)].raising.is_none();
    let assured: Vec<SocketAddrV4> = submitted.iter().filter(assures).copied().collect();
    let by_sentinel = |primary: Elected, s: usize| {
        let views = [interpreted_view(bounds, rules, state, s)];
        let case = UncoveredWrites {
            primary,
            uncovered: uncovered.clone(),
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
            let mut view = interpreted_view(bounds, rules, state, s);
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
    if witnesses < needed {
        return None;
    }
    acknowledge(next, pending.write);
    Some(())
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
fn interpreted_view(bounds: &Bounds, rules: &Rules, state: &State, s: usize) -> SentinelView {
    let mut interpreted_view = view(bounds.nodes, state, s);
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

fn acknowledge(next: &mut State, write: u8) {
    next.writer.acknowledged |= 1 << write;
    drop_pending(next);
}

/// Nothing is pending, so nothing is later than it.
fn drop_pending(next: &mut State) {
    next.writer.pending = None;
    for sentinel in &mut next.sentinels {
        for sight in &mut sentinel.sights {
            sight.fresh = false;
        }
    }
}

/// A writer with nothing left to write does nothing.
pub fn rest(bounds: &Bounds, state: &mut State) {
    if state.writer.pending.is_none() && state.writer.next >= bounds.writes {
        state.writer.target = None;
    }
}

/// A change of role closes all connections: the writer notices, and no earlier answer counts. The
/// end of a server may go unnoticed while the Sentinels are asked, but not until it is started
/// again.
pub fn disconnect(before: &State, after: &mut State) {
    let Some((d, _)) = after.writer.target else {
        return;
    };
    let (was, is) = (&before.data[d], &after.data[d]);
    let up = is.process == Process::Up;
    let demoted = was.role == Role::Primary && is.role != Role::Primary;
    let restarted = matches!(was.process, Process::ServerGone { .. });
    if up && (demoted || restarted) {
        drop_pending(after);
    }
}
