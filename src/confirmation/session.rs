//! The state that the keeper and the write connections share while they use one primary.
//!
//! When any connection of a session breaks, all of them end with the session. Batches that are not
//! acknowledged by then are sent again in the next one.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::{Notify, OnceCell, watch};
use tokio_util::sync::CancellationToken;

use crate::client::{Connector, ServerInfo};
use crate::protocol::ack::{Answered, Confirmed, Coverage};
use crate::protocol::history::{Extent, ReplicationHistory};

use super::last_offset::last_offset;
use super::messages::Messages;
use super::round::OLD_CHANNEL;
use super::waiters::Waiters;

/// Number of rounds whose offsets are kept: those of a second or more.
const OFFSETS_MAX: usize = 16 * 1024;

/// The use of one primary, from its discovery to the end of the connections.
#[derive(Debug)]
pub struct Session {
    /// The primary.
    pub primary: SocketAddrV4,
    /// The other data nodes, which have to confirm.
    others: Vec<SocketAddrV4>,
    /// Number of them that were last listed as online; `WAIT` waits for as many.
    online: AtomicUsize,
    /// The histories of which the primary has the data.
    history: ReplicationHistory,
    /// Identifies the process of the primary's server.
    run_id: String,
    /// The last offset of its history; see [`Session::last_offset`].
    last_offset: OnceCell<Option<u64>>,
    /// The last rounds, in the order of their numbers, with their offsets, and the last round
    /// whose offset is known. Rounds on several connections may be executed in another order.
    offsets: Mutex<VecDeque<(u64, u64)>>,
    last_answered: AtomicU64,
    coverage: watch::Sender<Coverage>,
    /// The tasks that wait until a round is confirmed.
    waiters: Waiters,
    /// Number of rounds begun, on any connection.
    begun: AtomicU64,
    /// Number of rounds that are being asked on write connections.
    own_rounds: AtomicUsize,
    /// The channel of the messages of its rounds; none if the primary permits no channel of its
    /// own.
    channel: Option<String>,
    /// These messages.
    messages: Messages,
    /// By the last round, every other data node follows the primary.
    is_followed: AtomicBool,
    /// Number of batches that the keeper has to ask for.
    pending: AtomicU64,
    /// Number of batches whose writes were answered.
    answered: AtomicU64,
    work: Notify,
    over: CancellationToken,
}

