//! Times of acknowledgements, from the writer's ledger: gaps, rates, latencies. Pure.
//!
//! The ledger combines acknowledgements of up to 10 ms in one entry with its first and its last
//! time. So a gap between two entries is exact, and a gap of less than 10 ms may be missed.

use std::collections::BTreeMap;

use crate::drill::report::{Samples, ms};
use crate::ledger::{Entry, LedgerEvent};
use crate::record::Timestamp;

/// The wall clock was set if it differs by more than this from what the order of the entries shows.
const CLOCK_SLACK_US: u64 = 50_000;

/// Acknowledgements of one ledger entry. Times are microseconds since the start of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckSpan {
    /// The first acknowledgement.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many records were acknowledged.
    pub records: u64,
    /// From the creation of the oldest of them to `last`.
    pub latency: u64,
}

/// A time without an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last acknowledgement before it.
    pub from: u64,
    /// The first after it, or the end of the window.
    pub to: u64,
}

impl Gap {
    /// How long it is, in microseconds.
    pub fn len(&self) -> u64 {
        self.to - self.from
    }

    /// The part of it that does not lie before `at`.
    pub fn since(self, at: u64) -> Self {
        Gap {
            from: self.from.max(at).min(self.to),
            ..self
        }
    }
}

/// The acknowledgements of one run of the writer.
#[derive(Debug, Clone, Default)]
pub struct Acks {
    start: Timestamp,
    /// Batches that are not settled: the end of their records, and when they were created.
    waiting: BTreeMap<u64, (u64, u64)>,
    /// The last time that an entry states.
    last_time: u64,
    /// By how much the wall clock was set forward since the start, in microseconds, as far as the
    /// entries show it.
    clock_set: i64,
    spans: Vec<AckSpan>,
    /// Times at which the writer had to send a batch again.
    again: Vec<u64>,
}

impl Acks {
    /// None yet, of a writer that started at `start`.
    pub fn new(start: Timestamp) -> Self {
        Acks {
            start,
            ..Acks::default()
        }
    }

    /// Adds the next entry of the ledger. Returns the acknowledgements that it states.
    pub fn push(&mut self, entry: &Entry) -> Option<AckSpan> {
        match entry {
            Entry::Invoked(batch) => {
                let created = self.on_own_clock(batch.created);
                let batch_end = (batch.seqs.end, created);
                self.waiting.insert(batch.seqs.start, batch_end);
                None
            }
            Entry::Settled(settled) => {
                self.last_time = self.last_time.max(settled.last_at_us);
                self.check_created_before(settled.last_at_us);
                let mut oldest = u64::MAX;
                let mut records = 0;
                for seqs in &settled.seqs {
                    records += seqs.end - seqs.start;
                    oldest = oldest.min(self.settle(seqs.start, seqs.end));
                }
                settled.outcome.is_acknowledged().then(|| {
                    let span = AckSpan {
                        first: settled.first_at_us,
                        last: settled.last_at_us,
                        records,
                        latency: settled.last_at_us.saturating_sub(oldest),
                    };
                    self.spans.push(span);
                    span
                })
            }
            Entry::Event {
                at_us,
                event: LedgerEvent::SentAgain,
            } => {
                self.again.push(*at_us);
                None
            }
            Entry::Event { .. } | Entry::Closed { .. } => None,
        }
    }

    /// A creation time, on the clock of the acknowledgements, which nobody sets. Records are
    /// created by the wall clock. If that says that a batch was created before what precedes it
    /// in the ledger, it was set back.
    fn on_own_clock(&mut self, created: Timestamp) -> u64 {
        let [created, start] = [created, self.start].map(|at| at.micros().cast_signed());
        let created = created - start - self.clock_set;
        let missing = self.last_time.cast_signed() - created;
        if missing > CLOCK_SLACK_US.cast_signed() {
            self.clock_set -= missing;
            return self.last_time;
        }
        u64::try_from(created).unwrap_or(0)
    }

    /// A batch that was created after the present entry, by the wall clock, shows that this was set
    /// forward.
    fn check_created_before(&mut self, now: u64) {
        let created = self.waiting.values().map(|(_, created)| *created);
        let excess = created.max().unwrap_or(0).saturating_sub(now);
        if excess <= CLOCK_SLACK_US {
            return;
        }
        self.clock_set += excess.cast_signed();
        for (_, created) in self.waiting.values_mut() {
            if *created > now {
                *created = created.saturating_sub(excess);
            }
        }
    }

