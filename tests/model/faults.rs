//! Faults, their healing, and when a lost node is recovered.

use redis_ha_lab::protocol::copy::Completeness;

use super::marks::cut_off;
use super::reader;
use super::rules::{Bounds, Rules};
use super::sentinel;
use super::state::*;

/// A kind of fault; see [`inject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server of a data node ends; its supervisor keeps running.
    Server,
    /// Server and supervisor end.
    Node,
    /// Server and supervisor are stopped and later resumed.
    Pause,
    /// A data node is cut off from some others.
    Cut,
    /// A Sentinel ends, stops, or loses all nodes except the writer.
    Sentinel,
    /// A data node ends, and its disk is lost.
    NewDisk,
    /// A data node ends, and an older state of its disk comes back.
    OldDisk,
    /// A planned handover.
    Handover,
    /// A replica leaves on request.
    Leave,
    /// Everything is stopped as one act, and started again.
    Close,
    /// Everything ends at once, and is started again.
    Kill,
    /// While everything is stopped, a disk is lost.
    StoppedNewDisk,
    /// While everything is stopped, an older state of a disk comes back, or its tail is removed to
    /// make it readable.
    StoppedOldDisk,
    /// While everything is stopped, a host is lost for good.
    StoppedHost,
    /// While everything is stopped, the primary gets another name, so the Sentinels begin again
    /// with the seed.
    Rename,
}

/// What was not on disk yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Kept,
    /// The newest entry, a write or a mark.
    Entry,
    /// The newest write, and the marks after it.
    Write,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash {
        node: usize,
        kind: Kind,
        tail: Tail,
    },
    Pause(usize),
    Cut {
        node: usize,
        /// The number of Sentinels, in their present order.
        sentinels: usize,
        from_data: bool,
        from_writer: bool,
    },
    Watch(usize, Watch),
    /// The node ends, and keeps only what was below so many of its newest marks (0: below its
    /// newest write), or nothing.
    Disk {
        node: usize,
        marks: Option<u32>,
    },
    Handover(usize),
    Leave(usize),
    /// `closed`: as one act.
    StopAll {
        closed: bool,
    },
    Absent(usize),
    /// The host that was lost for good comes back.
    Return,
    Rename,
}

/// The end of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Healing {
    Start(usize),
    Resume(usize),
    Join,
    Watch(usize),
    /// The old primary of a handover follows the new one.
    Submit,
}

/// All faults of the kinds within the bounds.
pub fn all(bounds: &Bounds) -> Vec<Fault> {
    let mut all = Vec::new();
    for kind in bounds.kinds {
        for node in 0..bounds.nodes {
            match kind {
                Kind::Server | Kind::Node => {
                    for tail in [Tail::Kept, Tail::Entry, Tail::Write] {
                        all.push(Fault::Crash {
                            node,
                            kind: *kind,
                            tail,
                        });
                    }
                }
                Kind::Pause => all.push(Fault::Pause(node)),
                Kind::Cut => {
                    for (sentinels, from_data, from_writer) in [
                        (0, true, false),
                        (SENTINELS, true, true),
                        (SENTINELS, true, false),
                        (SENTINELS, false, false),
                        (MAJORITY, true, false),
                        (MAJORITY, false, false),
                        (1, true, false),
                    ] {
                        all.push(Fault::Cut {
                            node,
                            sentinels,
                            from_data,
                            from_writer,
                        });
                    }
                }
                Kind::NewDisk | Kind::StoppedNewDisk => {
                    all.push(Fault::Disk { node, marks: None });
                }
                Kind::OldDisk | Kind::StoppedOldDisk => {
                    for marks in [0, 1, 2] {
                        let marks = Some(marks);
                        all.push(Fault::Disk { node, marks });
                    }
                }
                Kind::Leave => all.push(Fault::Leave(node)),
                Kind::StoppedHost => all.push(Fault::Absent(node)),
                Kind::Sentinel | Kind::Handover | Kind::Close | Kind::Kill | Kind::Rename => {}
            }
        }
        match kind {
            Kind::Sentinel => {
                for s in 0..SENTINELS {
                    for watch in [Watch::Gone, Watch::Paused, Watch::Alone] {
                        all.push(Fault::Watch(s, watch));
                    }
                }
            }
            Kind::Handover => all.extend((0..SENTINELS).map(Fault::Handover)),
            Kind::Close => all.push(Fault::StopAll { closed: true }),
            Kind::Kill => all.push(Fault::StopAll { closed: false }),
            Kind::StoppedHost => all.push(Fault::Return),
            Kind::Rename => all.push(Fault::Rename),
            _ => {}
        }
    }
    all
}

