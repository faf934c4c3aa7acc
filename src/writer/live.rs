//! The values of a run that only its metrics need: the journal does not count them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// From 0.25 ms to 16 s: an idle lab acknowledges in 1 ms; a failover after down-after takes 6 s.
const LATENCY_BUCKETS: (f64, f64, u16) = (0.000_25, 2.0, 17);

/// Values that only the metrics need.
#[derive(Debug, Clone)]
pub(super) struct LiveMetrics {
    pub(super) latency: Histogram,
    pub(super) rounds: Counter,
    pub(super) refused_connections: Gauge,
    primary: Arc<Mutex<Option<String>>>,
}

impl LiveMetrics {
    pub(super) fn new() -> Self {
        let (start, factor, count) = LATENCY_BUCKETS;
        LiveMetrics {
            latency: Histogram::new(exponential_buckets(start, factor, count)),
            rounds: Counter::default(),
            refused_connections: Gauge::default(),
            primary: Arc::default(),
        }
    }

    /// Notes the time from the first sending of a batch to its acknowledgement.
    pub(super) fn acknowledged(&self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
    }

    /// Notes that a round of discovery has ended, and the primary that it found.
    pub(super) fn round_ended(&self, primary: Option<String>) {
        self.rounds.inc();
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = primary;
    }

    /// Counts a connection that the primary does not accept, until the result is dropped.
    pub(super) fn connection_refused(&self) -> RefusedConnection {
        self.refused_connections.inc();
        RefusedConnection(self.refused_connections.clone())
    }

    pub(super) fn primary(&self) -> Option<String> {
        self.primary
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A write connection that the primary does not accept.
#[derive(Debug)]
pub(super) struct RefusedConnection(Gauge);

impl Drop for RefusedConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
