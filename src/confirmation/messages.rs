//! The messages of a session's rounds, and what has arrived of them from the other data nodes.
//!
//! A round publishes a message on the session's channel. The server replicates it like a write, and
//! each replica passes it on to its subscribers. So a message that arrives from a node shows that
//! this node has executed all that the primary had executed before the message, and that it still
//! followed the primary then: what `WAIT` and `ROLE` would show, without the way back to the
//! primary. [`crate::protocol::round`] has the rule.
//!
//! Each message has the session's token, which only the keeper and the write connections of the
//! session know. Any message without it is ignored.
//!
//! A missing message shows nothing: then a round asks the primary ([`super::round`]).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::trace;

use crate::protocol::round::{Arrivals, Asker};

/// Least time for the messages of a round after the primary's answer. Healthy nodes nearby pass
/// them on in less.
const LEAST_LIMIT: Duration = Duration::from_millis(20);
/// Most time for them: the primary's answer may be late for another reason than the network.
const MOST_LIMIT: Duration = Duration::from_millis(200);
/// After a message that has not arrived in time, so many rounds do not wait for theirs: a node may
/// be far away, or stand still.
const ROUNDS_WITHOUT: u64 = 32;

/// The messages of one session.
#[derive(Debug)]
pub(super) struct Messages {
    token: String,
    state: Mutex<MessageState>,
    /// The last round of the keeper whose message has arrived from all nodes.
    of_keeper: watch::Sender<u64>,
}

#[derive(Debug)]
struct MessageState {
    arrivals: Arrivals,
    /// In the order of the session's other data nodes.
    nodes: Vec<NodeSubscription>,
    /// The last round that was published.
    published: u64,
    /// The last round of the keeper whose message has not arrived in time.
    missed: u64,
    /// The tasks that wait for the message of a round on a write connection.
    wakers: BTreeMap<u64, Waker>,
}

/// The subscription to one node.
#[derive(Debug, Clone, Default)]
struct NodeSubscription {
    /// The server to which it leads, or led last.
    run_id: Option<String>,
    is_active: bool,
}

impl MessageState {
    fn are_subscribed(&self) -> bool {
        self.nodes.iter().all(|node| node.is_active)
    }
}

