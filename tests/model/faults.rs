//! Faults, their healing, and when a lost node counts as recovered.

use super::rules::Bounds;
use super::sentinel;
use super::state::*;

/// A kind of fault; see [`strike`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server of a data node ends; its parent runs on.
    Server,
    /// Server and parent end.
    Node,
    /// Server and parent are stopped, and go on later as if nothing had been.
    Pause,
    /// A data node is cut off from some others.
    Cut,
    /// A Sentinel ends, stops, or loses all nodes but the writer.
    Sentinel,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash {
        node: usize,
        kind: Kind,
        /// The newest write was not on disk yet.
        tail_lost: bool,
    },
    Pause(usize),
    Cut {
        node: usize,
        /// So many Sentinels, by their order now.
        sentinels: usize,
        from_data: bool,
        from_writer: bool,
    },
    Watch(usize, Watch),
}

/// What ends a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Healing {
    Start(usize),
    Resume(usize),
    Join,
    Watch(usize),
}

/// All faults of the kinds in question.
pub fn all(bounds: &Bounds) -> Vec<Fault> {
    let mut all = Vec::new();
    for kind in bounds.kinds {
        for node in 0..bounds.nodes {
            match kind {
                Kind::Server | Kind::Node => {
                    for tail_lost in [false, true] {
                        all.push(Fault::Crash {
                            node,
                            kind: *kind,
                            tail_lost,
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
                Kind::Sentinel => {}
            }
        }
        if *kind == Kind::Sentinel {
            for s in 0..SENTINELS {
                for watch in [Watch::Gone, Watch::Paused, Watch::Alone] {
                    all.push(Fault::Watch(s, watch));
                }
            }
        }
    }
    all
}

/// The lab after a fault, if it may happen now: one node at a time.
pub fn strike(bounds: &Bounds, state: &State, fault: Fault) -> Option<State> {
    if state.faults >= bounds.faults
        || !(state.lost == Lost::Nothing || overlaps(bounds, state, fault))
    {
        return None;
    }
    let mut next = *state;
    next.faults += 1;
    match fault {
        Fault::Crash {
            node,
            kind,
            tail_lost,
        } => {
            if tail_lost && state.data[node].log == 0 {
                return None;
            }
            next.lost = Lost::Data(node);
            end_server(&mut next, node);
            if tail_lost {
                let log = state.data[node].log;
                next.data[node].log = log & !(1 << log.ilog2());
            }
            if kind == Kind::Node {
                next.data[node].process = Process::NodeGone;
                next.data[node].memory = Memory::default();
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
    }
    Some(next)
}

/// The only copy ends, and nothing of it is lost; the Sentinels know that they can promote nobody.
fn overlaps(bounds: &Bounds, state: &State, fault: Fault) -> bool {
    let only_copy = |node: usize| {
        state.data[node].role == Role::Primary
            && state.data[node].process == Process::Up
            && state.sentinels.iter().all(|s| {
                s.primary == node && !(0..bounds.nodes).any(|d| sentinel::selectable(s, d))
            })
    };
    bounds.overlap
        && matches!(fault, Fault::Crash { node, kind: Kind::Server, tail_lost: false } if only_copy(node))
}

/// The server ends; its connections end with it, its data stays.
pub fn end_server(state: &mut State, node: usize) {
    state.data[node].process = Process::ServerGone { just: true };
    state.data[node].role = Role::Parked;
    state.data[node].placed = false;
    state.data[node].promotable = false;
    state.data[node].raising = None;
    for other in &mut state.data {
        if let Role::Replica { of, link } = &mut other.role
            && *of == node
            && *link == Link::Up
        {
            *link = Link::Down;
        }
    }
}

/// The lab after a healing, if there is something to heal.
pub fn heal(state: &State, healing: Healing) -> Option<State> {
    let mut next = *state;
    match healing {
        Healing::Start(node) => {
            if state.data[node].process != Process::NodeGone {
                return None;
            }
            next.data[node].process = Process::ServerGone { just: false };
        }
        Healing::Resume(node) => {
            if state.data[node].process != Process::Paused {
                return None;
            }
            next.data[node].process = Process::Up;
            // A replica that is killed then is one that has crashed, and that is a fault of its own.
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
                // Its file has the primary, the epochs and the addresses; nothing else.
                Watch::Gone => sentinel::forget(&mut next.sentinels[s]),
                Watch::Paused | Watch::Alone => {}
            }
            next.sentinels[s].watch = Watch::Up;
        }
    }
    Some(next)
}

/// A data node is recovered when all Sentinels agree on the primary, lead no failover and are connected to
/// every data node, and every other data node is promotable, its link is up, and it has what there was when they were. A
/// Sentinel is recovered when it is back, and they agree.
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
    if whole(nodes, state, before) {
        state.lost = Lost::Nothing;
        state.found = None;
    }
}

/// Every Sentinel is there, agrees with the others, leads no failover, and has found every data node.
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

fn whole(nodes: usize, state: &State, before: Log) -> bool {
    let primary = state.sentinels[0].primary;
    let in_sync = Role::Replica {
        of: primary,
        link: Link::Up,
    };
    (0..nodes).all(|d| {
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
