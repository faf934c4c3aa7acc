//! What the other data nodes have echoed of a session's messages.
//!
//! A round publishes a message on the session's channel. The server replicates it like a write, and
//! each replica passes it on to its subscribers. So a message that arrives from a node shows that
//! this node has executed all that the primary had executed before the message, and that it still
//! followed the primary then: what `WAIT` and `ROLE` would show, without the way back to the
//! primary. The channel has a random name, so nobody else publishes there.
//!
//! Messages that do not arrive show nothing: then a round asks the primary ([`super::round`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::trace;

/// Time for the messages of a round. Healthy nodes pass them on in less.
const LIMIT: Duration = Duration::from_millis(20);

/// Whose round a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// The keeper: its rounds are executed in the order of their numbers.
    Keeper,
    /// A write connection.
    Own,
}

/// The text of the message of a round.
pub(super) fn message(asker: Asker, round: u64) -> String {
    match asker {
        Asker::Keeper => format!("k{round}"),
        Asker::Own => format!("o{round}"),
    }
}

fn parse(message: &[u8]) -> Option<(Asker, u64)> {
    let (kind, number) = message.split_first()?;
    let asker = match kind {
        b'k' => Asker::Keeper,
        b'o' => Asker::Own,
        _ => return None,
    };
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((asker, number))
}

/// What has arrived, of all nodes.
#[derive(Debug)]
pub(super) struct Echo {
    /// In the order of the session's other data nodes.
    nodes: Vec<NodeEcho>,
    /// The last round of the keeper whose message has arrived from all of them.
    of_keeper: watch::Sender<u64>,
    /// The last round of the keeper whose messages have not arrived in time.
    missed: AtomicU64,
}

/// What has arrived from one node.
#[derive(Debug, Default)]
struct NodeEcho {
    is_subscribed: AtomicBool,
    /// The last round of the keeper.
    of_keeper: AtomicU64,
    /// The last round.
    last: AtomicU64,
}

impl Echo {
    /// Nothing has arrived yet from any of that many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Echo {
            nodes: (0..nodes).map(|_| NodeEcho::default()).collect(),
            of_keeper: watch::Sender::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// Whether the messages of the next round are expected to arrive.
    pub(super) fn is_expected(&self) -> bool {
        let is_subscribed = |node: &NodeEcho| node.is_subscribed.load(Ordering::SeqCst);
        let has_arrived = *self.of_keeper.borrow() > 0;
        has_arrived && !self.has_missed() && self.nodes.iter().all(is_subscribed)
    }

    /// Whether the messages of some round have not arrived in time, nor those of a later one.
    pub(super) fn has_missed(&self) -> bool {
        *self.of_keeper.borrow() < self.missed.load(Ordering::SeqCst)
    }

    /// Notes a message that has arrived from a node. Returns the last round that it completes: what
    /// was answered before that round began is confirmed.
    pub(super) fn note(&self, node: usize, message: &[u8]) -> Option<u64> {
        let (asker, round) = parse(message)?;
        let from = self.nodes.get(node)?;
        if asker == Asker::Keeper {
            from.of_keeper.fetch_max(round, Ordering::SeqCst);
            let all = self.of_all(|node| &node.of_keeper);
            self.of_keeper.send_if_modified(|known| {
                let is_later = all > *known;
                *known = all.max(*known);
                is_later
            });
        }
        from.last.fetch_max(round, Ordering::SeqCst);
        // The rounds on several connections may be executed in another order than that of their
        // numbers. But whatever was answered before an earlier one began, was before the later one.
        self.completed()
    }

    /// For tests: the node is subscribed to, and passes on that message.
    #[cfg(test)]
    pub(super) fn passed_on(&self, node: usize, message: &str) {
        self.set_subscribed(node, true);
        self.note(node, message.as_bytes());
    }

    /// The last round whose message, or that of a later one, has arrived from all nodes.
    pub(super) fn completed(&self) -> Option<u64> {
        Some(self.of_all(|node| &node.last)).filter(|round| *round > 0)
    }

    fn of_all(&self, which: impl Fn(&NodeEcho) -> &AtomicU64) -> u64 {
        let each = self.nodes.iter();
        let each = each.map(|node| which(node).load(Ordering::SeqCst));
        each.min().unwrap_or(0)
    }

    pub(super) fn set_subscribed(&self, node: usize, is_subscribed: bool) {
        if let Some(of) = self.nodes.get(node) {
            of.is_subscribed.store(is_subscribed, Ordering::SeqCst);
        }
    }

    /// Waits until the message of that round of the keeper has arrived from all nodes. Returns
    /// whether it has, in time.
    pub(super) async fn has_all(&self, round: u64) -> bool {
        let mut arrived = self.of_keeper.subscribe();
        let waited = timeout(LIMIT, arrived.wait_for(|last| *last >= round)).await;
        let has_all = matches!(waited, Ok(Ok(_)));
        if !has_all {
            trace!(round, "not every other data node has passed on the message");
            self.missed.fetch_max(round, Ordering::SeqCst);
        }
        has_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages from nodes, and the rounds that they complete.
    fn completed(nodes: usize, messages: &[(usize, &str)]) -> Vec<Option<u64>> {
        let echo = Echo::new(nodes);
        let note = |(node, text): &(usize, &str)| echo.note(*node, text.as_bytes());
        messages.iter().map(note).collect()
    }

    #[test]
    fn a_round_is_complete_when_every_node_has_passed_it_on() {
        assert_eq!(completed(1, &[(0, "k1"), (0, "o3")]), [Some(1), Some(3)]);
        assert_eq!(
            completed(2, &[(0, "k1"), (0, "k2"), (1, "k1"), (1, "o7")]),
            [None, None, Some(1), Some(2)]
        );
        // Executed in another order than begun.
        assert_eq!(completed(1, &[(0, "o5"), (0, "k4")]), [Some(5), Some(5)]);
    }

    #[test]
    fn other_messages_show_nothing() {
        let texts = ["", "k", "x1", "k-1", "k1x", "1", "o99999999999999999999999"];
        for text in texts {
            assert_eq!(completed(1, &[(0, text)]), [None], "{text}");
        }
        assert_eq!(completed(1, &[(1, "k1")]), [None]);
        for (asker, round) in [(Asker::Keeper, 7), (Asker::Own, u64::MAX)] {
            let text = message(asker, round);
            assert_eq!(parse(text.as_bytes()), Some((asker, round)));
        }
    }

    /// A later round on a write connection may be executed before the keeper's.
    #[tokio::test(start_paused = true)]
    async fn only_its_own_message_confirms_the_offset_of_a_round_of_the_keeper() {
        let echo = Echo::new(1);
        echo.note(0, b"o9");
        assert!(!echo.has_all(8).await);
        echo.note(0, b"k8");
        assert!(echo.has_all(8).await);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_expected_while_they_arrive() {
        let echo = Echo::new(2);
        assert!(!echo.is_expected());
        for node in 0..2 {
            echo.set_subscribed(node, true);
            echo.note(node, b"k1");
        }
        assert!(echo.is_expected());
        // One of them is lost, or is slow.
        echo.note(0, b"k2");
        assert!(!echo.has_all(2).await);
        assert!(!echo.is_expected());
        echo.note(1, b"k2");
        assert!(echo.is_expected());
        echo.set_subscribed(1, false);
        assert!(!echo.is_expected());
    }
}
