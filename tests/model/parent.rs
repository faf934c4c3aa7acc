//! What the parent of a data node (`halab node`) does: decided by the crate's own state machine.
//!
//! The machine keeps times, a model state has none. So a machine is made for each step: it is shown
//! what it remembers, then what is to be seen now.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis_ha_lab::node::machine::{
    Action, Identity, Machine, Observation, Peer, PeerState, SENTINEL_INFO_PERIOD, Server, Vote,
};
use redis_ha_lab::protocol::vote::{SentinelView, elect};

use super::faults;
use super::rules::{Bounds, Rules};
use super::sentinel;
use super::state::*;
use super::writer::{OLD, RECENT, address, node_at, view};

const DOWN_AFTER: Duration = Duration::from_secs(5);
/// When the machine looks, since the start of its process.
const NOW: Duration = Duration::from_secs(1000);
/// Longer than anything that a parent waits for.
const LONG: Duration = Duration::from_secs(100);

/// Shorter than anything that a parent waits for.
const SHORT: Duration = Duration::from_millis(1);

/// A step of a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It looks and acts. `patient`: it has waited for as long as it is willing to. `via`: the Sentinel
    /// that takes its call for a failover, if it makes one; `None`: the call is lost.
    Act { patient: bool, via: Option<usize> },
    /// Resumed before its server, it finds it silent for too long, and kills it.
    Kill,
    /// A raise that is under way ends: caught up with the offset that was read.
    Raised,
}

/// All steps.
pub fn all() -> Vec<Step> {
    let mut all = vec![Step::Kill, Step::Raised];
    for patient in [false, true] {
        all.push(Step::Act { patient, via: None });
        all.extend((0..SENTINELS).map(|s| Step::Act {
            patient,
            via: Some(s),
        }));
    }
    all
}

/// The lab after a step of the parent of `d`, if it can take it.
pub fn step(bounds: &Bounds, rules: &Rules, state: &State, d: usize, step: Step) -> Option<State> {
    let mut next = *state;
    match step {
        Step::Act { patient, via } => {
            let node = &state.data[d];
            let may_call = match node.process {
                Process::ServerGone { just } => just,
                Process::Up => node.role == Role::Parked,
                Process::Paused | Process::NodeGone => return None,
            };
            if via.is_some() && !may_call {
                return None;
            }
            if patient {
                match node.process {
                    // Nobody has had an answer of it for longer than the period of INFO, and all have
                    // seen their connections end.
                    Process::ServerGone { just: false } => {
                        for sentinel in &mut next.sentinels {
                            let sight = &mut sentinel.sights[d];
                            sight.info = sight.info.min(Info::Old);
                            sight.up = false;
                            sight.fresh = false;
                        }
                    }
                    Process::Up if node.role == Role::Parked && quiet(bounds.nodes, state) => {}
                    _ => return None,
                }
            }
            act(bounds, rules, &mut next, d, patient, via)?;
        }
        Step::Kill => {
            if !state.data[d].memory.overslept || state.data[d].process != Process::Up {
                return None;
            }
            faults::end_server(&mut next, d);
            next.data[d].memory.overslept = false;
        }
        Step::Raised => {
            let had = state.data[d].raising?;
            let in_sync = matches!(state.data[d].role, Role::Replica { link: Link::Up, .. });
            if !in_sync || state.data[d].log & had != had || state.data[d].process != Process::Up {
                return None;
            }
            next.data[d].raising = None;
            next.data[d].promotable = true;
        }
    }
    (next != *state).then_some(next)
}

/// Patience is measured so that it outlasts a failover: nobody is about to begin one.
fn quiet(nodes: usize, state: &State) -> bool {
    state
        .sentinels
        .iter()
        .filter(|s| s.watch == Watch::Up)
        .all(|s| s.failover.is_none() && !(0..nodes).any(|d| sentinel::selectable(s, d)))
}