    /// Removes records from those that wait; returns the creation time of the oldest.
    fn settle(&mut self, start: u64, end: u64) -> u64 {
        let mut oldest = u64::MAX;
        while let Some((&first, &(last, created))) = self.waiting.range(..end).next_back() {
            if last <= start {
                break;
            }
            oldest = oldest.min(created);
            self.waiting.remove(&first);
            if first < start {
                self.waiting.insert(first, (start, created));
            }
            if last > end {
                self.waiting.insert(end, (last, created));
            }
        }
        oldest
    }

    /// The acknowledgements since a time, and the last one before it, from which a gap may last.
    pub fn since(&self, from: u64) -> Self {
        let before = self.spans.iter().filter(|span| span.last < from);
        let before = before.max_by_key(|span| span.last);
        let after = self.spans.iter().filter(|span| span.last >= from);
        let again = self.again.iter().filter(|at| **at >= from);
        Acks {
            start: self.start,
            spans: before.into_iter().chain(after).copied().collect(),
            again: again.copied().collect(),
            ..Acks::default()
        }
    }

    /// Sorts the entries by time; to be called once, after the last.
    pub fn sorted(mut self) -> Self {
        self.spans.sort_by_key(|span| (span.first, span.last));
        self
    }

    /// The longest time without an acknowledgement that ends after `from` and begins before `to`,
    /// cut off at `to`. It lies between two acknowledgements: one that never ends does not count.
    pub fn longest_gap(&self, from: u64, to: u64) -> Option<Gap> {
        let mut longest: Option<Gap> = None;
        let mut last: Option<u64> = None;
        for span in &self.spans {
            if let Some(last) = last
                && span.first > last
                && span.first >= from
                && last < to
            {
                let gap = Gap {
                    from: last,
                    to: span.first.min(to),
                };
                longest = longest.filter(|l| l.len() >= gap.len()).or(Some(gap));
            }
            last = last.max(Some(span.last));
        }
        longest
    }

    /// The first acknowledgement at or after `at`, with the resolution of an entry.
    pub fn first_after(&self, at: u64) -> Option<u64> {
        self.spans
            .iter()
            .filter(|span| span.last >= at)
            .map(|span| span.first.max(at))
            .min()
    }

