//! The Sentinels. Names in parentheses are functions of Redis' sentinel.c.

use super::rules::Rules;
use super::state::*;

/// A step of one Sentinel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It no longer reaches the node; or it considers a primary that reports to be a replica down.
    Notice(usize),
    /// It reaches the node again, and asks for INFO at once if the last one is older than the
    /// period.
    Reconnect(usize),
    /// It gets an INFO of the node.
    Info(usize),
    /// It is elected to lead a failover, with the vote of another.
    Elected(usize),
    /// It selects a replica by its own view alone (`sentinelSelectSlave`).
    Select(usize),
    /// The selected node becomes primary.
    Promote,
    /// It learns that, and announces the new primary.
    Announce,
    /// The failover takes too long.
    Abort,
    /// It receives a newer configuration (`sentinelProcessHelloMessage`).
    Adopt(usize),
    /// It turns a primary that it does not name into a replica (`+convert-to-slave`).
    Convert(usize),
    /// It turns a replica of another node, or of none, into a replica of the primary
    /// (`+fix-slave-config`).
    Fix(usize),
    /// The primary reports a replica to it.
    Learn,
}

/// All steps.
pub fn all(nodes: usize) -> Vec<Step> {
    let mut all = vec![Step::Promote, Step::Announce, Step::Abort, Step::Learn];
    for d in 0..nodes {
        all.extend([
            Step::Notice(d),
            Step::Reconnect(d),
            Step::Info(d),
            Step::Select(d),
            Step::Convert(d),
            Step::Fix(d),
        ]);
    }
    for s in 0..SENTINELS {
        all.extend([Step::Elected(s), Step::Adopt(s)]);
    }
    all
}

/// A restarted Sentinel has lost its view.
pub fn forget(sentinel: &mut Sentinel) {
    sentinel.sights = [Sight::NEW; NODES];
    // A new entry of a primary is not down before it has been silent for down-after.
    sentinel.sights[sentinel.primary].up = true;
    sentinel.failover = None;
}

/// Clears what has no effect.
pub fn tidy(sentinel: &mut Sentinel) {
    for (d, sight) in sentinel.sights.iter_mut().enumerate() {
        if d == sentinel.primary {
            let up = sight.up;
            *sight = Sight { up, ..Sight::NEW };
        } else if !sight.up && sight.info == Info::Old {
            // It asks before it uses this value.
            sight.info = Info::Never;
        }
    }
}

/// Whether the Sentinel could promote the node in its view (`sentinelSelectSlave`).
pub fn selectable(sentinel: &Sentinel, d: usize) -> bool {
    let sight = sentinel.sights[d];
    d != sentinel.primary && sight.up && sight.promotable && sight.info != Info::Never
}

/// `SENTINEL FAILOVER`: needs no vote. The command names no node: the Sentinel deposes the node
/// that it names.
pub fn force(nodes: usize, max_epoch: u8, state: &mut State, s: usize) -> bool {
    let sentinel = &mut state.sentinels[s];
    let epoch = sentinel.epoch + 1;
    if sentinel.watch != Watch::Up
        || sentinel.failover.is_some()
        || epoch > max_epoch
        || !(0..nodes).any(|d| selectable(sentinel, d))
    {
        return false;
    }
    sentinel.failover = Some(Failover {
        epoch,
        chosen: None,
        promoted: false,
    });
    true
}

