//! Planned changes of the primary.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::drill::faults::{FaultContext, InjectionError};
use crate::handover::{self, HandoverError, HandoverResult};

use super::waiting::WRITES_LIMIT;

/// After this time without a promotion, `SENTINEL FAILOVER` is repeated, as an operator would: a
/// Sentinel that was stalled has given the failover up.
const CALL_AGAIN: Duration = Duration::from_secs(2);

/// The new primary is killed at a random moment within this time after the promotion.
pub(in crate::drill::faults) const KILL_WINDOW: Duration = Duration::from_millis(500);

/// A planned handover that goes on, as the command of an operator would, until it is dropped.
type RunningHandover = JoinSet<Result<HandoverResult, HandoverError>>;

impl FaultContext<'_> {
    /// A planned handover; with stock nodes `SENTINEL FAILOVER`, as there is nothing better.
    pub(in crate::drill::faults) async fn hand_over(
        &mut self,
        from: &str,
    ) -> Result<(), InjectionError> {
        self.begin_planned_fault(from);
        if self.environment.nodes.are_stock() {
            return self.call_failover(from).await;
        }
        let lab = &self.environment.lab;
        let done = handover::hand_over(lab, &self.observer.connector).await;
        let done = done.map_err(InjectionError::refused)?;
        self.record(format!("writes were paused for {:.1} ms", done.paused_ms));
        self.await_failover_from(from).await
    }

    /// Begins the same, and waits for the promotion. Returns the new primary.
    pub(in crate::drill::faults) async fn begin_handover(
        &mut self,
    ) -> Result<(String, RunningHandover), InjectionError> {
        let from = self.primary.clone();
        self.begin_planned_fault(&from);
        let mut handover = JoinSet::new();
        if self.environment.nodes.are_stock() {
            let socket = self.node(&from)?.socket();
            let called = self.observer.sentinels.call_failover(socket).await;
            called.map_err(InjectionError::Refused)?;
        } else {
            let lab = self.environment.lab.clone();
            let connector = self.observer.connector.clone();
            handover.spawn(async move { handover::hand_over(&lab, &connector).await });
        }
        let other = || {
            let primaries = self.observer.primaries();
            primaries.into_iter().find(|name| *name != from)
        };
        let deadline = Instant::now() + WRITES_LIMIT;
        let what = "another node to become primary";
        self.until(deadline, what, || other().is_some()).await?;
        let new = other().ok_or_else(|| InjectionError::missed("no node took over"))?;
        if self.outrun_after_promotion {
            self.environment.outrun()?;
        }
        Ok((new, handover))
    }

    fn begin_planned_fault(&mut self, from: &str) {
        let planned = match self.environment.nodes.are_stock() {
            true => "SENTINEL FAILOVER",
            false => "handover",
        };
        self.begin_fault(format!("{planned} from {from}"));
    }

    /// `SENTINEL FAILOVER`, repeated until another node is primary.
    pub(in crate::drill::faults) async fn call_failover(
        &mut self,
        from: &str,
    ) -> Result<(), InjectionError> {
        let socket = self.node(from)?.socket();
        let called = self.observer.sentinels.call_failover(socket).await;
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
            if self.observer.sentinels.call_failover(socket).await.is_err() {
                break;
            }
        }
        self.await_failover_from(from).await
    }
}