    /// Records of entries that begin between two times: at least one record of each was
    /// acknowledged in that time.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        self.spans
            .iter()
            .filter(|span| (from..=to).contains(&span.first))
            .map(|span| span.records)
            .sum()
    }

    /// The first time at or after `at` at which a batch had to be sent again.
    pub fn sent_again_after(&self, at: u64) -> Option<u64> {
        self.again.iter().copied().filter(|t| *t >= at).min()
    }

    /// Rate and latency in equal intervals; `zero` is the zero of the report's clock.
    pub fn samples(&self, interval_us: u64, zero: u64) -> Samples {
        let end = self.spans.iter().map(|s| s.last).max().unwrap_or(0);
        // Aligned so that an interval begins at zero.
        let lead = zero.div_ceil(interval_us);
        let index =
            |at: u64| ((at + lead * interval_us).saturating_sub(zero) / interval_us) as usize;
        let mut buckets: Vec<Vec<AckSpan>> = vec![Vec::new(); index(end) + 1];
        for span in &self.spans {
            if let Some(bucket) = buckets.get_mut(index(span.last)) {
                bucket.push(*span);
            }
        }
        let mut samples = Samples {
            interval_ms: ms(interval_us),
            first_ms: -ms(lead * interval_us),
            ..Samples::default()
        };
        for bucket in &mut buckets {
            bucket.sort_by_key(|span| span.latency);
            samples
                .acknowledged
                .push(bucket.iter().map(|span| span.records).sum());
            let middle = bucket.get(bucket.len() / 2).map(|s| ms(s.latency));
            samples.latency_median_ms.push(middle);
            samples
                .latency_max_ms
                .push(bucket.last().map(|s| ms(s.latency)));
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Invoked, RecordOutcome, SettledRecords};
    use crate::record::SeqRange;

    fn at(us: u64) -> Timestamp {
        Timestamp::from_micros(us).unwrap()
    }

    fn invoked(start: u64, end: u64, created: u64) -> Entry {
        Entry::Invoked(Invoked {
            seqs: SeqRange::new(start, end),
            created: at(created),
        })
    }

    fn settled(start: u64, end: u64, first: u64, last: u64) -> Entry {
        Entry::Settled(SettledRecords {
            outcome: RecordOutcome::Replicated,
            first_at_us: first,
            last_at_us: last,
            seqs: vec![SeqRange::new(start, end)],
        })
    }

    fn acks(entries: &[Entry]) -> Acks {
        let mut acks = Acks::new(at(0));
        entries.iter().for_each(|e| {
            let _ = acks.push(e);
        });
        acks.sorted()
    }

    #[test]
    fn the_longest_gap_is_between_acknowledgements_and_in_the_window() {
        let acks = acks(&[
            invoked(0, 40, 0),
            settled(0, 10, 1_000, 2_000),
            // Longer than the others, and over before the window.
            settled(10, 20, 900_000, 905_000),
            settled(20, 30, 1_000_000, 1_001_000),
            settled(30, 40, 1_400_000, 1_402_000),
        ]);
        let gap = acks.longest_gap(950_000, u64::MAX).unwrap();
        assert_eq!((gap.from, gap.to), (1_001_000, 1_400_000));
        assert_eq!(acks.longest_gap(1_500_000, u64::MAX), None);
        assert_eq!(acks.since(1_100_000).longest_gap(0, u64::MAX), Some(gap));
        // The next window begins within it.
        let before = acks.longest_gap(950_000, 1_010_000).unwrap();
        assert_eq!((before.from, before.to), (905_000, 1_000_000));
        let after = acks.longest_gap(1_010_000, u64::MAX).unwrap();
        assert_eq!(after, gap);
        assert_eq!(after.since(1_010_000).from, 1_010_000);
        assert_eq!(after.since(0), after);
        assert_eq!(acks.first_after(1_001_001), Some(1_400_000));
        assert_eq!(acks.between(950_000, 1_401_000), 20);
        assert_eq!(acks.between(1_000_500, 1_399_999), 0);
    }

    #[test]
    fn a_wall_clock_that_is_set_is_no_latency() {
        const HOUR: u64 = 3_600_000_000;
        // A record every 100 ms, acknowledged after 5 ms; the clock is set before the fifth.
        let latencies = |set: &dyn Fn(u64) -> u64| {
            let mut acks = Acks::new(at(HOUR));
            for n in 0..10_u64 {
                let now = n * 100_000;
                let created = HOUR + now;
                let created = if n < 5 { created } else { set(created) };
                acks.push(&invoked(n, n + 1, created));
                acks.push(&settled(n, n + 1, now + 5_000, now + 5_000));
            }
            acks.spans.iter().map(|span| span.latency).max()
        };
        assert_eq!(latencies(&|created| created), Some(5_000));
        let back = latencies(&|created| created - HOUR).unwrap();
        assert!(back <= 105_000, "{back}");
        let forward = latencies(&|created| created + HOUR).unwrap();
        assert!(forward <= 105_000, "{forward}");
    }

    #[test]
    fn entries_that_overlap_leave_no_gap() {
        let acks = acks(&[
            invoked(0, 30, 0),
            settled(0, 10, 0, 10_000),
            settled(20, 30, 9_000, 12_000),
            settled(10, 20, 2_000, 3_000),
        ]);
        assert_eq!(acks.longest_gap(0, u64::MAX), None);
    }

    #[test]
    fn latency_counts_from_the_creation_of_the_oldest_record_of_an_entry() {
        let acks = acks(&[
            invoked(0, 10, 100_000),
            invoked(10, 20, 150_000),
            settled(0, 20, 160_000, 170_000),
            invoked(20, 30, 300_000),
            settled(20, 25, 310_000, 310_000),
            settled(25, 30, 320_000, 320_000),
        ]);
        let samples = acks.samples(100_000, 250_000);
        // Intervals begin 300 ms before zero, which is at 250 ms of the writer's clock.
        assert_eq!(samples.first_ms, -300.0);
        assert_eq!(samples.acknowledged, [0, 0, 20, 10]);
        assert_eq!(samples.latency_max_ms, [None, None, Some(70.0), Some(20.0)]);
    }
}