/// The lab after a step of Sentinel `s`, if it is possible.
pub fn step(
    (nodes, max_epoch): (usize, u8),
    rules: &Rules,
    state: &State,
    s: usize,
    step: Step,
) -> Option<State> {
    let sentinel = &state.sentinels[s];
    if !matches!(sentinel.watch, Watch::Up | Watch::Alone) {
        return None;
    }
    let mut next = *state;
    let mine = &mut next.sentinels[s];
    match step {
        Step::Notice(d) => {
            let gone = !state.answers_sentinel(s, d) || disowns_its_role(state, s, d);
            if !sentinel.sights[d].up || !gone {
                return None;
            }
            mine.sights[d].up = false;
            mine.sights[d].fresh = 0;
        }
        Step::Reconnect(d) => {
            if sentinel.sights[d].up
                || !state.answers_sentinel(s, d)
                || disowns_its_role(state, s, d)
                || (d != sentinel.primary && !sentinel.knows)
            {
                return None;
            }
            mine.sights[d].up = true;
            if sentinel.sights[d].info != Info::Recent {
                hear(rules, state, mine, d);
            }
        }
        Step::Info(d) => {
            if d == sentinel.primary || !sentinel.sights[d].up || !state.answers_sentinel(s, d) {
                return None;
            }
            hear(rules, state, mine, d);
        }
        Step::Elected(v) => {
            let other = &state.sentinels[v];
            let down = |x: &Sentinel| !x.sights[sentinel.primary].up;
            let epoch = newest_epoch(state) + 1;
            if v == s
                || sentinel.watch != Watch::Up
                || other.watch != Watch::Up
                || other.primary != sentinel.primary
                || !down(sentinel)
                || !down(other)
                || sentinel.failover.is_some()
                || epoch > max_epoch
                || (0..nodes).any(|d| speaks_of_the_past(state, s, d))
                // It would abort at once.
                || !(0..nodes).any(|d| selectable(sentinel, d))
            {
                return None;
            }
            mine.failover = Some(Failover {
                epoch,
                chosen: None,
                promoted: false,
            });
        }
        Step::Select(d) => {
            let failover = mine.failover.as_mut()?;
            if failover.chosen.is_some() || !selectable(sentinel, d) {
                return None;
            }
            failover.chosen = Some(d);
        }
        Step::Promote => {
            let failover = mine.failover.as_mut()?;
            let d = failover.chosen?;
            if failover.promoted
                || !state.answers_sentinel(s, d)
                || loading(state, d)
                || is_superseded(state, d)
            {
                return None;
            }
            failover.promoted = true;
            let of_it = |link| state.handing.map(|of| Role::Replica { of, link });
            let replica = [Link::Up, Link::Down]
                .map(of_it)
                .contains(&Some(state.data[d].role));
            next.went_on |= replica && state.data[d].placed;
            let node = &mut next.data[d];
            node.memory.unasked = node.role != Role::Primary && !node.promotable;
            node.role = Role::Primary;
            node.placed = true;
            node.raising = None;
        }
        Step::Announce => {
            let failover = sentinel.failover?;
            let d = failover.chosen?;
            if !failover.promoted
                || !state.answers_sentinel(s, d)
                || state.data[d].role != Role::Primary
            {
                return None;
            }
            switch(mine, d, failover.epoch);
        }
        Step::Abort => {
            let failover = sentinel.failover?;
            let stuck = match failover.chosen {
                Some(d) => !state.answers_sentinel(s, d) || state.data[d].role != Role::Primary,
                None => !(0..nodes).any(|d| selectable(sentinel, d)),
            };
            if !stuck {
                return None;
            }
            mine.failover = None;
        }
        Step::Adopt(from) => {
            let other = &state.sentinels[from];
            if sentinel.watch != Watch::Up
                || other.watch != Watch::Up
                || other.epoch <= sentinel.epoch
                // A supervisor looks more often than Sentinels publish: a node that is no candidate
                // is parked by then.
                || state.data[other.primary].memory.unasked
            {
                return None;
            }
            switch(mine, other.primary, other.epoch);
        }
        Step::Convert(d) => {
            // Four publish periods are longer than the pause between two marks.
            let node = &state.data[d];
            let to_be_marked = node.memory.in_term && state.history.unmarked(node.log);
            if node.role != Role::Primary || to_be_marked || !may_correct(state, s, d) {
                return None;
            }
            correct(sentinel, &mut next, d);
        }
        Step::Fix(d) => {
            let astray = match state.data[d].role {
                Role::Primary => false,
                Role::Parked => true,
                Role::Replica { of, .. } => of != sentinel.primary,
            };
            if !astray || sentinel.sights[d].info == Info::Never || !may_correct(state, s, d) {
                return None;
            }
            next.data[d].raising = None;
            correct(sentinel, &mut next, d);
        }
        Step::Learn => {
            let p = sentinel.primary;
            let attached = |d: usize| match state.data[d].role {
                Role::Replica { of, link } => of == p && link != Link::Down,
                _ => false,
            };
            if sentinel.knows
                || !sentinel.sights[p].up
                || !state.answers_sentinel(s, p)
                || !(0..nodes).any(|d| state.can_replicate(d, p) && attached(d))
            {
                return None;
            }
            mine.knows = true;
        }
    }
    (next != *state).then_some(next)
}

