//! Planned changes of the primary.

use std::time::Duration;

use tokio::time::Instant;

use crate::drill::faults::{FaultContext, InjectionError};
use crate::handover;

/// After this time without a promotion, `SENTINEL FAILOVER` is repeated, as an operator would: a
/// Sentinel that was stalled has given the failover up.
const CALL_AGAIN: Duration = Duration::from_secs(2);

impl FaultContext<'_> {
    /// A planned handover; with plain nodes `SENTINEL FAILOVER`, as there is nothing better.
    pub(in crate::drill::faults) async fn hand_over(
        &mut self,
        from: &str,
    ) -> Result<(), InjectionError> {
        if self.environment.nodes.are_plain() {
            self.begin_fault(format!("SENTINEL FAILOVER from {from}"));
            return self.call_failover(from).await;
        }
        self.begin_fault(format!("handover from {from}"));
        let lab = &self.environment.lab;
        let done = handover::hand_over(lab, &self.observer.connector).await;
        let done = done.map_err(InjectionError::refused)?;
        self.record(format!("writes were paused for {:.1} ms", done.paused_ms));
        self.await_failover_from(from).await
    }

    /// `SENTINEL FAILOVER`, repeated until another node is primary.
    pub(in crate::drill::faults) async fn call_failover(
        &mut self,
        from: &str,
    ) -> Result<(), InjectionError> {
        let socket = self.node(from)?.socket();
        let called = self.observer.panel.call_failover(socket).await;
        called.map_err(InjectionError::Refused)?;
        let other = || self.observer.primaries().iter().any(|name| name != from);
        while let Err(error) = self
            .until(Instant::now() + CALL_AGAIN, "a promotion", other)
            .await
        {
            let InjectionError::Missed(_) = error else {
                return Err(error);
            };
            // Refused: the failover is still in progress.
            if self.observer.panel.call_failover(socket).await.is_err() {
                break;
            }
        }
        self.await_failover_from(from).await
    }
}
