//! Backoff: how soon a node is connected to again after a connection without an answer.
//!
//! A TLS handshake costs both sides processor time, even if the client gives up in the middle of
//! it. If all clients reconnected at once, abandoned handshakes would fill a slow processor, and
//! none would complete in time. So a connection that was accepted but got no answer is followed by
//! a pause. It doubles with each such connection, with jitter, up to a bound. The first answer
//! resets it.
//!
//! A refused connection costs nothing. The pause after it stays the shortest one, so that a
//! restarted server is found as soon as it listens.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep_until};

/// First pause: half of the writer's pause between two rounds of discovery (10 ms), so that one
/// failed connection delays no round.
const SHORTEST: Duration = Duration::from_millis(5);

/// The failed attempts of each node, shared by all clones of a connector.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    failures: Arc<Mutex<HashMap<SocketAddrV4, Failures>>>,
    longest: Duration,
}

/// Failed attempts since the last answer.
#[derive(Debug, Clone, Copy)]
struct Failures {
    /// Accepted and not answered. Concurrent ones count as one.
    count: u32,
    /// Earliest time of the next attempt.
    not_before: Instant,
}

/// How an attempt has failed.
#[derive(Debug, Clone, Copy)]
enum FailedAttempt {
    Refused,
    Unreachable,
    Silent,
}

/// One attempt to connect, until there is an answer. Dropped before that, it counts as failed if
/// its time limit has passed.
#[derive(Debug)]
pub(super) struct Attempt {
    backoff: Backoff,
    to: SocketAddrV4,
    begun: Instant,
    /// Time limit of the answer.
    limit: Duration,
    /// Failed attempts before this one.
    earlier_failures: u32,
    settled: bool,
}

impl Backoff {
    /// With pauses of at most `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        Backoff {
            failures: Arc::default(),
            longest: longest.max(SHORTEST),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddrV4, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an attempt would have to wait now.
    pub(super) fn is_waiting(&self, to: SocketAddrV4) -> bool {
        let failures = self.lock().get(&to).copied();
        failures.is_some_and(|failures| Instant::now() < failures.not_before)
    }

    /// Forgets the failed attempts of a node.
    pub(super) fn reset(&self, to: SocketAddrV4) {
        self.lock().remove(&to);
    }

    /// Waits until the pause of the node is over, and begins an attempt with that time limit.
    pub(super) async fn attempt(&self, to: SocketAddrV4, limit: Duration) -> Attempt {
        loop {
            let failures = self.lock().get(&to).copied();
            match failures {
                Some(failures) if Instant::now() < failures.not_before => {
                    sleep_until(failures.not_before).await;
                }
                _ => {
                    return Attempt {
                        backoff: self.clone(),
                        to,
                        begun: Instant::now(),
                        limit,
                        earlier_failures: failures.map_or(0, |failures| failures.count),
                        settled: false,
                    };
                }
            }
        }
    }

    /// The pause after that many failed attempts, without jitter.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 1 << failures.saturating_sub(1).min(16);
        (SHORTEST * doubled).min(self.longest)
    }
}

impl Attempt {
    /// Nothing listens there.
    pub(super) fn refused(&mut self) {
        self.settle(FailedAttempt::Refused);
    }

    /// There was no connection, and it is not known whether anything listens there.
    pub(super) fn unreachable(&mut self) {
        self.settle(FailedAttempt::Unreachable);
    }

    /// The connection was accepted and failed without an answer.
    pub(super) fn failed(&mut self) {
        self.settle(FailedAttempt::Silent);
    }

    /// The node has answered.
    pub(super) fn answered(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.backoff.reset(self.to);
        }
    }

    fn settle(&mut self, failure: FailedAttempt) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let mut all = self.backoff.lock();
        let now = Instant::now();
        let failures = all.entry(self.to).or_insert(Failures {
            count: 0,
            not_before: now,
        });
        match failure {
            // The server that was silent before has ended.
            FailedAttempt::Refused => {
                failures.count = 0;
                failures.not_before = now;
            }
            FailedAttempt::Silent if failures.count <= self.earlier_failures => {
                failures.count = self.earlier_failures + 1;
            }
            FailedAttempt::Silent | FailedAttempt::Unreachable => {}
        }
        // Clients that were disconnected at the same moment do not reconnect at the same moment.
        let part = rand::rng().random_range(0.5..=1.0);
        let not_before = now + self.backoff.pause(failures.count).mul_f64(part);
        failures.not_before = failures.not_before.max(not_before);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.begun.elapsed() >= self.limit {
            self.failed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(1);

    fn node(number: u8) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, number), 6379)
    }

    /// An attempt, and the pause before it.
    async fn pause(backoff: &Backoff, to: SocketAddrV4) -> (Attempt, Duration) {
        let begun = Instant::now();
        let attempt = backoff.attempt(to, LIMIT).await;
        (attempt, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_with_jitter_up_to_a_bound_and_restart_after_an_answer() {
        let backoff = Backoff::new(LONGEST);
        let (mut attempt, first) = pause(&backoff, node(1)).await;
        assert_eq!(first, Duration::ZERO);
        for expected in [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            attempt.failed();
            drop(attempt);
            assert!(backoff.is_waiting(node(1)) && !backoff.is_waiting(node(2)));
            let waited;
            (attempt, waited) = pause(&backoff, node(1)).await;
            // tokio's clock counts milliseconds.
            let range = expected / 2..=expected + 1;
            assert!(
                range.contains(&waited.as_millis()),
                "{waited:?} of {range:?}"
            );
        }
        attempt.answered();
        let (mut attempt, waited) = pause(&backoff, node(1)).await;
        assert_eq!(waited, Duration::ZERO);
        attempt.failed();
        assert!(pause(&backoff, node(1)).await.1 <= SHORTEST + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_any_number_of_refused_connections_the_pause_is_the_shortest() {
        let backoff = Backoff::new(LONGEST);
        for _ in 0..100 {
            let (mut attempt, waited) = pause(&backoff, node(1)).await;
            assert!(waited <= SHORTEST + Duration::from_millis(1), "{waited:?}");
            attempt.refused();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_silent_and_restarts_is_found_at_once() {
        let backoff = Backoff::new(LONGEST);
        for _ in 0..6 {
            pause(&backoff, node(1)).await.0.failed();
        }
        // It was killed: its port refuses connections until it listens again.
        let (mut attempt, waited) = pause(&backoff, node(1)).await;
        assert!(waited > SHORTEST * 4, "{waited:?}");
        attempt.refused();
        let (_, waited) = pause(&backoff, node(1)).await;
        assert!(waited <= SHORTEST + Duration::from_millis(1), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_failed_attempts_count_as_one() {
        let backoff = Backoff::new(LONGEST);
        let mut attempts = Vec::new();
        for _ in 0..5 {
            attempts.push(pause(&backoff, node(1)).await.0);
        }
        for attempt in &mut attempts {
            attempt.failed();
        }
        assert!(pause(&backoff, node(1)).await.1 <= SHORTEST + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_attempt_counts_as_failed_once_its_time_limit_has_passed() {
        let backoff = Backoff::new(LONGEST);
        drop(backoff.attempt(node(1), LIMIT).await);
        assert!(!backoff.is_waiting(node(1)));
        let attempt = backoff.attempt(node(1), LIMIT).await;
        tokio::time::sleep(LIMIT).await;
        drop(attempt);
        assert!(backoff.is_waiting(node(1)));
        backoff.reset(node(1));
        assert!(!backoff.is_waiting(node(1)));
    }
}
