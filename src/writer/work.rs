//! The next batch to write.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::ledger::{self, Invoked};

use super::WriteOptions;
use super::journal::Journal;

/// Minimum batches a second with a given rate, so that a low rate does not become rare big batches.
const BATCHES_PER_SECOND: f64 = 20.0;

/// Stands for a time that the clock can't represent.
const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A batch to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    pub(super) batch: Invoked,
    /// It may have been written already, by the process whose run is resumed.
    pub(super) in_doubt: bool,
}

/// Hands out batches to the write connections.
#[derive(Debug)]
pub(super) struct Work {
    journal: Arc<Journal>,
    batch: u64,
    count: Option<u64>,
    deadline: Option<Instant>,
    rate: Option<f64>,
    begun: Instant,
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The unknown records of the resumed run; sent first.
    unknown: VecDeque<Invoked>,
    /// New records handed out in this run.
    handed_out: u64,
    done: bool,
}

impl Work {
    pub(super) fn new(
        options: &WriteOptions,
        journal: Arc<Journal>,
        unknown: Vec<Invoked>,
        stop: CancellationToken,
    ) -> Self {
        let batch = match options.rate {
            Some(rate) => (rate / BATCHES_PER_SECOND).clamp(1.0, options.batch as f64) as u64,
            None => options.batch as u64,
        };
        let begun = Instant::now();
        let split = unknown
            .into_iter()
            .flat_map(|invoked| split(invoked, batch))
            .collect();
        Work {
            count: options
                .count
                .map(|count| count.saturating_sub(journal.known())),
            journal,
            batch,
            // A duration beyond the clock's range has no end.
            deadline: options.duration.and_then(|d| begun.checked_add(d)),
            rate: options.rate,
            begun,
            stop,
            state: Mutex::new(State {
                unknown: split,
                handed_out: 0,
                done: false,
            }),
        }
    }

    /// The next batch, noted in the ledger, once it is due; `None` if there is no more work.
    ///
    /// # Errors
    /// If the ledger can't be written; then the batch must not be sent.
    pub(super) async fn next(&self) -> Result<Option<Job>, ledger::Error> {
        loop {
            if self.stop.is_cancelled() || self.deadline.is_some_and(|at| Instant::now() >= at) {
                self.lock().done = true;
                return Ok(None);
            }
            let due = {
                let mut state = self.lock();
                if let Some(batch) = state.unknown.pop_front() {
                    return Ok(Some(Job {
                        batch,
                        in_doubt: true,
                    }));
                }
                let room = self.count.map_or(self.batch, |count| {
                    count.saturating_sub(state.handed_out).min(self.batch)
                });
                if room == 0 {
                    state.done = true;
                    return Ok(None);
                }
                let due = self.due(state.handed_out);
                if due.is_none_or(|at| at <= Instant::now()) {
                    // Under the lock, so that ledger and count agree.
                    let batch = self.journal.invoked(room)?;
                    state.handed_out += room;
                    return Ok(Some(Job {
                        batch,
                        in_doubt: false,
                    }));
                }
                due
            };
            let Some(due) = due else { continue };
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Whether records are still to be acknowledged or handed out.
    pub(super) fn waiting(&self) -> bool {
        !self.lock().done || self.journal.in_flight() > 0
    }

    fn due(&self, handed_out: u64) -> Option<Instant> {
        self.rate.map(|rate| due_at(self.begun, handed_out, rate))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic, so a poisoned lock holds good data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the record after `handed_out` others is due; in a year, if that is beyond the clock's
/// range.
fn due_at(begun: Instant, handed_out: u64, rate: f64) -> Instant {
    Duration::try_from_secs_f64(handed_out as f64 / rate)
        .ok()
        .and_then(|after| begun.checked_add(after))
        .unwrap_or(begun + FAR_FUTURE)
}

fn split(invoked: Invoked, batch: u64) -> impl Iterator<Item = Invoked> {
    invoked
        .seqs
        .chunks(batch)
        .map(move |seqs| Invoked { seqs, ..invoked })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_rate_or_number_of_records_overflows_the_clock(
            rate in prop_oneof![
                any::<f64>(),
                Just(f64::MIN_POSITIVE),
                Just(1e-20),
                Just(f64::MAX),
                Just(f64::INFINITY),
            ],
            handed_out in any::<u64>(),
        ) {
            let begun = Instant::now();
            prop_assert!(due_at(begun, handed_out, rate) >= begun);
        }
    }

    #[test]
    fn the_next_record_is_due_according_to_the_rate() {
        let begun = Instant::now();
        assert_eq!(due_at(begun, 0, 5.0), begun);
        assert_eq!(due_at(begun, 10, 5.0), begun + Duration::from_secs(2));
    }
}
