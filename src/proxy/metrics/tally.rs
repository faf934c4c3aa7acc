//! Commands answered, and how long their answers were held: counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::proxy::kind::Kind;

/// The first bucket ends here, and each has twice the end of the one before: from 0.1 ms to 13 s.
/// An idle lab confirms in less than 1 ms; a failover after down-after takes 6 s.
const FIRST_NANOS: u64 = 100_000;
/// Buckets with an end.
const BUCKETS: usize = 18;

const KINDS: [&str; 3] = ["read", "write", "other"];

/// What was answered in one pass over the commands of a client.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Tally {
    commands: [u64; KINDS.len()],
    /// By bucket; the last one has no end.
    held: [u64; BUCKETS + 1],
    held_nanos: u64,
    is_used: bool,
}

impl Tally {
    /// Counts a command that was answered; `is_other` if the primary has not executed it yet, or
    /// never will.
    pub(in crate::proxy) fn answered(&mut self, kind: Kind, is_other: bool) {
        let kind = match kind {
            _ if is_other => 2,
            Kind::Read => 0,
            Kind::Write | Kind::MayWrite | Kind::Exec => 1,
            _ => 2,
        };
        self.commands[kind] += 1;
        self.is_used = true;
    }

    /// Counts an answer that was held for so long until it was confirmed.
    pub(in crate::proxy) fn held(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.held[bucket(nanos)] += 1;
        self.held_nanos = self.held_nanos.saturating_add(nanos);
        self.is_used = true;
    }
}

/// The first bucket whose end is not exceeded.
fn bucket(nanos: u64) -> usize {
    let ends = nanos.saturating_sub(1) / FIRST_NANOS;
    let bits = u64::BITS - ends.leading_zeros();
    BUCKETS.min(bits as usize)
}

/// The answers to all clients.
#[derive(Debug, Default)]
pub(super) struct TalliedTotals {
    commands: [AtomicU64; KINDS.len()],
    held: [AtomicU64; BUCKETS + 1],
    held_nanos: AtomicU64,
}

impl TalliedTotals {
    pub(super) fn add(&self, tally: &Tally) {
        if !tally.is_used {
            return;
        }
        let commands = self.commands.iter().zip(tally.commands);
        let all = commands.chain(self.held.iter().zip(tally.held));
        for (total, more) in all.chain([(&self.held_nanos, tally.held_nanos)]) {
            if more > 0 {
                total.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    /// Kinds of commands, with their counts.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.commands.iter().map(|c| c.load(Ordering::Relaxed));
        KINDS.into_iter().zip(counts)
    }

    /// Sum in seconds, count, and the counts of the buckets by their ends.
    pub(super) fn confirmation(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let ends = (0..BUCKETS).map(|at| (FIRST_NANOS << at) as f64 / 1e9);
        let counts = self.held.iter().map(|c| c.load(Ordering::Relaxed));
        let buckets: Vec<_> = ends.chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.held_nanos.load(Ordering::Relaxed) as f64 / 1e9;
        (sum, count, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::kind::Topic;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_end_it_does_not_exceed() {
        assert_eq!(bucket(0), 0);
        for at in 0..BUCKETS {
            let end = FIRST_NANOS << at;
            assert_eq!((bucket(end), bucket(end + 1)), (at, at + 1), "{end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS);
    }

    #[test]
    fn totals_are_the_sum_of_all_tallies() {
        let totals = TalliedTotals::default();
        for _ in 0..2 {
            let mut tally = Tally::default();
            tally.answered(Kind::Read, false);
            tally.answered(Kind::Exec, false);
            tally.answered(Kind::MayWrite, false);
            tally.answered(Kind::Write, true);
            tally.answered(Kind::Subscribe(Topic::Channel), false);
            tally.held(Duration::from_millis(1));
            tally.held(Duration::from_secs(60));
            totals.add(&tally);
        }
        totals.add(&Tally::default());
        let commands: Vec<_> = totals.commands().collect();
        assert_eq!(commands, [("read", 2), ("write", 4), ("other", 4)]);
        let (sum, count, buckets) = totals.confirmation();
        assert_eq!((sum, count), (120.002, 4));
        let used: Vec<_> = buckets
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(used, [(0.0016, 2), (f64::INFINITY, 2)]);
    }
}