impl Messages {
    /// Nothing has arrived yet from any of that many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self::with_token(nodes, format!("{:032x}", rand::rng().random::<u128>()))
    }

    fn with_token(nodes: usize, token: String) -> Self {
        Messages {
            token,
            state: Mutex::new(MessageState {
                arrivals: Arrivals::new(nodes),
                nodes: vec![NodeSubscription::default(); nodes],
                published: 0,
                missed: 0,
                wakers: BTreeMap::new(),
            }),
            of_keeper: watch::Sender::new(0),
        }
    }

    /// For tests: messages with a known token.
    #[cfg(test)]
    pub(super) fn example(nodes: usize) -> Self {
        Self::with_token(nodes, "token".to_owned())
    }

    fn state(&self) -> MutexGuard<'_, MessageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message of a round, which is published now.
    pub(super) fn text(&self, asker: Asker, round: u64) -> String {
        let mut state = self.state();
        state.published = state.published.max(round);
        let token = &self.token;
        match asker {
            Asker::Keeper => format!("k{round} {token}"),
            Asker::WriteConnection => format!("w{round} {token}"),
        }
    }

    /// The round of a message of this session.
    fn parse(&self, message: &[u8]) -> Option<(Asker, u64)> {
        let message = std::str::from_utf8(message).ok()?;
        let (round, token) = message.split_once(' ')?;
        if token != self.token {
            return None;
        }
        let asker = match round.get(..1)? {
            "k" => Asker::Keeper,
            "w" => Asker::WriteConnection,
            _ => return None,
        };
        Some((asker, round[1..].parse().ok()?))
    }

    /// Whether the messages of the next round are expected to arrive.
    pub(super) fn are_expected(&self) -> bool {
        let state = self.state();
        let arrived = state.arrivals.confirmed();
        let has_recovered = state.missed == 0 || arrived >= state.missed + ROUNDS_WITHOUT;
        arrived > 0 && has_recovered && state.are_subscribed()
    }

    /// The last round that was published.
    pub(super) fn published(&self) -> u64 {
        self.state().published
    }

    /// The last round of which a message has arrived from this node.
    pub(super) fn last_from(&self, node: usize) -> u64 {
        self.state().arrivals.last_from(node)
    }

    /// Notes a message that has arrived from a node. Returns the confirmed round with the highest
    /// number.
    pub(super) fn note(&self, node: usize, message: &[u8]) -> Option<u64> {
        let (asker, round) = self.parse(message)?;
        let (waker, of_keeper, confirmed) = {
            let mut state = self.state();
            let is_whole = state.arrivals.note(node, asker, round);
            let waker = is_whole.then(|| state.wakers.remove(&round)).flatten();
            let of_keeper = state.arrivals.of_keeper();
            (waker, of_keeper, state.arrivals.confirmed())
        };
        self.of_keeper.send_if_modified(|known| {
            let is_later = of_keeper > *known;
            *known = of_keeper.max(*known);
            is_later
        });
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(confirmed).filter(|round| *round > 0)
    }

    /// A node is subscribed to, by a connection to this server. Returns false if another node's
    /// address leads to the same server: its messages would count twice.
    pub(super) fn subscribed(&self, node: usize, run_id: &str) -> bool {
        let mut state = self.state();
        // Also if the other one did so earlier: its messages are noted.
        let mut others = state.nodes.iter().enumerate().filter(|(at, _)| *at != node);
        if others.any(|(_, other)| other.run_id.as_deref() == Some(run_id)) {
            return false;
        }
        let Some(subscription) = state.nodes.get_mut(node) else {
            return false;
        };
        subscription.run_id = Some(run_id.to_owned());
        subscription.is_active = true;
        true
    }

    /// The subscription to a node has ended.
    pub(super) fn unsubscribed(&self, node: usize) {
        if let Some(subscription) = self.state().nodes.get_mut(node) {
            subscription.is_active = false;
        }
        // Nobody waits for its messages any longer.
        self.of_keeper.send_modify(|_| {});
    }

    // For the keeper.

    /// Waits until the message of that round of the keeper has arrived from all nodes. Returns
    /// whether it has, in time: the primary took `answer_time` to answer, and the other nodes are
    /// not expected to be much farther away.
    pub(super) async fn has_all(&self, round: u64, answer_time: Duration) -> bool {
        let mut arrived = self.of_keeper.subscribe();
        let limit = (answer_time * 2).clamp(LEAST_LIMIT, MOST_LIMIT);
        let is_over = |last: &u64| *last >= round || !self.state().are_subscribed();
        let waited = timeout(limit, arrived.wait_for(is_over)).await;
        let has_all = matches!(waited, Ok(Ok(last)) if *last >= round);
        if !has_all {
            trace!(
                round,
                "the message has not arrived from every other data node"
            );
            let mut state = self.state();
            state.missed = state.missed.max(round);
        }
        has_all
    }

    // For the rounds on write connections.

    /// The message of that round is waited for, until [`Messages::give_up`].
    pub(super) fn wait_for(&self, round: u64) {
        self.state().arrivals.wait_for(round);
    }

    /// The message of that round is not waited for any longer.
    pub(super) fn give_up(&self, round: u64) {
        let mut state = self.state();
        state.arrivals.give_up(round);
        state.wakers.remove(&round);
    }

    /// Whether the message of that round, which was waited for, has arrived from all nodes.
    pub(super) fn has_arrived(&self, round: u64) -> bool {
        !self.state().arrivals.is_awaited(round)
    }

    /// The same; if not, the task is woken when it has.
    pub(super) fn poll_arrived(&self, round: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.arrivals.is_awaited(round) {
            return Poll::Ready(());
        }
        let registered = state.wakers.entry(round);
        let waker = registered.or_insert_with(|| cx.waker().clone());
        waker.clone_from(cx.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The primary's answer takes no time.
    const NEAR: Duration = Duration::ZERO;

    fn messages(nodes: usize) -> Messages {
        let messages = Messages::example(nodes);
        for node in 0..nodes {
            assert!(messages.subscribed(node, &format!("server {node}")));
        }
        messages
    }

    /// The message of a round arrives from a node.
    fn arrives(messages: &Messages, node: usize, asker: Asker, round: u64) -> Option<u64> {
        messages.note(node, messages.text(asker, round).as_bytes())
    }

    #[test]
    fn other_messages_show_nothing() {
        let messages = messages(1);
        let texts = [
            "",
            "k",
            "k1",
            "x1 token",
            "k-1 token",
            "k1x token",
            "1 token",
            "k1 other",
            "k1 tokens",
            " token",
            "w99999999999999999999999 token",
            "é1 token",
        ];
        for text in texts {
            assert_eq!(messages.note(0, text.as_bytes()), None, "{text}");
        }
        assert_eq!(messages.note(0, b"k1 token\xff"), None);
        for (asker, round) in [(Asker::Keeper, 7), (Asker::WriteConnection, u64::MAX)] {
            assert_eq!(arrives(&messages, 0, asker, round), Some(round));
        }
    }

    #[test]
    fn each_session_has_a_token_of_its_own() {
        let text = || Messages::new(1).text(Asker::Keeper, 1);
        assert_ne!(text(), text());
        assert_eq!(text().len(), "k1 ".len() + 32);
    }

    /// A later round on a write connection may be executed before the keeper's.
    #[tokio::test(start_paused = true)]
    async fn only_its_own_message_confirms_the_offset_of_a_round_of_the_keeper() {
        let messages = messages(1);
        arrives(&messages, 0, Asker::WriteConnection, 9);
        assert!(!messages.has_all(8, NEAR).await);
        arrives(&messages, 0, Asker::Keeper, 8);
        assert!(messages.has_all(8, NEAR).await);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_expected_while_they_arrive() {
        let messages = messages(2);
        assert!(!messages.are_expected());
        for node in 0..2 {
            arrives(&messages, node, Asker::Keeper, 1);
        }
        assert!(messages.are_expected());
        // One of them is lost, or is slow.
        arrives(&messages, 0, Asker::Keeper, 2);
        assert!(!messages.has_all(2, NEAR).await);
        assert!(!messages.are_expected());
        assert_eq!((messages.last_from(0), messages.last_from(1)), (2, 1));
        // It arrives late, and so may the next ones.
        arrives(&messages, 1, Asker::Keeper, 2);
        assert!(!messages.are_expected());
        let later = 2 + ROUNDS_WITHOUT;
        for node in 0..2 {
            assert!(!messages.are_expected());
            arrives(&messages, node, Asker::WriteConnection, later);
        }
        assert!(messages.are_expected());
        messages.unsubscribed(1);
        assert!(!messages.are_expected());
    }

    #[test]
    fn two_addresses_of_one_server_are_one_node() {
        let messages = Messages::example(2);
        assert!(messages.subscribed(0, "one"));
        assert!(!messages.subscribed(1, "one"));
        // Its messages are noted as those of node 0.
        messages.unsubscribed(0);
        assert!(!messages.subscribed(1, "one"));
        assert!(messages.subscribed(0, "one") && messages.subscribed(1, "two"));
        assert!(!messages.subscribed(2, "three"));
    }

    /// With 50 ms to each node and back, the message arrives 25 ms after the primary's answer.
    #[tokio::test(start_paused = true)]
    async fn nodes_far_away_are_given_more_time() {
        for (answer_time, is_in_time) in [(NEAR, false), (Duration::from_millis(50), true)] {
            let messages = messages(1);
            let arrives = async {
                tokio::time::sleep(Duration::from_millis(25)).await;
                arrives(&messages, 0, Asker::Keeper, 1);
            };
            let (has_all, ()) = tokio::join!(messages.has_all(1, answer_time), arrives);
            assert_eq!(has_all, is_in_time);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_node_whose_subscription_has_ended_or_for_long() {
        let messages = messages(1);
        let begun = tokio::time::Instant::now();
        assert!(!messages.has_all(1, Duration::from_secs(2)).await);
        assert_eq!(begun.elapsed(), MOST_LIMIT);
        let ends = async { messages.unsubscribed(0) };
        let (has_all, ()) = tokio::join!(messages.has_all(2, Duration::from_secs(2)), ends);
        assert!(!has_all);
        assert_eq!(begun.elapsed(), MOST_LIMIT);
    }

    #[tokio::test]
    async fn a_task_is_woken_by_the_message_of_its_round() {
        let messages = messages(2);
        messages.wait_for(7);
        let arrived = std::future::poll_fn(|cx| messages.poll_arrived(7, cx));
        let mut arrived = std::pin::pin!(arrived);
        for (node, asker, round) in [
            (0, Asker::WriteConnection, 7),
            (1, Asker::WriteConnection, 8),
            (1, Asker::Keeper, 9),
        ] {
            arrives(&messages, node, asker, round);
            assert!(!messages.has_arrived(7));
            assert!(futures_util::poll!(arrived.as_mut()).is_pending());
        }
        let arrives = async { arrives(&messages, 1, Asker::WriteConnection, 7) };
        tokio::join!(arrived, arrives);
        assert!(messages.has_arrived(7));
    }
}
