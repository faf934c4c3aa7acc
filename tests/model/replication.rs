//! How a replica gets its primary's data.

use super::state::*;

/// A step of a replica's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A full copy begins: the own data is discarded.
    Copy,
    /// The copy is complete.
    Copied,
    /// One more write comes through.
    Stream,
    /// The link is lost, as its primary is.
    Break,
}

/// All steps.
pub const ALL: [Step; 4] = [Step::Copy, Step::Copied, Step::Stream, Step::Break];

/// The lab after a step of the link of `d`, if it can take it.
pub fn step(state: &State, d: usize, step: Step) -> Option<State> {
    let Role::Replica { of, link } = state.data[d].role else {
        return None;
    };
    let alive = state.can_replicate(d, of);
    let theirs = state.data[of].log;
    let mut next = *state;
    let mine = &mut next.data[d];
    let link = match (step, link) {
        (Step::Copy, Link::Down) if alive => {
            mine.log = 0;
            Link::Syncing
        }
        (Step::Copied, Link::Syncing) if alive => {
            mine.log = theirs;
            Link::Up
        }
        (Step::Stream, Link::Up) if alive => {
            let missing = theirs & !mine.log;
            if missing == 0 {
                return None;
            }
            mine.log |= 1 << missing.trailing_zeros();
            Link::Up
        }
        (Step::Break, Link::Syncing | Link::Up)
            if !alive && state.data[d].process == Process::Up =>
        {
            mine.raising = None;
            Link::Down
        }
        _ => return None,
    };
    mine.role = Role::Replica { of, link };
    Some(next)
}
