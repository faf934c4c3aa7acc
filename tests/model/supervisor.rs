//! The supervisor of a data node (`halab node`), decided by the crate's own state machine.
//!
//! The machine measures times, but a model state has none. So a machine is created for each step.
//! It is shown what the supervisor remembers, and then the present observation.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis_ha_lab::node::machine::{
    Action, Machine, MachineConfig, MarkSummary, Observation, OwnData, Peer, PeerCopy, PeerState,
    SENTINEL_INFO_PERIOD, ServerState, Vote,
};
use redis_ha_lab::protocol::copy::{Completeness, DataCopy, Relation};
use redis_ha_lab::protocol::vote::{SentinelView, elect, settled_within};

use super::confirmation::{OLD, RECENT, address, node_at, view};
use super::faults;
use super::marks::name;
use super::rules::{Bounds, Rules};
use super::sentinel;
use super::state::*;
use super::writer;

const DOWN_AFTER: Duration = Duration::from_secs(5);
/// The time of the present observation, since the start of the process.
const NOW: Duration = Duration::from_secs(1000);
/// Longer than anything that a supervisor waits for.
const LONG: Duration = Duration::from_secs(100);

/// Shorter than anything that a supervisor waits for.
const SHORT: Duration = Duration::from_millis(1);

/// A step of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It observes and acts. `patient`: it has waited as long as it can. `via`: the Sentinel that
    /// accepts its call for a failover, if it makes one; `None`: the call is lost.
    Act { patient: bool, via: Option<usize> },
    /// Resumed before its server, it finds the server silent for too long, and kills it.
    Kill,
    /// A raise in progress ends: the offset that was read is reached.
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

