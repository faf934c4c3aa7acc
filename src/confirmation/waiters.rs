//! Tasks that wait until a round is confirmed. Each is woken when it is, and by no other round:
//! with many clients, most would be woken for nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The wakers, by the round that is waited for and the number of the waiter.
type Wakers = BTreeMap<(u64, u64), Waker>;

/// The waiting tasks.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    wakers: Mutex<Wakers>,
    numbers: AtomicU64,
}

impl Waiters {
    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for one waiter.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Has a waiter be woken when `round` is confirmed.
    pub(super) fn add(&self, round: u64, waiter: u64, waker: Waker) {
        self.wakers().insert((round, waiter), waker);
    }

    /// The waiter does not wait for `round` any longer.
    pub(super) fn remove(&self, round: u64, waiter: u64) {
        self.wakers().remove(&(round, waiter));
    }

    /// Wakes those that wait for a round up to `through`.
    pub(super) fn wake(&self, through: u64) {
        let woken = {
            let mut wakers = self.wakers();
            let later = wakers.split_off(&(through.saturating_add(1), 0));
            std::mem::replace(&mut *wakers, later)
        };
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    /// For tests: their number.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.wakers().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_woken_by_its_round_or_a_later_one() {
        let waiters = Waiters::default();
        for round in [7, 8, 8, 9] {
            waiters.add(round, waiters.number(), Waker::noop().clone());
        }
        waiters.wake(6);
        assert_eq!(waiters.count(), 4);
        waiters.wake(8);
        assert_eq!(waiters.count(), 1);
        waiters.wake(u64::MAX);
        assert_eq!(waiters.count(), 0);
    }

    #[test]
    fn one_that_no_longer_waits_is_forgotten() {
        let waiters = Waiters::default();
        let [first, second] = [waiters.number(), waiters.number()];
        for waiter in [first, second, first] {
            waiters.add(7, waiter, Waker::noop().clone());
        }
        assert_eq!(waiters.count(), 2);
        waiters.remove(7, first);
        assert_eq!(waiters.count(), 1);
    }
}