/// Everything is stopped, and nothing has been started again.
fn stopped(nodes: usize, state: &State) -> bool {
    let data = state.data.iter().take(nodes);
    state.lost == Lost::All
        && data.map(|x| x.process).all(|p| p == Process::NodeGone)
        && state.sentinels.iter().all(|s| s.watch == Watch::Gone)
}

/// Whether the fault is of that kind.
fn is_of(kind: Kind, fault: Fault) -> bool {
    match fault {
        Fault::Crash { kind: its, .. } => kind == its,
        Fault::Pause(_) => kind == Kind::Pause,
        Fault::Cut { .. } => kind == Kind::Cut,
        Fault::Watch(..) => kind == Kind::Sentinel,
        Fault::Disk { marks: None, .. } => matches!(kind, Kind::NewDisk | Kind::StoppedNewDisk),
        Fault::Disk { marks: Some(_), .. } => {
            matches!(kind, Kind::OldDisk | Kind::StoppedOldDisk)
        }
        Fault::Handover(_) => kind == Kind::Handover,
        Fault::Leave(_) => kind == Kind::Leave,
        Fault::StopAll { closed: true } => kind == Kind::Close,
        Fault::StopAll { closed: false } => kind == Kind::Kill,
        Fault::Absent(_) | Fault::Return => kind == Kind::StoppedHost,
        Fault::Rename => kind == Kind::Rename,
    }
}

/// The kind of the next fault, if their order is given.
fn next_kind(bounds: &Bounds, state: &State) -> Option<Kind> {
    let next = bounds.kinds.get(usize::from(state.faults)).copied();
    next.filter(|_| bounds.at_once && state.faults < bounds.faults)
}

/// Whether a fault has to come before anything is started again.
pub fn is_due(bounds: &Bounds, state: &State) -> bool {
    let of_the_stopped = matches!(
        next_kind(bounds, state),
        Some(Kind::StoppedNewDisk | Kind::StoppedOldDisk | Kind::StoppedHost | Kind::Rename)
    );
    of_the_stopped && stopped(bounds.nodes, state)
}

/// Whether the fault may happen now: one node at a time, or together with a planned change.
fn in_turn(bounds: &Bounds, state: &State, fault: Fault) -> bool {
    let kind = |kind| bounds.kinds.contains(&kind);
    if let Some(next) = next_kind(bounds, state)
        && fault != Fault::Return
    {
        let over = state.faults > 0 && at_its_best(bounds.nodes, state);
        if over || !is_of(next, fault) {
            return false;
        }
    }
    match fault {
        Fault::Return => return true,
        Fault::Absent(_) | Fault::Rename => return stopped(bounds.nodes, state),
        Fault::Disk { marks, .. } if stopped(bounds.nodes, state) => {
            return match marks {
                None => kind(Kind::StoppedNewDisk),
                Some(_) => kind(Kind::StoppedOldDisk),
            };
        }
        Fault::Disk { marks: None, .. } if !kind(Kind::NewDisk) => return false,
        Fault::Disk { marks: Some(_), .. } if !kind(Kind::OldDisk) => return false,
        // Until the old primary is promotable again, the new one has to keep its data.
        Fault::Crash {
            node,
            tail: Tail::Entry | Tail::Write,
            ..
        }
        | Fault::Disk { node, .. }
            if kind(Kind::Handover)
                && state.data[node].role == Role::Primary
                && state.handing != Some(node)
                && !at_its_best(bounds.nodes, state) =>
        {
            return false;
        }
        // Together with a handover: that of the new primary, after all writes.
        Fault::Crash { node, .. }
            if bounds.at_once
                && kind(Kind::Handover)
                && (state.data[node].role != Role::Primary
                    || state.handing == Some(node)
                    || bounds.writes > 0 && state.writer.acknowledged == 0) =>
        {
            return false;
        }
        Fault::StopAll { closed: false } if bounds.overlap => {
            return state.lost != Lost::All;
        }
        _ => {}
    }
    state.lost == Lost::Nothing || overlaps(bounds, state, fault)
}

