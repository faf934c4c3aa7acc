//! How a replica gets the data of its primary.

use super::state::*;

/// A step of a replica's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The stream continues where it ended, without a gap.
    GoOn,
    /// A full copy was received: the old data is discarded, and the copy is loaded.
    Load,
    /// The copy is loaded.
    Loaded,
    /// One more entry arrives.
    Stream,
    /// The link breaks, because its primary is lost.
    Break,
}

/// All steps.
pub const ALL: [Step; 5] = [
    Step::GoOn,
    Step::Load,
    Step::Loaded,
    Step::Stream,
    Step::Break,
];

/// The lab after a step of the link of `d`, if it is possible.
pub fn step(state: &State, d: usize, step: Step) -> Option<State> {
    let Role::Replica { of, link } = state.data[d].role else {
        return None;
    };
    if state.data[d].process != Process::Up {
        return None;
    }
    let alive = state.can_replicate(d, of);
    let theirs = state.data[of].log;
    let mut next = *state;
    let promised = state.writer.acknowledged;
    let mut replaced = false;
    let mine = &mut next.data[d];
    let missing = theirs & !mine.log;
    let prefix =
        mine.log & !theirs == 0 && (missing == 0 || mine.log >> missing.trailing_zeros() == 0);
    let link = match (step, link) {
        (Step::GoOn, Link::Down) if alive && mine.placed && prefix => Link::Up,
        (Step::Load, Link::Down) if alive && !(mine.placed && prefix) => {
            replaced = mine.log & promised & !theirs != 0;
            mine.log = 0;
            Link::Loading(theirs)
        }
        (Step::Loaded, Link::Loading(copy)) => {
            mine.log = copy;
            if alive { Link::Up } else { Link::Down }
        }
        (Step::Stream, Link::Up) if alive && missing != 0 => {
            mine.log |= 1 << missing.trailing_zeros();
            Link::Up
        }
        (Step::Break, Link::Up) if !alive => {
            mine.raising = None;
            Link::Down
        }
        _ => return None,
    };
    mine.placed |= link == Link::Up;
    mine.role = Role::Replica { of, link };
    next.replaced |= replaced;
    Some(next)
}

/// A node that takes the role has closed all links of its earlier terms, noticed or not. A raise
/// over such a link ends with it.
pub fn disconnect(nodes: usize, before: &State, after: &mut State) {
    for d in 0..nodes {
        if before.data[d].role == Role::Primary || after.data[d].role != Role::Primary {
            continue;
        }
        let up = Role::Replica {
            of: d,
            link: Link::Up,
        };
        for replica in after.data.iter_mut().take(nodes).filter(|x| x.role == up) {
            replica.role = Role::Replica {
                of: d,
                link: Link::Down,
            };
            replica.raising = None;
        }
    }
}
