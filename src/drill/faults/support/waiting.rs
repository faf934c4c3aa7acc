//! Waiting for what has to happen in the lab, with time limits.

use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::Lab;
use crate::drill::environment::{LabObserver, Load};
use crate::drill::faults::{FaultContext, InjectionError};
use crate::drill::judging::Writes;
use crate::recovery::Recovery;
use crate::sentinel::SentinelClients;

/// Interval at which the observed events are checked.
pub(in crate::drill::faults) const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Time limit of the first acknowledged writes on a healthy lab.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// Interval at which all nodes are asked, or a log is read.
pub(in crate::drill::faults) const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// Time limit of a recovery. The longest known part is 30 s of TILT after a Sentinel was stalled.
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
/// Time that a failover may take beyond the lab's time limits, on a slow machine.
pub(in crate::drill::faults) const FAILOVER_SLACK: Duration = Duration::from_secs(15);
/// Time limit for writes to continue without a failover: after `repl-timeout` (10 s in
/// `redis.conf`, 60 s by default) a primary notices that its replica receives nothing.
pub(in crate::drill::faults) const WRITES_LIMIT: Duration = Duration::from_secs(75);
/// Time that a failover takes after down-after: election and promotion.
const ELECTION: Duration = Duration::from_millis(500);

impl FaultContext<'_> {
    /// Waits until another node is primary, writes continue if they have to, and a majority of the
    /// Sentinels names that node.
    pub(in crate::drill::faults) async fn await_failover_from(
        &mut self,
        old: &str,
    ) -> Result<(), InjectionError> {
        self.phases.begin("observe");
        let timing = &self.environment.lab.timing;
        // A failed failover is repeated after twice its timeout.
        let limit = 2 * timing.down_after + 3 * timing.failover_timeout + FAILOVER_SLACK;
        let deadline = Instant::now() + limit;
        self.until(deadline, "another node to become primary", || {
            self.observer.primaries().iter().any(|name| name != old)
        })
        .await?;
        if matches!(
            self.expectation.writes,
            Writes::Continue | Writes::ShortPause
        ) {
            self.await_writes(limit).await?;
        }
        loop {
            let named = self.observer.named_primary().await;
            if named.is_some_and(|name| name != old) {
                return Ok(());
            }
            let what = "the Sentinels to name another primary";
            self.pause(deadline, what, ASK_INTERVAL).await?;
        }
    }

    /// Observes for twice the time of a failover that there is none, and that writes continue if
    /// they have to.
    pub(in crate::drill::faults) async fn observe_no_failover_from(
        &mut self,
        old: &str,
    ) -> Result<(), InjectionError> {
        self.phases.begin("observe");
        let window = 2 * (self.environment.lab.timing.down_after + ELECTION);
        let end = Instant::now() + window;
        while Instant::now() < end {
            if self.observer.primaries().iter().any(|name| name != old) {
                return Err(InjectionError::missed("another node became primary"));
            }
            if self.stop.is_cancelled() {
                return Err(InjectionError::Stopped);
            }
            sleep(POLL_INTERVAL).await;
        }
        if self.expectation.writes == Writes::Continue {
            self.await_writes(WRITES_LIMIT).await?;
        }
        Ok(())
    }

    /// Waits until more records are acknowledged than were in flight.
    pub(in crate::drill::faults) async fn await_writes(
        &mut self,
        limit: Duration,
    ) -> Result<(), InjectionError> {
        let goal = self.load.counts_now().await.acknowledged() + self.enough_records;
        self.until(Instant::now() + limit, "writes to go on", || {
            self.load.counts().acknowledged() >= goal
        })
        .await
    }

    /// Waits until the lab has recovered. Returns the primary.
    pub(in crate::drill::faults) async fn await_recovery(&self) -> Result<String, InjectionError> {
        await_recovery(&self.environment.lab, self.observer, self.stop).await
    }

    /// Waits until the lab has recovered with these nodes. Returns the primary.
    pub(in crate::drill::faults) async fn await_recovery_of(
        &self,
        lab: &Lab,
    ) -> Result<String, InjectionError> {
        let sentinels = SentinelClients::new(lab, self.observer.connector.clone());
        recover(lab, &sentinels, self.observer, self.stop).await
    }

    /// Waits until a condition holds; `what` is named if it does not until the deadline.
    pub(in crate::drill::faults) async fn until(
        &self,
        deadline: Instant,
        what: &str,
        condition: impl Fn() -> bool,
    ) -> Result<(), InjectionError> {
        while !condition() {
            self.pause(deadline, what, POLL_INTERVAL).await?;
        }
        Ok(())
    }

    /// A pause in a wait for `what`; an error after the deadline.
    pub(in crate::drill::faults) async fn pause(
        &self,
        deadline: Instant,
        what: &str,
        pause: Duration,
    ) -> Result<(), InjectionError> {
        if Instant::now() >= deadline {
            return Err(InjectionError::Missed(format!(
                "timeout waiting for {what}"
            )));
        }
        stoppable_sleep(pause, self.stop).await
    }

    /// A random duration of at most `max`, in milliseconds.
    pub(in crate::drill::faults) fn random_up_to(&mut self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_millis()).unwrap_or(0);
        Duration::from_millis(self.rng.random_range(0..=max))
    }

    /// A random pause, so that faults are not always injected at the same time of the lab's
    /// periods.
    pub(in crate::drill) async fn random_pause(
        &mut self,
        max: Duration,
    ) -> Result<(), InjectionError> {
        let pause = self.random_up_to(max);
        stoppable_sleep(pause, self.stop).await
    }
}

/// Waits until the writer has had records acknowledged.
///
/// # Errors
/// When it has not, after a time that is long for a healthy lab.
pub(in crate::drill) async fn await_first_writes(
    load: &Load,
    records: u64,
    stop: &CancellationToken,
) -> Result<(), InjectionError> {
    let deadline = Instant::now() + LOAD_LIMIT;
    while load.counts().acknowledged() < records {
        if Instant::now() >= deadline {
            let text = "no write is acknowledged on a healthy lab";
            return Err(InjectionError::missed(text));
        }
        stoppable_sleep(POLL_INTERVAL, stop).await?;
    }
    Ok(())
}

/// Sleeps; a request to stop is an error.
pub(in crate::drill) async fn stoppable_sleep(
    pause: Duration,
    stop: &CancellationToken,
) -> Result<(), InjectionError> {
    tokio::select! {
        () = sleep(pause) => Ok(()),
        () = stop.cancelled() => Err(InjectionError::Stopped),
    }
}

/// Waits until the lab has recovered. Returns the primary.
///
/// # Errors
/// What is missing when the time is over.
pub(in crate::drill) async fn await_recovery(
    lab: &Lab,
    observer: &LabObserver,
    stop: &CancellationToken,
) -> Result<String, InjectionError> {
    recover(lab, &observer.sentinels, observer, stop).await
}

async fn recover(
    lab: &Lab,
    sentinels: &SentinelClients,
    observer: &LabObserver,
    stop: &CancellationToken,
) -> Result<String, InjectionError> {
    let deadline = Instant::now() + RECOVERY_LIMIT;
    let mut recovery = Recovery::default();
    loop {
        let missing = match recovery.observe(lab, sentinels, &observer.connector).await {
            Ok(primary) => return Ok(primary),
            Err(missing) => missing,
        };
        if Instant::now() >= deadline {
            return Err(InjectionError::Missed(format!(
                "not recovered after {RECOVERY_LIMIT:?}: {missing}"
            )));
        }
        stoppable_sleep(ASK_INTERVAL, stop).await?;
    }
}