/// The lab after a step of the supervisor of `d`, if it is possible.
pub fn step(bounds: &Bounds, rules: &Rules, state: &State, d: usize, step: Step) -> Option<State> {
    let mut next = *state;
    match step {
        Step::Act { patient, via } => {
            let node = &state.data[d];
            let may_call = match node.process {
                Process::ServerGone { just } => just,
                Process::Up => without_role(node),
                Process::Paused | Process::NodeGone => return None,
            };
            if via.is_some() && !may_call {
                return None;
            }
            if patient {
                match node.process {
                    // No Sentinel has had an answer of it within the INFO period, and all have seen
                    // their connections end.
                    Process::ServerGone { just: false } => {
                        for sentinel in &mut next.sentinels {
                            let sight = &mut sentinel.sights[d];
                            sight.info = sight.info.min(Info::Old);
                            sight.up = false;
                            sight.fresh = 0;
                        }
                    }
                    Process::Up if without_role(node) && quiet(bounds.nodes, state) => {}
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

/// Parked, or a replica without a link to its primary.
fn without_role(node: &Data) -> bool {
    match node.role {
        Role::Parked => true,
        Role::Replica { link, .. } => link == Link::Down,
        Role::Primary => false,
    }
}

/// Patience outlasts a failover: nothing is about to begin one.
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
    let seen = observe(bounds.nodes, rules, next, d, patient)?;
    let mut machine = restore_machine(bounds.nodes, &next.data[d], d, &seen, patient);
    let named = seen.vote.is_some_and(|v| v.primary == address(d));
    let actions = machine.step(&seen);
    let just_ended = next.data[d].process == Process::ServerGone { just: true }
        && next.data[d].memory.was_primary;
    next.data[d].memory.overslept = false;
    if let Process::ServerGone { just } = &mut next.data[d].process {
        *just = false;
    }
    if !rules.guard && seen.server == ServerState::Gone && named {
        start(rules, next, d);
        next.data[d].role = Role::Primary;
        next.data[d].blocked = false;
        return via.is_none().then_some(());
    }
    let mut called = false;
    if just_ended
        && !rules.candidate_called
        && let Some(s) = via
    {
        called = true;
        take_call(bounds, rules, next, d, s)?;
    }
    for action in actions {
        match action {
            Action::CallFailover(_) if named || !rules.named_only => {
                called = true;
                if let Some(s) = via {
                    take_call(bounds, rules, next, d, s)?;
                }
            }
            // A replica waits longer than a primary needs to mark that it is the only copy.
            Action::Lower("the link is down and the primary is alive")
                if rules.compare && !knows_that_it_is_alone(bounds.nodes, next, d) =>
            {
                return None;
            }
            Action::Park(_) if !rules.compare && !named => {
                follow(next, d, node_at(seen.vote?.primary));
            }
            Action::Follow(of, _) => {
                // Followed while the Sentinels still name this node: deposed.
                let replaced = rules.deposed && next.data[d].role == Role::Primary;
                next.data[d].memory.deposed |= named || replaced;
                follow(next, d, node_at(of));
            }
            _ => carry_out(rules, next, d, named, action),
        }
    }
    (via.is_none() || called).then_some(())
}

/// Whether the primary of `d`, whose link is down, has marked that it is the only copy, if it is.
fn knows_that_it_is_alone(nodes: usize, state: &State, d: usize) -> bool {
    let Role::Replica { of, .. } = state.data[d].role else {
        return true;
    };
    let node = &state.data[of];
    let serves = node.process == Process::Up && node.role == Role::Primary;
    let others = (0..nodes).any(|x| {
        let link = Role::Replica { of, link: Link::Up };
        state.data[x].role == link && state.can_replicate(x, of)
    });
    let stamp = state.history.stamp(node.log);
    let sole = stamp.is_some_and(|stamp| stamp.state == Completeness::Sole);
    !serves || others || (node.memory.in_term && sole)
}

fn carry_out(rules: &Rules, next: &mut State, d: usize, named: bool, action: Action) {
    let was_primary = next.data[d].memory.was_primary;
    match action {
        Action::Start if rules.named_only && was_primary && !named && !forgotten(next, d) => {}
        Action::Start => start(rules, next, d),
        Action::StartAfresh => {
            start(rules, next, d);
            next.data[d].log = 0;
            next.data[d].memory.deposed = true;
        }
        Action::Promote(_) => {
            let node = &mut next.data[d];
            node.role = Role::Primary;
            node.placed = true;
            begin_term(rules, next, d, true);
        }
        Action::BeginTerm => begin_term(rules, next, d, false),
        Action::Mark(marking) => {
            let epoch = marking.epoch.and_then(|epoch| u8::try_from(epoch).ok());
            let (confirmed, state) = (marking.confirmed, marking.state);
            let before = *next;
            let log = next.data[d].log;
            if let Some(mark) = next.history.next(log, epoch, confirmed, state) {
                next.data[d].log |= 1 << mark;
                writer::sync(&before, next, d);
                if state == Completeness::Sole {
                    next.data[d].synced = next.data[d].log;
                }
            }
        }
        Action::Stand(_) if rules.stand => {
            next.data[d].promotable = true;
            next.data[d].memory.standing = true;
        }
        Action::Park(why) if rules.park || why != "the node that it follows does not serve" => {
            let node = &mut next.data[d];
            node.memory.deposed |= rules.deposed && node.role == Role::Primary;
            node.role = Role::Parked;
            node.promotable = !rules.promotability;
            node.blocked = true;
            node.raising = None;
        }
        Action::Raise => {
            if let Role::Replica { of, .. } = next.data[d].role
                && next.can_replicate(d, of)
                && next.data[d].raising.is_none()
            {
                next.data[d].raising = Some(next.data[of].log);
            }
        }
        Action::Lower(why) if rules.promotability => {
            next.data[d].promotable = false;
            next.data[d].memory.standing &= why != "the reason to stand is gone";
        }
        _ => {}
    }
}

fn follow(next: &mut State, d: usize, of: usize) {
    let node = &mut next.data[d];
    node.role = Role::Replica {
        of,
        link: Link::Down,
    };
    node.promotable = false;
    node.blocked = false;
    node.raising = None;
}

/// The term of `d` begins with a mark.
fn begin_term(rules: &Rules, next: &mut State, d: usize, decided: bool) {
    let epoch = named_by_majority(next, d);
    let node = &mut next.data[d];
    node.blocked = false;
    node.memory.in_term = true;
    node.memory.decided = decided && rules.settle;
    if rules.compare {
        let announced = epoch.is_some() && !node.memory.decided;
        let confirmed = announced || decided && !rules.settle || !rules.confirm;
        let mark = next.history.begin(node.log, d, epoch, confirmed);
        node.log |= 1 << mark;
    }
}

/// Sentinel `s` accepts the call for a failover from the supervisor of `d`, if it can.
fn take_call(bounds: &Bounds, rules: &Rules, next: &mut State, d: usize, s: usize) -> Option<()> {
    let asked = next.sentinel_reaches(s, d)
        && (next.sentinels[s].primary == d || !rules.named_only)
        && sentinel::force(bounds.nodes, bounds.highest(next.past), next, s);
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
    node.blocked = true;
    node.memory.was_primary = false;
    node.memory.standing = false;
    node.role = Role::Parked;
}

/// The observation of the supervisor of `d`; `None` if there is no supervisor, or it is stopped.
fn observe(
    nodes: usize,
    rules: &Rules,
    state: &State,
    d: usize,
    patient: bool,
) -> Option<Observation> {
    let node = &state.data[d];
    let heard = |x: &usize| {
        let link = Role::Replica {
            of: d,
            link: Link::Up,
        };
        state.data[*x].role == link && state.can_replicate(*x, d)
    };
    let server = match (node.process, node.role) {
        (Process::ServerGone { .. }, _) => ServerState::Gone,
        (Process::Paused | Process::NodeGone, _) => return None,
        (
            Process::Up,
            Role::Replica {
                link: Link::Loading(_),
                ..
            },
        ) => ServerState::Loading,
        (Process::Up, Role::Parked) => ServerState::Parked,
        (Process::Up, Role::Primary) => ServerState::Primary {
            replicas: (0..nodes).filter(heard).count(),
        },
        (Process::Up, Role::Replica { of, link }) => ServerState::Replica {
            of: address(of),
            link_down_for: (link != Link::Up).then_some(LONG),
            promotable: node.promotable,
        },
    };
    let held = held(state, d);
    let peer = |p: usize| {
        let peer = &state.data[p];
        let silent = if patient { LONG } else { Duration::ZERO };
        let there = peer.process == Process::Up && state.data_reach(d, p);
        Peer {
            address: address(p),
            state: match peer.role {
                _ if !there => PeerState::Unreachable(silent),
                Role::Primary => PeerState::Primary,
                _ => PeerState::Replica {
                    promotable: peer.promotable,
                },
            },
            copy: if there {
                peer_copy(rules, state, held.as_ref(), (d, p))
            } else {
                PeerCopy::UNREAD
            },
            readable: true,
            follows_me: there && matches!(peer.role, Role::Replica { of, .. } if of == d),
        }
    };
    Some(Observation {
        now: NOW,
        server,
        disk_refuses: false,
        unreadable: false,
        // The model's servers apply it at once.
        sync_always: None,
        own: own(rules, state, held.as_ref(), d),
        // Data that is set aside is gone in the model, which is worse.
        set_aside: false,
        in_term: node.memory.in_term || !rules.compare,
        written: state.history.unmarked(node.log),
        chosen: false,
        vote: vote(nodes, state, d, patient),
        peers: (0..nodes).filter(|p| *p != d).map(peer).collect(),
    })
}

/// The copy that the server of `d` reports; `None` while it is loading, or gone.
fn held(state: &State, d: usize) -> Option<DataCopy> {
    let node = &state.data[d];
    let loading = matches!(
        node.role,
        Role::Replica {
            link: Link::Loading(_),
            ..
        }
    );
    (node.process == Process::Up && !loading).then(|| state.history.copy(node.log))
}

fn own(rules: &Rules, state: &State, held: Option<&DataCopy>, d: usize) -> OwnData {
    match held {
        None => OwnData::Unread,
        Some(DataCopy::Empty) => OwnData::Empty,
        // Any data counts as complete.
        Some(_) if !rules.compare => OwnData::Data(MarkSummary {
            state: Some(Completeness::Closed),
            epoch: Some(u64::MAX),
            mine: true,
            confirmed: true,
            current: true,
        }),
        Some(copy) => OwnData::Data(copy.mark().map_or(MarkSummary::NONE, |mark| MarkSummary {
            state: Some(mark.state),
            epoch: mark.epoch,
            confirmed: mark.confirmed,
            current: state.data[d].memory.in_term,
            mine: state.history.by(state.data[d].log) == Some(d),
        })),
    }
}

fn peer_copy(
    rules: &Rules,
    state: &State,
    own: Option<&DataCopy>,
    (d, p): (usize, usize),
) -> PeerCopy {
    let Some(copy) = held(state, p) else {
        return PeerCopy::UNREAD;
    };
    let there_is = copy != DataCopy::Empty;
    let serves = state.data[p].role == Role::Primary;
    let against = |own: &DataCopy| {
        if rules.sole_writer {
            own.against_that_of(name(d), &copy, name(p), serves)
        } else {
            own.against(&copy, serves)
        }
    };
    let compared = match own.map(against) {
        // Only the existence of data decides.
        Some(_) if !rules.compare && own == Some(&DataCopy::Empty) && there_is => {
            Some(Relation::More)
        }
        Some(_) if !rules.compare => Some(Relation::Same),
        Some(Relation::Less | Relation::Apart) if !rules.keep_more && serves => {
            Some(Relation::Same)
        }
        compared => compared,
    };
    PeerCopy {
        relation: compared,
        data: there_is,
        settled: !rules.compare || state.data[p].memory.in_term || copy.mark().is_none(),
        given_up: false,
    }
}

/// The answers of the Sentinels that `d` reaches.
fn vote(nodes: usize, state: &State, d: usize, patient: bool) -> Option<Vote> {
    let asked: Vec<usize> = (0..SENTINELS)
        .filter(|s| state.sentinel_reaches(*s, d))
        .collect();
    let views: Vec<SentinelView> = asked.iter().map(|s| view(nodes, state, *s, 0)).collect();
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
    let silent = agreeing().all(|s| !state.answers_sentinel(s, primary));
    let ages = || agreeing().map(|s| state.sentinels[s].sights[d]);
    Some(Vote {
        primary: elected.address,
        epoch: elected.epoch,
        knows_replicas: views.iter().any(|v| v.known_replicas > 0),
        primary_silent_for: if silent && patient {
            LONG
        } else {
            Duration::ZERO
        },
        primary_alive_within: (proofs >= MAJORITY).then_some(Duration::ZERO),
        primary_settled_within: settled_within(&views, elected),
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

/// An earlier observation, as far as it is remembered.
fn earlier(
    now: Duration,
    server: ServerState,
    vote: Option<Vote>,
    peers: Vec<Peer>,
) -> Observation {
    Observation {
        now,
        server,
        disk_refuses: false,
        unreadable: false,
        sync_always: None,
        own: OwnData::Unread,
        set_aside: false,
        in_term: true,
        written: false,
        chosen: false,
        vote,
        peers,
    }
}

/// A replica that holds less.
fn holds_less() -> Peer {
    Peer {
        address: address(NODES),
        state: PeerState::Replica { promotable: false },
        copy: PeerCopy {
            relation: Some(Relation::Less),
            data: true,
            settled: true,
            given_up: false,
        },
        readable: true,
        follows_me: false,
    }
}

fn names(primary: SocketAddrV4, epoch: u8) -> Vote {
    Vote {
        primary,
        epoch: u64::from(epoch),
        knows_replicas: true,
        primary_silent_for: Duration::ZERO,
        primary_alive_within: None,
        primary_settled_within: None,
        my_info_age: Some(Duration::ZERO),
        sees_me: false,
    }
}

/// The machine before this observation.
fn restore_machine(
    nodes: usize,
    node: &Data,
    d: usize,
    seen: &Observation,
    patient: bool,
) -> Machine {
    let mut machine = Machine::new(MachineConfig {
        me: address(d),
        seed: address(0),
        has_state: !node.first,
        hang_timeout: Duration::from_secs(1),
        down_after: DOWN_AFTER,
    });
    let memory = node.memory;
    // What it would have done then is done.
    let mut show = |seen: Observation| drop(machine.step(&seen));
    let nobody = Vec::new;
    if memory.served {
        show(earlier(
            Duration::from_secs(0),
            ServerState::Gone,
            None,
            nobody(),
        ));
        let served = ServerState::Replica {
            of: address(d),
            link_down_for: None,
            promotable: true,
        };
        show(earlier(Duration::from_secs(1), served, None, nobody()));
    }
    if memory.deposed {
        let submitted = ServerState::Replica {
            of: address(NODES),
            link_down_for: Some(LONG),
            promotable: false,
        };
        let vote = Some(names(address(d), 0));
        show(earlier(Duration::from_secs(2), submitted, vote, nobody()));
    }
    if memory.decided {
        let mine = Some(names(address(d), 0));
        let mut alone = earlier(
            Duration::from_millis(1500),
            ServerState::Parked,
            mine,
            vec![holds_less()],
        );
        alone.own = OwnData::Data(MarkSummary::NONE);
        show(alone);
    }
    if memory.was_primary {
        let mine = memory.named_at.map(|epoch| names(address(d), epoch));
        let primary = ServerState::Primary { replicas: 1 };
        show(earlier(Duration::from_secs(2), primary, mine, nobody()));
    }
    let known = (0..nodes).filter(|p| memory.known & (1 << p) != 0);
    let replicas = known.map(|p| Peer {
        address: address(p),
        state: PeerState::Replica { promotable: false },
        copy: PeerCopy::UNREAD,
        readable: true,
        follows_me: false,
    });
    // A majority answered recently.
    let now = NOW - SHORT * 2;
    let heard = Some(names(address(NODES), 0));
    let before = if patient { NOW - LONG } else { now };
    show(earlier(
        before,
        ServerState::Starting,
        heard,
        replicas.collect(),
    ));
    let since = if patient { NOW - LONG } else { NOW - SHORT };
    match seen.server {
        ServerState::Gone if node.process == (Process::ServerGone { just: false }) => {
            // It has seen the end, and waits: for a promotion, or until it is forgotten.
            let hope = Peer {
                address: address(NODES),
                state: PeerState::Replica { promotable: true },
                copy: PeerCopy::UNREAD,
                readable: true,
                follows_me: false,
            };
            show(earlier(since, ServerState::Gone, heard, vec![hope]));
        }
        ServerState::Parked | ServerState::Replica { .. } if memory.standing => {
            let mut stood = earlier(since, ServerState::Parked, heard, vec![holds_less()]);
            stood.own = OwnData::Data(MarkSummary::NONE);
            show(stood);
        }
        ServerState::Primary { .. } if memory.unasked => {
            show(earlier(since, ServerState::Parked, heard, nobody()));
        }
        ServerState::Parked if patient => show(earlier(since, ServerState::Parked, None, nobody())),
        _ => {}
    }
    machine
}

/// Updates the memory of the supervisors: they look often, and what they remember changes at once.
pub fn remember(nodes: usize, rules: &Rules, state: &mut State) {
    for d in 0..nodes {
        let node = state.data[d];
        if node.process != Process::Up {
            continue;
        }
        if node.memory.unasked {
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
        if named.is_some() {
            memory.named_at = named;
        }
        if node.role != Role::Primary {
            memory.named_at = None;
            memory.in_term = false;
        }
        let counts = (state.history.stamp(node.log)).is_some_and(|stamp| stamp.confirmed);
        memory.decided &= memory.in_term && !counts;
        memory.standing &= match node.role {
            Role::Primary | Role::Replica { link: Link::Up, .. } => false,
            Role::Replica { .. } | Role::Parked => true,
        };
        memory.deposed = match node.role {
            Role::Primary => false,
            Role::Replica { link: Link::Up, .. } => false,
            Role::Replica { .. } => {
                let demoted = rules.deposed && node.memory.was_primary;
                memory.deposed || demoted || named.is_some()
            }
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