fn act(
    bounds: &Bounds,
    rules: &Rules,
    next: &mut State,
    d: usize,
    patient: bool,
    via: Option<usize>,
) -> Option<()> {
    let seen = observe(bounds.nodes, next, d, patient)?;
    let mut machine = recall(bounds.nodes, &next.data[d], d, &seen, patient);
    let named = seen.vote.is_some_and(|v| v.primary == address(d));
    let actions = machine.step(&seen);
    next.data[d].memory.overslept = false;
    if let Process::ServerGone { just } = &mut next.data[d].process {
        *just = false;
    }
    if !rules.guard && seen.server == Server::Gone && named {
        start(rules, next, d);
        next.data[d].role = Role::Primary;
        return via.is_none().then_some(());
    }
    let mut called = false;
    for action in actions {
        let was_primary = next.data[d].memory.was_primary;
        match action {
            Action::CallFailover(_) if named || !rules.named_only => {
                called = true;
                if let Some(s) = via {
                    take_call(bounds, rules, next, d, s)?;
                }
            }
            Action::Start if rules.named_only && was_primary && !named && !forgotten(next, d) => {}
            Action::Start => start(rules, next, d),
            Action::StartAfresh => {
                start(rules, next, d);
                next.data[d].log = 0;
                next.data[d].memory.deposed = true;
            }
            Action::Promote(_) => {
                next.data[d].role = Role::Primary;
                next.data[d].placed = true;
            }
            Action::Follow(of, _) => {
                // Followed though the Sentinels still name this node: deposed.
                next.data[d].memory.deposed |= named;
                next.data[d].role = Role::Replica {
                    of: node_at(of),
                    link: Link::Down,
                };
                next.data[d].raising = None;
            }
            Action::Raise => {
                if let Role::Replica { of, .. } = next.data[d].role
                    && next.can_replicate(d, of)
                    && next.data[d].raising.is_none()
                {
                    next.data[d].raising = Some(next.data[of].log);
                }
            }
            Action::Lower(_) if rules.promotability => next.data[d].promotable = false,
            _ => {}
        }
    }
    (via.is_none() || called).then_some(())
}

/// Sentinel `s` takes the call of the parent of `d` for a failover, if it can.
fn take_call(bounds: &Bounds, rules: &Rules, next: &mut State, d: usize, s: usize) -> Option<()> {
    let asked = next.sentinel_reaches(s, d)
        && (next.sentinels[s].primary == d || !rules.named_only)
        && sentinel::force(bounds.nodes, bounds.max_epoch, next, s);
    asked.then_some(())
}

/// No Sentinel has had an INFO of the node within the period.
fn forgotten(state: &State, d: usize) -> bool {
    state
        .sentinels
        .iter()
        .all(|s| s.sights[d].info != Info::Recent || s.primary == d)
}

fn start(rules: &Rules, next: &mut State, d: usize) {
    let node = &mut next.data[d];
    node.process = Process::Up;
    node.promotable = !rules.promotability;
    node.raising = None;
    node.placed = false;
    node.memory.was_primary = false;
    node.role = Role::Parked;
}

/// What the parent of `d` sees; `None`: there is no parent, or it is stopped.
fn observe(nodes: usize, state: &State, d: usize, patient: bool) -> Option<Observation> {
    let node = &state.data[d];
    let server = match (node.process, node.role) {
        (Process::ServerGone { .. }, _) => Server::Gone,
        (Process::Paused | Process::NodeGone, _) => return None,
        (
            Process::Up,
            Role::Replica {
                link: Link::Loading(_),
                ..
            },
        ) => Server::Loading,
        (Process::Up, Role::Parked) => Server::Parked,
        (Process::Up, Role::Primary) => Server::Primary { replicas: 1 },
        (Process::Up, Role::Replica { of, link }) => Server::Replica {
            of: address(of),
            link_down_for: (link != Link::Up).then_some(LONG),
            promotable: node.promotable,
        },
    };
    let peer = |p: usize| {
        let peer = &state.data[p];
        let silent = if patient { LONG } else { Duration::ZERO };
        let there = peer.process == Process::Up && state.data_reach(d, p);
        Peer {
            address: address(p),
            state: match peer.role {
                _ if !there => PeerState::Unreachable(silent),
                Role::Primary => PeerState::Primary {
                    has_data: peer.log != 0,
                },
                _ => PeerState::Replica {
                    promotable: peer.promotable,
                },
            },
        }
    };
    Some(Observation {
        now: NOW,
        server,
        disk_refuses: false,
        vote: vote(nodes, state, d),
        peers: (0..nodes).filter(|p| *p != d).map(peer).collect(),
    })
}

/// What the Sentinels that `d` reaches say.
fn vote(nodes: usize, state: &State, d: usize) -> Option<Vote> {
    let asked: Vec<usize> = (0..SENTINELS)
        .filter(|s| state.sentinel_reaches(*s, d))
        .collect();
    let views: Vec<SentinelView> = asked.iter().map(|s| view(nodes, state, *s)).collect();
    let elected = elect(&views, SENTINELS, MAJORITY).ok()?;
    let primary = node_at(elected.address);
    let agreeing = || {
        asked
            .iter()
            .copied()
            .filter(|s| state.sentinels[*s].primary == primary)
    };
    let proofs = agreeing()
        .filter(|s| state.sentinels[*s].sights[primary].up)
        .filter(|s| state.answers_sentinel(*s, primary))
        .filter(|_| state.data[primary].role == Role::Primary)
        .count();
    let ages = || agreeing().map(|s| state.sentinels[s].sights[d]);
    Some(Vote {
        primary: elected.address,
        epoch: elected.epoch,
        knows_replicas: true,
        primary_alive_within: (proofs >= MAJORITY).then_some(Duration::ZERO),
        my_info_age: ages()
            .filter_map(|sight| match sight.info {
                Info::Never => None,
                Info::Old => Some(OLD),
                Info::Recent => Some(RECENT),
            })
            .min(),
        sees_me: ages().all(|sight| sight.up && sight.info != Info::Never),
    })
}