/// The lab after a fault, if it may happen now.
pub fn inject(bounds: &Bounds, rules: &Rules, state: &State, fault: Fault) -> Option<State> {
    let counts = fault != Fault::Return;
    if counts && state.faults >= bounds.faults || !in_turn(bounds, state, fault) {
        return None;
    }
    let mut next = *state;
    next.faults += u8::from(counts);
    match fault {
        Fault::Crash { node, kind, tail } => {
            next.lost = Lost::Data(node);
            end_server(&mut next, node);
            next.data[node].log = left_on_disk(state, node, tail)?;
            if kind == Kind::Node {
                end_node(&mut next, node);
            }
        }
        Fault::Pause(node) => {
            next.lost = Lost::Data(node);
            next.data[node].process = Process::Paused;
        }
        Fault::Cut {
            node,
            sentinels,
            from_data,
            from_writer,
        } => {
            next.lost = Lost::Data(node);
            next.cut = Some(Cut {
                node,
                from_data,
                from_writer,
            });
            for sentinel in next.sentinels.iter_mut().take(sentinels) {
                sentinel.cut = true;
            }
        }
        Fault::Watch(s, watch) => {
            next.lost = Lost::Sentinel;
            next.sentinels[s].watch = watch;
        }
        Fault::Disk { node, marks } => {
            if state.lost == Lost::Nothing {
                next.lost = Lost::Data(node);
                end_server(&mut next, node);
                end_node(&mut next, node);
            }
            let log = state.data[node].log;
            next.data[node].log = match marks {
                None => 0,
                Some(marks) => cut_off(&state.history, log, marks)?,
            };
            next.data[node].first = marks.is_none();
        }
        Fault::Handover(s) => {
            let p = state.sentinels[s].primary;
            let in_sync = Role::Replica {
                of: p,
                link: Link::Up,
            };
            let online = (0..bounds.nodes).any(|d| state.data[d].role == in_sync);
            let ready = state.sentinels.iter().all(|s| {
                s.watch != Watch::Up || (0..bounds.nodes).any(|d| sentinel::selectable(s, d))
            });
            let selectable = |d| {
                let mut up = state.sentinels.iter().filter(|s| s.watch == Watch::Up);
                up.any(|s| sentinel::selectable(s, d))
            };
            let is_ready = |d: usize| {
                state.data[d].role == in_sync && state.data[d].promotable && state.answers_writer(d)
            };
            let asked = (0..bounds.nodes).all(|d| !selectable(d) || is_ready(d));
            if !ready
                || rules.handover_asks && !asked
                || !online
                || state.handing.is_some()
                || state.data[p].role != Role::Primary
                || !state.answers_sentinel(s, p)
                || !sentinel::force(bounds.nodes, bounds.highest(state.past), &mut next, s)
            {
                return None;
            }
            // Marked and paused, with no write in between.
            if rules.compare
                && state.data[p].memory.in_term
                && let Some(stamp) = state.history.stamp(state.data[p].log)
            {
                let log = &mut next.data[p].log;
                let mark = next.history.next(*log, stamp.epoch, false, stamp.state)?;
                *log |= 1 << mark;
            }
            next.handing = Some(p);
        }
        Fault::Leave(node) => {
            // A primary hands over first.
            let names_it = |s: &Sentinel| s.watch == Watch::Up && s.primary == node;
            if state.data[node].process != Process::Up
                || state.data[node].role == Role::Primary
                || state.sentinels.iter().any(names_it)
            {
                return None;
            }
            next.lost = Lost::Data(node);
            for sentinel in &mut next.sentinels {
                let sight = &mut sentinel.sights[node];
                sight.promotable = false;
                sight.up = false;
                sight.fresh = 0;
            }
            end_server(&mut next, node);
            end_node(&mut next, node);
        }
        Fault::StopAll { closed } => stop_all(bounds, rules, &mut next, closed)?,
        Fault::Absent(node) => {
            if state.absent.is_some() {
                return None;
            }
            next.absent = Some(node);
        }
        Fault::Return => {
            state.absent?;
            next.absent = None;
        }
        Fault::Rename => {
            if rules.name_checked {
                return None;
            }
            for sentinel in &mut next.sentinels {
                sentinel.primary = 0;
                sentinel.epoch = 0;
                sentinel.knows = false;
                sentinel::forget(sentinel);
            }
        }
    }
    Some(next)
}