impl Session {
    pub(super) fn new(
        primary: SocketAddrV4,
        others: Vec<SocketAddrV4>,
        info: &ServerInfo,
        channel: Option<String>,
    ) -> Self {
        Session {
            primary,
            messages: Messages::new(others.len()),
            others,
            online: AtomicUsize::new(0),
            history: info.history(),
            run_id: info.run_id.clone(),
            last_offset: OnceCell::new(),
            offsets: Mutex::default(),
            last_answered: AtomicU64::new(0),
            coverage: watch::Sender::new(Coverage::default()),
            waiters: Waiters::default(),
            begun: AtomicU64::new(0),
            own_rounds: AtomicUsize::new(0),
            channel,
            is_followed: AtomicBool::new(false),
            pending: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            work: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    /// A session for tests, of which one round was answered: at `offset`.
    #[cfg(test)]
    pub fn example(primary: SocketAddrV4, history: ReplicationHistory, offset: u64) -> Self {
        let other = SocketAddrV4::new([192, 0, 2, 1].into(), 6379);
        let session = Session {
            history,
            messages: Messages::example(1),
            ..Self::new(
                primary,
                vec![other],
                &ServerInfo::parse(""),
                Some("halab:round:example".into()),
            )
        };
        let (round, _) = session.begin_round();
        session.round_answered(round, offset);
        session
    }

    /// For tests: a round of the keeper, begun now, is answered, and every other data node follows.
    #[cfg(test)]
    pub fn keeper_round(&self, offset: u64) {
        let (round, _) = self.begin_round();
        self.round_answered(round, offset);
        self.set_followed(true);
        self.publish(Coverage {
            round,
            through: round,
            ..Coverage::default()
        });
    }

    /// For tests: this message arrives from every other data node.
    #[cfg(test)]
    pub fn message_arrives(&self, message: &str) {
        for node in 0..self.others.len() {
            self.messages.subscribed(node, &format!("server {node}"));
            if let Some(round) = self.messages.note(node, message.as_bytes()) {
                self.confirmed_by_message(round);
            }
        }
    }

    /// For tests: the number of tasks that wait for a round.
    #[cfg(test)]
    pub fn tasks_waiting(&self) -> usize {
        self.waiters.count()
    }

    /// For tests: the number of answers so far.
    #[cfg(test)]
    pub fn answered_so_far(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// For tests: whether a round is asked on a write connection.
    #[cfg(test)]
    pub fn asks_own_rounds(&self) -> bool {
        self.own_rounds.load(Ordering::SeqCst) > 0
    }

    /// For tests: whether the keeper has to ask.
    #[cfg(test)]
    pub fn asks_keeper(&self) -> bool {
        self.pending.load(Ordering::SeqCst) > 0
    }

    /// The other data nodes, which have to confirm.
    pub fn others(&self) -> &[SocketAddrV4] {
        &self.others
    }

    /// Number of other data nodes that were last listed as online.
    pub fn online(&self) -> usize {
        self.online.load(Ordering::SeqCst)
    }

    // For the write connections.

    /// The first round that begins after this call.
    pub fn next_round(&self) -> u64 {
        self.begun.load(Ordering::SeqCst) + 1
    }

    /// The keeper has to ask for one more batch.
    pub fn sent(&self) {
        self.pending.fetch_add(1, Ordering::SeqCst);
        self.work.notify_one();
    }

    /// The writes of a batch have been answered, at or before `offset`.
    pub fn answered(&self, first_round: u64, offset: u64) -> Answered {
        let number = self.answered.fetch_add(1, Ordering::SeqCst);
        self.work.notify_one();
        Answered {
            first_round,
            offset,
            number,
        }
    }

    /// The primary has answered something. Returns the first round that confirms it.
    pub fn answered_now(&self) -> u64 {
        self.answered.fetch_add(1, Ordering::SeqCst);
        self.work.notify_one();
        self.next_round()
    }

    /// The last round whose offset is known: what is sent now lies behind that offset.
    pub fn last_answered_round(&self) -> u64 {
        self.last_answered.load(Ordering::SeqCst)
    }

    /// Where a write lies that was sent after the answer to the round `after`, and was answered
    /// before the round `before` began.
    pub fn extent(&self, after: u64, before: u64) -> Extent {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let first_from = |round: u64| offsets.partition_point(|(known, _)| *known < round);
        let exact = offsets
            .get(first_from(after))
            .filter(|(round, _)| *round == after);
        Extent {
            after: exact.map(|(_, offset)| *offset),
            upto: offsets.get(first_from(before)).map(|(_, offset)| *offset),
        }
    }

    /// The histories of which the primary has the data.
    pub fn history(&self) -> &ReplicationHistory {
        &self.history
    }

    /// The last offset at which the primary of this session, once it is over, has executed anything
    /// in its history, if its server states it. It is asked once, for all callers.
    pub async fn last_offset(self: &Arc<Self>, connector: &Connector) -> Option<u64> {
        if !self.is_over() {
            return None;
        }
        let (session, connector) = (self.clone(), connector.clone());
        // A task, for a caller may end before the answer.
        let asked = tokio::spawn(async move {
            let history = &session.history.id;
            let ask = || last_offset(session.primary, &session.run_id, history, &connector);
            *session.last_offset.get_or_init(ask).await
        });
        let last = asked.await.ok().flatten()?;
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = offsets.iter().map(|(_, offset)| *offset).max().unwrap_or(0);
        (last >= known).then_some(last)
    }

    /// A batch that the keeper had to ask for is acknowledged or given up.
    pub fn done(&self) {
        self.pending.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether by the last round every other data node follows the primary.
    pub(super) fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::SeqCst)
    }

    /// Number of the clients that wait for a round: of the keeper, or on their own connection.
    pub(super) fn rounds_asked(&self) -> u64 {
        self.pending.load(Ordering::SeqCst) + self.own_rounds.load(Ordering::SeqCst) as u64
    }

    /// Begins a round on a write connection. Returns its number.
    pub(super) fn begin_own_round(&self) -> u64 {
        self.own_rounds.fetch_add(1, Ordering::SeqCst);
        self.begin_round().0
    }

    /// A round on a write connection is over.
    pub(super) fn own_round_ended(&self) {
        self.own_rounds.fetch_sub(1, Ordering::SeqCst);
    }

    /// Identifies the process of the primary's server.
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The channel of the messages of its rounds, to which nobody else publishes. None if the
    /// primary permits only the old one, which all programs share: its messages show nothing.
    pub(super) fn own_channel(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// The channel to which its rounds publish.
    pub(super) fn published_channel(&self) -> &str {
        self.own_channel().unwrap_or(OLD_CHANNEL)
    }

    /// The messages of its rounds.
    pub(super) fn messages(&self) -> &Messages {
        &self.messages
    }

    /// Messages of that round, or of one with a higher number, have arrived from every other data
    /// node.
    pub(super) fn confirmed_by_message(&self, round: u64) {
        self.publish(Coverage {
            through: round,
            ..Coverage::default()
        });
    }

    /// What is confirmed, as it changes.
    pub fn coverage(&self) -> watch::Receiver<Coverage> {
        self.coverage.subscribe()
    }

    /// The confirmed round with the highest number.
    pub fn confirmed_through(&self) -> u64 {
        self.coverage.borrow().through
    }

    /// The last round of the keeper that was answered.
    pub fn keeper_round_answered(&self) -> u64 {
        self.coverage.borrow().round
    }

    /// The number of a task that waits for rounds.
    pub fn waiter(&self) -> u64 {
        self.waiters.number()
    }

    /// Has a task be woken when that round is confirmed. Returns whether it is already.
    pub fn wake_when_confirmed(&self, round: u64, waiter: u64, waker: &Waker) -> bool {
        if self.confirmed_through() < round {
            self.waiters.add(round, waiter, waker.clone());
        }
        // It may have been confirmed before the task was added.
        self.confirmed_through() >= round
    }

    /// The task does not wait for that round any longer.
    pub fn stop_waiting(&self, round: u64, waiter: u64) {
        self.waiters.remove(round, waiter);
    }

    /// Ready when the message of that round on a write connection has arrived from all other data
    /// nodes.
    pub fn poll_arrived(&self, round: u64, cx: &Context<'_>) -> Poll<()> {
        self.messages.poll_arrived(round, cx)
    }

    /// Cancelled when the session ends.
    pub fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    /// Ends the session for all.
    pub fn end(&self) {
        self.over.cancel();
    }

    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until the session ends.
    pub async fn ended(&self) {
        self.over.cancelled().await;
    }

    // For the keeper.

    /// Waits until there is a batch to ask for.
    pub(super) async fn pending(&self) {
        while self.pending.load(Ordering::SeqCst) == 0 {
            self.work.notified().await;
        }
    }

    /// Waits until more than `number` batches have been answered.
    pub async fn more_answered(&self, number: u64) {
        while self.answered.load(Ordering::SeqCst) <= number {
            self.work.notified().await;
        }
    }

    /// Notes how many other data nodes are online, from the primary's list of replicas.
    pub(super) fn set_online(&self, listed: &[Confirmed]) {
        let is_online = |n: &&SocketAddrV4| listed.iter().any(|c| c.address == **n);
        let online = self.others.iter().filter(is_online).count();
        self.online.store(online, Ordering::SeqCst);
    }

    /// Begins a round. Returns its number and the number of answered batches.
    pub(super) fn begin_round(&self) -> (u64, u64) {
        let answered = self.answered.load(Ordering::SeqCst);
        (self.begun.fetch_add(1, Ordering::SeqCst) + 1, answered)
    }

    // For whoever asks a round.

    /// Notes the offset of the primary in a round.
    pub(super) fn round_answered(&self, round: u64, offset: u64) {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        if offsets.len() == OFFSETS_MAX {
            offsets.pop_front();
        }
        // Those on several connections may be answered in another order.
        let at = offsets.partition_point(|(known, _)| *known < round);
        offsets.insert(at, (round, offset));
        self.last_answered.fetch_max(round, Ordering::SeqCst);
    }

    /// Notes whether every other data node follows the primary.
    pub(super) fn set_followed(&self, is_followed: bool) {
        self.is_followed.store(is_followed, Ordering::SeqCst);
    }

    /// Publishes the result of a round to the write connections.
    pub(super) fn publish(&self, coverage: Coverage) {
        let mut through = None;
        self.coverage.send_if_modified(|known| {
            let before = known.through;
            let is_more = known.extend(coverage);
            through = (known.through > before).then_some(known.through);
            is_more
        });
        if let Some(through) = through {
            self.waiters.wake(through);
        }
    }
}
