//! The events of the Sentinels that hint at a change of the primary.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::sentinel::{EVENT_CAPACITY, Event};

/// Minimum time between two hints.
const PAUSE: Duration = Duration::from_millis(5);
/// Number of rounds in a row that hints may interrupt before the pause grows. A failover
/// publishes fewer hints.
const INTERRUPTIONS_MAX: u32 = 8;

/// The hints. Each of them interrupts the round in progress, so they are limited: a Sentinel that
/// publishes events without end must not prevent every round from completing. After some
/// interruptions in a row, the pause doubles with each further one. So a round completes, however
/// long it takes.
pub(super) struct Hints {
    events: mpsc::Receiver<Event>,
    /// Earliest time of the next hint.
    not_before: Instant,
    /// Number of hints since a round was complete.
    in_a_row: u32,
}

impl Hints {
    pub(super) fn new(events: mpsc::Receiver<Event>) -> Self {
        Hints {
            events,
            not_before: Instant::now(),
            in_a_row: 0,
        }
    }

    /// Waits for a hint; `None` if there will be no more. Drops further events that have already
    /// arrived: the same round serves them.
    pub(super) async fn next(&mut self) -> Option<()> {
        sleep_until(self.not_before).await;
        loop {
            let event = self.events.recv().await?;
            if hints_at_a_change(&event) {
                let (name, text) = (&event.name, &event.text);
                debug!(sentinel = %event.sentinel, event = %name, %text, "hint at a change");
                // Not until there is none: they may arrive faster than they are dropped.
                for _ in 0..EVENT_CAPACITY {
                    if self.events.try_recv().is_err() {
                        break;
                    }
                }
                self.in_a_row += 1;
                self.not_before = Instant::now() + pause_after(self.in_a_row);
                return Some(());
            }
        }
    }

    /// A round is complete.
    pub(super) fn round_complete(&mut self) {
        self.in_a_row = 0;
    }
}

fn pause_after(in_a_row: u32) -> Duration {
    // It is at most twice the length of a round, or the round would have been complete.
    let doublings = in_a_row.saturating_sub(INTERRUPTIONS_MAX).min(31);
    PAUSE.saturating_mul(1 << doublings)
}

/// Whether the primary may have changed; any other event would only cause useless rounds.
fn hints_at_a_change(event: &Event) -> bool {
    matches!(
        event.name.as_str(),
        "+switch-master" | "+promoted-slave" | "+failover-end" | "+config-update-from" | "+odown"
    )
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    fn hint() -> Event {
        Event {
            sentinel: "sentinel-1".into(),
            at: Instant::now(),
            name: "+switch-master".into(),
            text: String::new(),
        }
    }

    /// Hints without end, and rounds of this length: how often a round is interrupted before one
    /// is complete.
    async fn interruptions(hints: &mut Hints, length: Duration) -> u32 {
        let mut interruptions = 0;
        loop {
            tokio::select! {
                () = sleep(length) => {
                    hints.round_complete();
                    return interruptions;
                }
                hint = hints.next() => assert!(hint.is_some()),
            }
            interruptions += 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hints_without_end_prevent_no_round_from_completing() {
        let (to, events) = mpsc::channel(EVENT_CAPACITY);
        let publisher = tokio::spawn(async move { while to.send(hint()).await.is_ok() {} });
        let mut hints = Hints::new(events);
        for length in [1, 6, 50, 1_000, 60_000] {
            let length = Duration::from_millis(length);
            let interrupted = timeout(
                10 * length.max(PAUSE * 8),
                interruptions(&mut hints, length),
            );
            let interrupted = interrupted.await.expect("no round is complete");
            // Short rounds are never prolonged by the growth of the pause.
            assert_eq!(
                interrupted > INTERRUPTIONS_MAX,
                length > PAUSE,
                "{length:?}"
            );
        }
        publisher.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn the_hints_of_a_failover_are_not_delayed() {
        let (to, events) = mpsc::channel(EVENT_CAPACITY);
        let mut hints = Hints::new(events);
        for _ in 0..INTERRUPTIONS_MAX {
            sleep(PAUSE).await;
            to.send(hint()).await.unwrap();
            let published = Instant::now();
            hints.next().await.unwrap();
            assert_eq!(published.elapsed(), Duration::ZERO);
        }
    }
}