/// What a node that ends has on disk. A primary without a replica writes everything to disk before
/// it answers, until it has marked that it has one.
fn left_on_disk(state: &State, node: usize, tail: Tail) -> Option<Log> {
    let history = &state.history;
    // A message is in no file.
    let log = state.data[node].log & !history.messages();
    let lost = match tail {
        Tail::Kept => return Some(log),
        Tail::Entry => log.checked_ilog2()?,
        Tail::Write => (log & history.writes()).checked_ilog2()?,
    };
    let left = log & ((1 << lost) - 1);
    history.stamp(left)?;
    let kept = left & state.data[node].synced == state.data[node].synced;
    let differs = tail == Tail::Entry || log & !left & !(1 << lost) != 0;
    (differs && kept).then_some(left)
}

fn end_node(state: &mut State, node: usize) {
    state.data[node].process = Process::NodeGone;
    state.data[node].first = false;
    state.data[node].memory = Memory::default();
}

/// Everything ends. As one act: writes are paused, all copies are level, and each has the closing
/// mark.
fn stop_all(bounds: &Bounds, rules: &Rules, next: &mut State, closed: bool) -> Option<()> {
    let nodes = bounds.nodes;
    let primary = next.sentinels[0].primary;
    if closed {
        let in_sync = Role::Replica {
            of: primary,
            link: Link::Up,
        };
        let level = |d: usize| {
            next.data[d].process == Process::Up && (d == primary || next.data[d].role == in_sync)
        };
        let node = next.data[primary];
        let agreed = |s: &Sentinel| s.primary == primary && s.failover.is_none();
        if node.role != Role::Primary
            || !node.memory.in_term
            || !(0..nodes).all(level)
            || !next.sentinels.iter().all(agreed)
            || next.handing.is_some()
        {
            return None;
        }
        let mut log = node.log;
        if rules.closing {
            let epoch = Some(next.sentinels[0].epoch);
            let mark = next.history.next(log, epoch, false, Completeness::Closed)?;
            log |= 1 << mark;
        }
        for node in next.data.iter_mut().take(nodes) {
            node.log = log;
        }
    }
    next.lost = Lost::All;
    next.writer.target = None;
    next.writer.pending = None;
    reader::stop(next);
    if !bounds.busy {
        next.writer.next = bounds.writes;
    }
    next.handing = None;
    next.cut = None;
    next.operator = !closed;
    for d in 0..nodes {
        end_server(next, d);
        end_node(next, d);
    }
    for sentinel in &mut next.sentinels {
        sentinel.cut = false;
        sentinel.watch = Watch::Gone;
        sentinel::forget(sentinel);
    }
    Some(())
}

/// The only copy ends without losing data; the Sentinels know that they can promote no node.
fn overlaps(bounds: &Bounds, state: &State, fault: Fault) -> bool {
    let only_copy = |node: usize| {
        state.data[node].role == Role::Primary
            && state.data[node].process == Process::Up
            && state.sentinels.iter().all(|s| {
                s.primary == node && !(0..bounds.nodes).any(|d| sentinel::selectable(s, d))
            })
    };
    bounds.overlap
        && matches!(fault, Fault::Crash { node, kind: Kind::Server, tail: Tail::Kept } if only_copy(node))
}

/// The server ends with its connections; its data stays.
pub fn end_server(state: &mut State, node: usize) {
    state.data[node].process = Process::ServerGone { just: true };
    state.data[node].role = Role::Parked;
    state.data[node].placed = false;
    state.data[node].promotable = false;
    state.data[node].raising = None;
    state.data[node].blocked = true;
    state.data[node].memory.standing = false;
    for other in &mut state.data {
        if let Role::Replica { of, link } = &mut other.role
            && *of == node
            && *link == Link::Up
        {
            *link = Link::Down;
            other.raising = None;
        }
    }
}