/// The machine as it is before this look.
fn recall(nodes: usize, node: &Data, d: usize, seen: &Observation, patient: bool) -> Machine {
    let mut machine = Machine::new(Identity {
        me: address(d),
        seed: address(0),
        has_state: true,
        has_data: true,
        hang_timeout: Duration::from_secs(1),
        down_after: DOWN_AFTER,
    });
    let memory = node.memory;
    let mut show = |now: Duration, server: Server, vote: Option<Vote>, peers: Vec<Peer>| {
        // What it would have done then is done.
        drop(machine.step(&Observation {
            now,
            server,
            disk_refuses: false,
            vote,
            peers,
        }));
    };
    let names = |primary: SocketAddrV4, epoch: u8| Vote {
        primary,
        epoch: u64::from(epoch),
        knows_replicas: true,
        primary_alive_within: None,
        my_info_age: Some(Duration::ZERO),
        sees_me: false,
    };
    if memory.served {
        show(Duration::from_secs(0), Server::Gone, None, Vec::new());
        let served = Server::Replica {
            of: address(d),
            link_down_for: None,
            promotable: true,
        };
        show(Duration::from_secs(1), served, None, Vec::new());
    }
    if memory.deposed {
        let submitted = Server::Replica {
            of: address(NODES),
            link_down_for: Some(LONG),
            promotable: false,
        };
        show(
            Duration::from_secs(2),
            submitted,
            Some(names(address(d), 0)),
            Vec::new(),
        );
    }
    if memory.was_primary {
        let mine = (memory.named_at > 0).then(|| names(address(d), memory.named_at));
        show(
            Duration::from_secs(2),
            Server::Primary { replicas: 1 },
            mine,
            Vec::new(),
        );
    }
    let known = (0..nodes).filter(|p| memory.known & (1 << p) != 0);
    let replicas = known.map(|p| Peer {
        address: address(p),
        state: PeerState::Replica { promotable: false },
    });
    show(
        Duration::from_secs(3),
        Server::Starting,
        None,
        replicas.collect(),
    );
    match seen.server {
        Server::Gone if node.process == (Process::ServerGone { just: false }) => {
            // It has seen the end, and waits: for a promotion, or until it is forgotten.
            let others = Some(names(address(NODES), 0));
            let hope = Peer {
                address: address(NODES),
                state: PeerState::Replica { promotable: true },
            };
            let since = if patient { NOW - LONG } else { NOW - SHORT };
            show(since, Server::Gone, others, vec![hope]);
        }
        Server::Parked if patient => show(NOW - LONG, Server::Parked, None, Vec::new()),
        _ => {}
    }
    machine
}

/// What the parents have seen by now: they look often, and what they remember changes at once.
pub fn remember(nodes: usize, state: &mut State) {
    for d in 0..nodes {
        let node = state.data[d];
        if node.process != Process::Up {
            continue;
        }
        let serving = node.role != Role::Parked;
        let mut memory = node.memory;
        let named = named_by_majority(state, d);
        memory.was_primary = node.role == Role::Primary;
        memory.served |= serving;
        for p in (0..nodes).filter(|p| *p != d && state.data_reach(d, *p)) {
            let peer = &state.data[p];
            match peer.role {
                _ if peer.process != Process::Up => {}
                Role::Primary if serving => memory.known &= !(1 << p),
                Role::Primary => {}
                _ => memory.known |= 1 << p,
            }
        }
        if let Some(epoch) = named {
            memory.named_at = epoch;
        }
        if node.role != Role::Primary {
            memory.named_at = 0;
        }
        memory.deposed = match node.role {
            Role::Primary => false,
            Role::Replica { link: Link::Up, .. } => false,
            Role::Replica { .. } => memory.deposed || named.is_some(),
            Role::Parked => memory.deposed,
        };
        state.data[d].memory = memory;
    }
}

/// The epoch at which a majority of the Sentinels that `d` reaches names it.
fn named_by_majority(state: &State, d: usize) -> Option<u8> {
    let names = |s: &usize| state.sentinel_reaches(*s, d) && state.sentinels[*s].primary == d;
    let mut epochs: Vec<u8> = (0..SENTINELS)
        .filter(names)
        .map(|s| state.sentinels[s].epoch)
        .collect();
    epochs.sort_unstable();
    epochs
        .windows(MAJORITY)
        .find(|w| w[0] == w[1])
        .map(|w| w[0])
}

const _: () = assert!(RECENT.as_millis() < SENTINEL_INFO_PERIOD.as_millis());
const _: () = assert!(OLD.as_millis() > SENTINEL_INFO_PERIOD.as_millis());
