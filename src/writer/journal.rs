//! The ledger and the counts of the run.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::Lab;
use crate::confirmation::Observer;
use crate::ledger::{self, Header, Invoked, LedgerEvent, LedgerWriter, RecordOutcome};
use crate::record::{RunId, SeqRange, Timestamp};

use super::live::LiveMetrics;
use super::summary::{Latency, WriteSummary};
use super::{WriteOptions, WriterError};

/// Latencies are stored in microseconds with three digits, from 1 µs to one hour.
const LONGEST_US: u64 = 3_600_000_000;
/// Batches sent again within this time of each other are one incident, noted in the ledger once.
const INCIDENT_PAUSE: Duration = Duration::from_millis(500);

/// The counts so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that may have been sent, including those before the run was resumed.
    pub invoked: u64,
    /// Records acknowledged before the run was resumed; the ledger has the form.
    pub before: u64,
    /// Records that every other data node confirmed.
    pub replicated: u64,
    /// Records acknowledged with the Sentinels as witnesses.
    pub witnessed: u64,
    /// Records acknowledged by the primary's `+OK` alone (policy `none`).
    pub unconfirmed: u64,
    /// Records that failed for certain and were given up.
    pub failed: u64,
    /// Records that were sent again at least once.
    pub sent_again: u64,
    /// Number of changes of the primary.
    pub primary_changes: u64,
}

impl Counts {
    /// Acknowledged, in any form.
    pub fn acknowledged(&self) -> u64 {
        self.before + self.replicated + self.witnessed + self.unconfirmed
    }

    /// Neither acknowledged nor failed for certain.
    pub fn unknown(&self) -> u64 {
        self.invoked
            .saturating_sub(self.acknowledged() + self.failed)
    }
}

/// The state of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteProgress {
    /// The counts so far.
    pub counts: Counts,
    /// Why the primary refuses writes, if another primary would refuse them too; `None` once a
    /// record is acknowledged again.
    pub refused: Option<String>,
}

/// The values of the metrics at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetricsSample {
    pub(super) counts: Counts,
    /// Time since the last acknowledgement, or since the start.
    pub(super) quiet_for: Duration,
    pub(super) longest_gap: Duration,
}

/// The ledger and the counts, shared by the connections.
#[derive(Debug)]
pub(super) struct Journal {
    run: RunId,
    /// Records of the run before this process.
    known: u64,
    begun: Instant,
    /// Time of the run before this process, in microseconds.
    offset_us: u64,
    live_metrics: LiveMetrics,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    ledger: Option<LedgerWriter>,
    next_seq: u64,
    counts: Counts,
    latency: Histogram<u64>,
    first_ack: Option<Instant>,
    last_ack: Option<Instant>,
    last_again: Option<Instant>,
    longest_gap: Duration,
    refused: Option<String>,
}