/// The lab after a healing, if there is something to heal.
pub fn heal(bounds: &Bounds, rules: &Rules, state: &State, healing: Healing) -> Option<State> {
    if is_due(bounds, state) {
        return None;
    }
    let mut next = *state;
    match healing {
        Healing::Start(node) => {
            if state.data[node].process != Process::NodeGone || state.absent == Some(node) {
                return None;
            }
            next.data[node].process = Process::ServerGone { just: false };
        }
        Healing::Resume(node) => {
            if state.data[node].process != Process::Paused {
                return None;
            }
            next.data[node].process = Process::Up;
            // A replica that is killed then has crashed, which is a separate fault.
            next.data[node].memory.overslept = state.data[node].role == Role::Primary;
        }
        Healing::Join => {
            state.cut?;
            next.cut = None;
            for sentinel in &mut next.sentinels {
                sentinel.cut = false;
            }
        }
        Healing::Watch(s) => {
            match state.sentinels[s].watch {
                Watch::Up => return None,
                // After a stop of everything they come back together: before, between or after the
                // data nodes.
                Watch::Gone if state.lost == Lost::All => {
                    for sentinel in &mut next.sentinels {
                        sentinel.watch = Watch::Up;
                    }
                    return Some(next);
                }
                // Its file has only the primary, the epochs and the addresses.
                Watch::Gone => sentinel::forget(&mut next.sentinels[s]),
                Watch::Paused | Watch::Alone => {}
            }
            next.sentinels[s].watch = Watch::Up;
        }
        Healing::Submit => {
            let old = state.handing?;
            let promoted = (0..NODES)
                .filter(|d| *d != old && state.data_reach(*d, old))
                .find(|d| {
                    state.data[*d].process == Process::Up && state.data[*d].role == Role::Primary
                })?;
            // According to its server (`master_replid2`).
            if rules.same_history && !state.went_on {
                return None;
            }
            next.data[old].role = Role::Replica {
                of: promoted,
                link: Link::Down,
            };
            next.data[old].raising = None;
        }
    }
    Some(next)
}

/// A handover ends when the old primary is no longer primary, or when it fails.
pub fn end_handover(nodes: usize, state: &mut State) {
    let Some(old) = state.handing else {
        state.went_on = false;
        return;
    };
    let is_primary =
        |d: usize| state.data[d].process == Process::Up && state.data[d].role == Role::Primary;
    let to_come = state.sentinels.iter().any(|s| s.failover.is_some())
        || (0..nodes).any(|d| d != old && is_primary(d));
    if !is_primary(old) || !to_come {
        state.handing = None;
        state.went_on = false;
    }
}

/// A data node is recovered when all Sentinels name the same primary, lead no failover and are
/// connected to every data node, and every other data node is promotable, has its link up, and has
/// everything that existed when the Sentinels agreed. A Sentinel is recovered when it is back and
/// they agree.
pub fn settle(nodes: usize, state: &mut State) {
    if state.lost == Lost::Nothing {
        return;
    }
    if !found(nodes, state) {
        state.found = None;
        return;
    }
    let all = state.data.iter().fold(0, |all, node| all | node.log);
    let before = *state.found.get_or_insert(all);
    if state.absent.is_none() && whole(nodes, state, before) {
        state.lost = Lost::Nothing;
        state.found = None;
        state.operator = false;
    }
}

/// Every Sentinel is up, agrees with the others, leads no failover, and has found every data node.
fn found(nodes: usize, state: &State) -> bool {
    let first = &state.sentinels[0];
    state.cut.is_none()
        && state.sentinels.iter().all(|s| {
            s.watch == Watch::Up
                && s.primary == first.primary
                && s.epoch == first.epoch
                && s.failover.is_none()
                && s.sights.iter().take(nodes).all(|sight| sight.up)
        })
}

/// Whether, of all nodes that are not lost for good, one is primary and named by all, and all
/// others are in sync and promotable.
pub fn at_its_best(nodes: usize, state: &State) -> bool {
    let first = &state.sentinels[0];
    let here = |d: &usize| state.absent != Some(*d);
    state.cut.is_none()
        && state.handing.is_none()
        && state.sentinels.iter().all(|s| {
            s.watch == Watch::Up
                && s.primary == first.primary
                && s.epoch == first.epoch
                && s.failover.is_none()
                && (0..nodes).filter(here).all(|d| s.sights[d].up)
        })
        && whole(nodes, state, 0)
        && state.data[first.primary].memory.in_term
}

fn whole(nodes: usize, state: &State, before: Log) -> bool {
    let primary = state.sentinels[0].primary;
    let in_sync = Role::Replica {
        of: primary,
        link: Link::Up,
    };
    (0..nodes).filter(|d| state.absent != Some(*d)).all(|d| {
        let data = &state.data[d];
        data.process == Process::Up
            && !data.memory.overslept
            && if d == primary {
                data.role == Role::Primary
            } else {
                data.role == in_sync && data.promotable && data.log & before == before
            }
    })
}
