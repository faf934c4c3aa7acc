//! How soon a node is called again after a call that came to nothing.
//!
//! A handshake of TLS costs both sides processor time, also when the caller gives up in the middle
//! of it. If everybody called again at once, handshakes that nobody waits for any more would fill a
//! slow processor, and none would be in time. So a call that was accepted and came to nothing is
//! followed by a pause, which doubles with each such call, with jitter, up to a bound. The first
//! answer ends that.
//!
//! A node that does not accept a connection costs nothing. The pause after that stays the shortest
//! one, so that a server that was started again is found as soon as it listens.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep_until};

/// First pause: the writer's shortest pause between two rounds of discovery, so that one failed
/// connection delays no round.
const SHORTEST: Duration = Duration::from_millis(5);

/// What became of the last calls, by the node; shared by all who call with one connector.
#[derive(Debug, Clone)]
pub(super) struct Retries {
    vain: Arc<Mutex<HashMap<SocketAddrV4, Vain>>>,
    longest: Duration,
}

/// Calls since the last answer.
#[derive(Debug, Clone, Copy)]
struct Vain {
    /// Accepted and not answered. Those that were under way at the same time count as one.
    calls: u32,
    /// None is made before.
    until: Instant,
}

/// A call that is under way, until there is an answer. Dropped before that, it was in vain if the
/// node has had its time.
#[derive(Debug)]
pub(super) struct Call {
    retries: Retries,
    to: SocketAddrV4,
    begun: Instant,
    /// The node may take so long.
    limit: Duration,
    /// Calls in vain before it.
    before: u32,
    settled: bool,
}

impl Retries {
    /// With pauses of at most `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        Retries {
            vain: Arc::default(),
            longest: longest.max(SHORTEST),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddrV4, Vain>> {
        self.vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call would have to wait now.
    pub(super) fn pauses(&self, to: SocketAddrV4) -> bool {
        let vain = self.lock().get(&to).copied();
        vain.is_some_and(|vain| Instant::now() < vain.until)
    }

    /// What became of earlier calls says nothing any more.
    pub(super) fn forget(&self, to: SocketAddrV4) {
        self.lock().remove(&to);
    }

    /// Waits until the node may be called again, and begins a call that may take `limit`.
    pub(super) async fn call(&self, to: SocketAddrV4, limit: Duration) -> Call {
        loop {
            let vain = self.lock().get(&to).copied();
            match vain {
                Some(vain) if Instant::now() < vain.until => sleep_until(vain.until).await,
                _ => {
                    return Call {
                        retries: self.clone(),
                        to,
                        begun: Instant::now(),
                        limit,
                        before: vain.map_or(0, |vain| vain.calls),
                        settled: false,
                    };
                }
            }
        }
    }

    /// The pause after so many calls in vain, without jitter.
    fn pause(&self, calls: u32) -> Duration {
        let doubled = 1 << calls.saturating_sub(1).min(16);
        (SHORTEST * doubled).min(self.longest)
    }
}

impl Call {
    /// No connection was made.
    pub(super) fn not_accepted(&mut self) {
        self.settle(false);
    }

    /// The connection came to nothing.
    pub(super) fn in_vain(&mut self) {
        self.settle(true);
    }

    /// The node has answered.
    pub(super) fn answered(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.retries.forget(self.to);
        }
    }

    fn settle(&mut self, accepted: bool) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let mut all = self.retries.lock();
        let now = Instant::now();
        let vain = all.entry(self.to).or_insert(Vain {
            calls: 0,
            until: now,
        });
        if accepted && vain.calls <= self.before {
            vain.calls = self.before + 1;
        }
        // Several who were hung up on at the same moment do not come back at the same moment.
        let part = rand::rng().random_range(0.5..=1.0);
        let until = now + self.retries.pause(vain.calls).mul_f64(part);
        vain.until = vain.until.max(until);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.begun.elapsed() >= self.limit {
            self.in_vain();
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

    /// The pause that a call has to wait.
    async fn pause(retries: &Retries, to: SocketAddrV4) -> (Call, Duration) {
        let begun = Instant::now();
        let call = retries.call(to, LIMIT).await;
        (call, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_with_jitter_up_to_a_bound_and_begin_anew_with_an_answer() {
        let retries = Retries::new(LONGEST);
        let (mut call, first) = pause(&retries, node(1)).await;
        assert_eq!(first, Duration::ZERO);
        for expected in [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            call.in_vain();
            drop(call);
            assert!(retries.pauses(node(1)) && !retries.pauses(node(2)));
            let waited;
            (call, waited) = pause(&retries, node(1)).await;
            // The clock of tokio counts milliseconds.
            let range = expected / 2..=expected + 1;
            assert!(
                range.contains(&waited.as_millis()),
                "{waited:?} of {range:?}"
            );
        }
        call.answered();
        let (mut call, waited) = pause(&retries, node(1)).await;
        assert_eq!(waited, Duration::ZERO);
        call.in_vain();
        assert!(pause(&retries, node(1)).await.1 <= SHORTEST + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_listen_is_called_again_after_the_shortest_pause_however_often() {
        let retries = Retries::new(LONGEST);
        for _ in 0..100 {
            let (mut call, waited) = pause(&retries, node(1)).await;
            assert!(waited <= SHORTEST + Duration::from_millis(1), "{waited:?}");
            call.not_accepted();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_under_way_together_fail_together() {
        let retries = Retries::new(LONGEST);
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(pause(&retries, node(1)).await.0);
        }
        for call in &mut calls {
            call.in_vain();
        }
        assert!(pause(&retries, node(1)).await.1 <= SHORTEST + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_counts_when_the_node_has_had_its_time() {
        let retries = Retries::new(LONGEST);
        drop(retries.call(node(1), LIMIT).await);
        assert!(!retries.pauses(node(1)));
        let call = retries.call(node(1), LIMIT).await;
        tokio::time::sleep(LIMIT).await;
        drop(call);
        assert!(retries.pauses(node(1)));
        retries.forget(node(1));
        assert!(!retries.pauses(node(1)));
    }
}