impl Journal {
    /// Creates or resumes the ledger. Also returns the unknown records of a resumed run.
    pub(super) fn open(
        lab: &Lab,
        options: &WriteOptions,
    ) -> Result<(Self, Vec<Invoked>), WriterError> {
        let mut counts = Counts::default();
        let (mut ledger, mut left, mut run, mut next_seq, mut offset_us) =
            (None, Vec::new(), RunId::new(rand::random()), 0, 0);
        if let Some(path) = &options.ledger {
            if options.resume {
                let (mut writer, resumed) = LedgerWriter::resume(path)?;
                run = writer.header().run;
                next_seq = resumed.next_seq;
                offset_us = resumed.last_at_us;
                counts.invoked = resumed.next_seq;
                counts.failed = resumed.failed;
                counts.before = resumed.acknowledged;
                left = resumed.unknown;
                writer.event(offset_us, LedgerEvent::Resumed)?;
                ledger = Some(writer);
            } else {
                let header = Header {
                    run,
                    start: Timestamp::from(SystemTime::now()),
                    lab: lab.name.clone(),
                    policy: options.policy.as_str().to_owned(),
                };
                ledger = Some(LedgerWriter::create(path, header)?);
            }
        }
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3)
            .map_err(|e| WriterError::Task(format!("latency histogram: {e}")))?;
        let journal = Journal {
            run,
            known: next_seq,
            begun: Instant::now(),
            offset_us,
            live_metrics: LiveMetrics::new(),
            inner: Mutex::new(Inner {
                ledger,
                next_seq,
                counts,
                latency,
                first_ack: None,
                last_ack: None,
                last_again: None,
                longest_gap: Duration::ZERO,
                refused: None,
            }),
        };
        Ok((journal, left))
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }

    pub(super) fn known(&self) -> u64 {
        self.known
    }

    pub(super) fn progress(&self) -> WriteProgress {
        let inner = self.lock();
        WriteProgress {
            counts: inner.counts,
            refused: inner.refused.clone(),
        }
    }

    pub(super) fn sample(&self) -> MetricsSample {
        let inner = self.lock();
        MetricsSample {
            counts: inner.counts,
            quiet_for: inner.last_ack.unwrap_or(self.begun).elapsed(),
            longest_gap: inner.longest_gap,
        }
    }

    /// The values that only the metrics need.
    pub(super) fn live_metrics(&self) -> &LiveMetrics {
        &self.live_metrics
    }

    /// Records in flight, or of unknown outcome.
    pub(super) fn in_flight(&self) -> u64 {
        self.lock().counts.unknown()
    }

    /// Time since the last acknowledgement, or since the start.
    pub(super) fn quiet_for(&self) -> Duration {
        self.lock().last_ack.unwrap_or(self.begun).elapsed()
    }

    /// Notes a new batch, which may be sent only after that.
    pub(super) fn invoked(&self, count: u64) -> Result<Invoked, ledger::Error> {
        let created = Timestamp::from(SystemTime::now());
        let mut inner = self.lock();
        let seqs = match &mut inner.ledger {
            Some(ledger) => ledger.invoked(count, created)?,
            None => SeqRange {
                start: inner.next_seq,
                end: inner.next_seq + count,
            },
        };
        inner.next_seq = seqs.end;
        inner.counts.invoked += count;
        Ok(Invoked { seqs, created })
    }

    /// Notes that a batch is acknowledged, or failed for certain. `sent` is when it was first sent.
    pub(super) fn settled(
        &self,
        seqs: SeqRange,
        outcome: RecordOutcome,
        sent: Instant,
    ) -> Result<(), ledger::Error> {
        let now = Instant::now();
        let at_us = self.at_us(now);
        let mut inner = self.lock();
        if let Some(ledger) = &mut inner.ledger {
            ledger.settled(seqs, outcome, at_us)?;
        }
        let count = seqs.end - seqs.start;
        match outcome {
            RecordOutcome::Failed => inner.counts.failed += count,
            RecordOutcome::Unconfirmed => inner.counts.unconfirmed += count,
            RecordOutcome::Witnessed => inner.counts.witnessed += count,
            RecordOutcome::Replicated => inner.counts.replicated += count,
        }
        if outcome.is_acknowledged() {
            self.live_metrics.acknowledged(now - sent);
            let us = u64::try_from((now - sent).as_micros()).unwrap_or(LONGEST_US);
            inner
                .latency
                .saturating_record_n(us.clamp(1, LONGEST_US), count);
            if inner.refused.take().is_some() {
                info!("the primary accepts writes again");
            }
            inner.first_ack.get_or_insert(now);
            if let Some(last) = inner.last_ack.replace(now) {
                inner.longest_gap = inner.longest_gap.max(now.saturating_duration_since(last));
            }
        }
        Ok(())
    }

    /// Notes that a batch has to be sent again. The ledger gets the begin of an incident only.
    pub(super) fn sent_again(&self, count: u64) {
        let now = Instant::now();
        let at_us = self.at_us(now);
        let mut inner = self.lock();
        inner.counts.sent_again += count;
        let before = inner.last_again.replace(now);
        if before.is_some_and(|before| now - before < INCIDENT_PAUSE) {
            return;
        }
        if let Some(ledger) = &mut inner.ledger {
            // Ignored, as for a change of the primary.
            let _ = ledger.event(at_us, LedgerEvent::SentAgain);
        }
    }

    pub(super) fn flush(&self) -> Result<(), ledger::Error> {
        match &mut self.lock().ledger {
            Some(ledger) => ledger.flush(),
            None => Ok(()),
        }
    }

    /// Closes the ledger and returns the summary.
    pub(super) fn finish(
        &self,
        options: &WriteOptions,
        elapsed: Duration,
    ) -> Result<WriteSummary, ledger::Error> {
        let at_us = self.at_us(Instant::now());
        let mut inner = self.lock();
        if let Some(ledger) = inner.ledger.take() {
            ledger.close(at_us)?;
        }
        let counts = inner.counts;
        let ms = |us: u64| us as f64 / 1000.0;
        let latency = (!inner.latency.is_empty()).then(|| Latency {
            p50_ms: ms(inner.latency.value_at_quantile(0.50)),
            p99_ms: ms(inner.latency.value_at_quantile(0.99)),
            max_ms: ms(inner.latency.max()),
        });
        Ok(WriteSummary {
            run: self.run,
            policy: options.policy.as_str(),
            invoked: counts.invoked,
            acknowledged: counts.acknowledged(),
            acknowledged_before: counts.before,
            replicated: counts.replicated,
            witnessed: counts.witnessed,
            unconfirmed: counts.unconfirmed,
            failed: counts.failed,
            unknown: counts.unknown(),
            sent_again: counts.sent_again,
            primary_changes: counts.primary_changes,
            elapsed_ms: elapsed.as_secs_f64() * 1000.0,
            records_per_second: inner.latency.len() as f64 / elapsed.as_secs_f64().max(1e-9),
            latency,
            longest_gap_ms: inner.longest_gap.as_secs_f64() * 1000.0,
            ledger: options.ledger.clone(),
        })
    }

    fn at_us(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.begun).as_micros();
        self.offset_us + u64::try_from(since).unwrap_or(u64::MAX / 2)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in between can at most miss a count; the ledger restores itself at its next call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Journal {
    fn round_ended(&self, primary: Option<String>) {
        self.live_metrics.round_ended(primary);
    }

    /// Notes that the primary refuses writes, which are tried again. Logged once until a record is
    /// acknowledged.
    fn refused(&self, why: &str) {
        let mut inner = self.lock();
        if inner.refused.as_deref() != Some(why) {
            warn!(error = %why, "the primary does not accept writes; trying again");
            inner.refused = Some(why.to_owned());
        }
    }

    /// Notes that there is no primary, so that its refusals are over.
    fn no_primary(&self) {
        self.lock().refused = None;
    }

    /// Notes that another node is the primary.
    fn primary_changed(&self, node: &str) {
        let at_us = self.at_us(Instant::now());
        let mut inner = self.lock();
        inner.counts.primary_changes += 1;
        // The refusal was that of the previous primary.
        inner.refused = None;
        if let Some(ledger) = &mut inner.ledger {
            // Informational, so an error is ignored: the next batch reports it.
            let _ = ledger.event(
                at_us,
                LedgerEvent::PrimaryChanged {
                    node: node.to_owned(),
                },
            );
        }
    }
}
