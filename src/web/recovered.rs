//! From which losses the lab has recovered, by one observation after the other. Pure.

use tokio::time::Instant;

/// A status that is healthy may be older than the effects of a loss. So a lab has recovered from a
/// loss if every replica has confirmed what the primary had at a time after it.
#[derive(Debug)]
pub(super) struct RecoveredState {
    /// The lab has recovered from every loss before this time.
    before: Option<Instant>,
    /// Something that a recovery needs was missing since the last one.
    is_missing: bool,
}

impl RecoveredState {
    /// Not recovered yet.
    pub(super) fn new() -> Self {
        RecoveredState {
            before: None,
            is_missing: true,
        }
    }

    /// Notes an observation. `since`: all nodes were there since this time, but the replicas may
    /// have to confirm what the primary had then; none: something is missing. `is_confirmed`:
    /// they have.
    pub(super) fn note(&mut self, since: Option<Instant>, is_confirmed: bool) {
        match since {
            Some(at) if is_confirmed => {
                self.before = Some(at);
                self.is_missing = false;
            }
            Some(_) => {}
            None => self.is_missing = true,
        }
    }

    /// The lab has recovered from every loss before this time.
    pub(super) fn before(&self) -> Option<Instant> {
        self.before
    }

    /// Whether the lab has recovered from a loss whose effects show at `shows`, as far as is known.
    pub(super) fn is_over(&self, shows: Option<Instant>) -> bool {
        !self.is_missing && is_after(self.before, shows)
    }
}

/// Whether a lab that has recovered from every loss before a time has recovered from one whose
/// effects show at `shows`.
pub(super) fn is_after(recovered: Option<Instant>, shows: Option<Instant>) -> bool {
    recovered.is_some_and(|at| shows.is_none_or(|shows| at > shows))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_loss_is_over_once_what_the_primary_had_after_it_is_confirmed() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut state = RecoveredState::new();
        assert!(!state.is_over(None), "nothing is known yet");
        state.note(Some(at(1)), false);
        assert!(!state.is_over(None), "not confirmed yet");
        state.note(Some(at(1)), true);
        assert!(state.is_over(None));
        // The next confirmation is awaited: nothing is missing meanwhile.
        state.note(Some(at(2)), false);
        assert!(state.is_over(None));
        // A loss whose effects show after the last confirmed time, or at that time.
        assert!(!state.is_over(Some(at(3))));
        assert!(!state.is_over(Some(at(1))));
        state.note(Some(at(2)), true);
        assert!(!state.is_over(Some(at(3))));
        state.note(Some(at(4)), true);
        assert!(state.is_over(Some(at(3))));
        assert_eq!(state.before(), Some(at(4)));
    }

    #[test]
    fn what_is_missing_ends_a_recovery_until_the_next_confirmation() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut state = RecoveredState::new();
        state.note(Some(at(1)), true);
        state.note(None, false);
        assert!(!state.is_over(None));
        state.note(Some(at(3)), false);
        assert!(
            !state.is_over(None),
            "it is back, and has confirmed nothing yet"
        );
        state.note(Some(at(3)), true);
        assert!(state.is_over(None));
    }
}
