//! Tasks that wait until a round is confirmed. Each is woken when it is, and by no other round:
//! with many clients, most would be woken for nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// The tasks, by the round that each waits for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    tasks: Mutex<BTreeMap<u64, Vec<Waker>>>,
}

impl Waiting {
    /// Has a task be woken when `round` is confirmed.
    pub(super) fn add(&self, round: u64, task: Waker) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.entry(round).or_default().push(task);
    }

    /// Wakes those that wait for a round up to `through`.
    pub(super) fn wake(&self, through: u64) {
        let woken = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            let later = tasks.split_off(&(through + 1));
            std::mem::replace(&mut *tasks, later)
        };
        for task in woken.into_values().flatten() {
            task.wake();
        }
    }
}