/// Whether the Sentinel makes a node with the wrong role a replica of its primary.
fn may_correct(state: &State, s: usize, d: usize) -> bool {
    let sentinel = &state.sentinels[s];
    let p = sentinel.primary;
    // It first waits for four publish periods, and so has received a newer configuration.
    let newer_is_known = state
        .sentinels
        .iter()
        .any(|x| x.watch == Watch::Up && x.epoch > sentinel.epoch);
    d != p
        && !newer_is_known
        && sentinel.failover.is_none_or(|f| f.chosen != Some(d))
        && sentinel.sights[d].up
        && sentinel.sights[p].up
        && state.answers_sentinel(s, d)
        && state.answers_sentinel(s, p)
        && state.data[p].role == Role::Primary
        // Long before that, its supervisor has begun its term, or has parked it as no candidate.
        && state.data[p].memory.in_term
        && !loading(state, d)
}

/// A primary whose running supervisor learns from a majority that another node is primary now. A
/// supervisor looks more often than a failover takes from its beginning to the promotion: by then
/// it has submitted or parked.
fn is_superseded(state: &State, d: usize) -> bool {
    let node = &state.data[d];
    let newer =
        |s: &Sentinel| node.memory.named_at.is_some_and(|at| s.epoch > at) && s.primary != d;
    let told =
        (0..SENTINELS).filter(|s| state.sentinel_reaches(*s, d) && newer(&state.sentinels[*s]));
    node.process == Process::Up
        && node.role == Role::Primary
        && !node.memory.overslept
        && told.count() >= MAJORITY
}

/// To its supervisor, a server that cannot log in anywhere is parked, whichever node it is told to
/// follow.
fn correct(sentinel: &Sentinel, next: &mut State, d: usize) {
    next.data[d].role = if next.data[d].blocked {
        Role::Parked
    } else {
        Role::Replica {
            of: sentinel.primary,
            link: Link::Down,
        }
    };
}

fn loading(state: &State, d: usize) -> bool {
    matches!(
        state.data[d].role,
        Role::Replica {
            link: Link::Loading(_),
            ..
        }
    )
}

/// The Sentinel's view of a node that has reported otherwise since. A primary is silent for
/// down-after before a Sentinel is elected, and that is longer than the INFO period.
fn speaks_of_the_past(state: &State, s: usize, d: usize) -> bool {
    let node = &state.data[d];
    selectable(&state.sentinels[s], d)
        && state.answers_sentinel(s, d)
        && node.role != Role::Primary
        && !node.promotable
}

/// An elected leader uses an epoch that is new to all voters; a forced failover need not.
fn newest_epoch(state: &State) -> u8 {
    let known = |s: &Sentinel| s.epoch.max(s.failover.map_or(0, |f| f.epoch));
    state.sentinels.iter().map(known).max().unwrap_or(0)
}

/// A primary that reports to be a replica, as a parked one does, is considered down after a while.
fn disowns_its_role(state: &State, s: usize, d: usize) -> bool {
    state.sentinels[s].primary == d && state.data[d].role != Role::Primary
}

/// An INFO. The priority is read only from a node that reports to be a replica
/// (`sentinelRefreshInstanceInfo`).
///
/// It does not show whether a raise is in progress. A raise takes a limited time, so an INFO that
/// is later than a write by more than that is later than the end of each raise that began before
/// the write.
fn hear(rules: &Rules, state: &State, sentinel: &mut Sentinel, d: usize) {
    let sight = &mut sentinel.sights[d];
    if d == sentinel.primary {
        return;
    }
    if state.data[d].role != Role::Primary {
        sight.promotable = state.data[d].promotable;
    }
    // These two matter only for a priority of 0.
    sight.says_primary = !sight.promotable && state.data[d].role == Role::Primary;
    sight.info = Info::Recent;
    let raising = state.data[d].raising;
    let may_lack =
        |upto: Log| rules.fresh_after_raise && raising.is_some_and(|had| had & upto != upto);
    let after_write = |p: Pending| p.stamped && !may_lack(1 << p.write);
    let after_read = |p: PendingRead| !may_lack(p.seen);
    sight.fresh = 0;
    if !sight.promotable {
        let read = state.reader.and_then(|reader| reader.pending);
        sight.fresh |= WRITER * u8::from(state.writer.pending.is_some_and(after_write));
        sight.fresh |= READER * u8::from(read.is_some_and(after_read));
    }
}

/// `+switch-master`: all entries of replicas are reset (`sentinelResetMasterAndChangeAddress`).
fn switch(sentinel: &mut Sentinel, primary: usize, epoch: u8) {
    // It knows the node that it deposes.
    sentinel.knows |= sentinel.primary != primary;
    sentinel.primary = primary;
    sentinel.epoch = epoch;
    forget(sentinel);
}
