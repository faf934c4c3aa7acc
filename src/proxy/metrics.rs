//! What a proxy counts, for its log at the end.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;

/// The counts of a proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct ProxyMetrics {
    /// Clients that were disconnected because a command may or may not have been executed.
    pub(super) unknown: Counter,
    /// Commands that were sent again to another primary.
    pub(super) sent_again: Counter,
    /// Changes of the primary.
    pub(super) primary_changes: Counter,
    refusal: Arc<Mutex<Option<String>>>,
}

impl ProxyMetrics {
    /// Notes that the primary refuses the proxy. Returns whether the reason is new.
    pub(super) fn is_new_refusal(&self, why: &str) -> bool {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.replace(why.to_owned()).as_deref() != Some(why)
    }
}
