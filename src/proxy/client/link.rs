//! The connection to the primary on behalf of one client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::client::Stream;
use crate::confirmation::{OwnRound, OwnVerdict, Session};
use crate::protocol::round::ConfirmedRounds;

use super::BUFFER_MAX;
use super::cancelled::Cancelled;
use super::pipeline::AnswerState;

/// Time for a round on this connection, before the keeper is asked too: a command before it may
/// block, or a replica may be lost.
const OWN_ROUND_LIMIT: Duration = Duration::from_millis(20);
/// Rounds without another one on a connection on which one has confirmed nothing: a replica may be
/// far away.
const ROUNDS_WITHOUT: u64 = 128;
/// Bytes of one read.
const READ: usize = 16 * 1024;

/// The connection to the primary.
#[derive(Debug)]
pub(super) struct PrimaryLink {
    pub(super) session: Arc<Session>,
    /// The session ends.
    pub(super) over: Cancelled,
    /// The rounds of which this client waits for one.
    pub(super) awaited: AwaitedRound,
    pub(super) stream: Stream,
    /// To be written to the primary.
    pub(super) out: BytesMut,
    pub(super) answers: AnswerState,
    pub(super) opened: Instant,
    /// The keeper asks on behalf of this client.
    is_asking: bool,
    /// The first round that began after this connection was established.
    first_round: u64,
    /// The round that is being asked on this connection.
    own_round: Option<AskedRound>,
    /// The last one before it whose message has arrived from all other data nodes.
    own_arrived: u64,
    /// The first round that may be asked on this connection again, after one that confirmed
    /// nothing.
    own_rounds_from: u64,
    /// Answers were too long to be held until such a round behind them was answered.
    has_long_answers: bool,
}

/// The rounds of which a client waits for one.
#[derive(Debug)]
pub(super) struct AwaitedRound {
    /// The number of this task.
    waiter: u64,
    /// On any connection: this one, or a later one.
    round: Option<u64>,
    /// On its own connection, by its message.
    own: Option<u64>,
    /// The waker that is to be woken by `round`.
    registered: Option<Waker>,
}

impl AwaitedRound {
    fn new(session: &Session) -> Self {
        AwaitedRound {
            waiter: session.waiter(),
            round: None,
            own: None,
            registered: None,
        }
    }

    fn set(&mut self, session: &Session, round: Option<u64>, own: Option<u64>) {
        self.own = own;
        if self.round == round {
            return;
        }
        if let (Some(_), Some(earlier)) = (self.registered.take(), self.round) {
            session.stop_waiting(earlier, self.waiter);
        }
        self.round = round;
    }

    /// Ready when one of them is confirmed; never if there is none.
    pub(super) fn poll(&mut self, session: &Session, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(own) = self.own
            && session.poll_arrived(own, cx).is_ready()
        {
            return Poll::Ready(());
        }
        let Some(round) = self.round else {
            return Poll::Pending;
        };
        let is_registered = |waker: &Waker| waker.will_wake(cx.waker());
        let is_confirmed = match &self.registered {
            Some(waker) if is_registered(waker) => session.confirmed_through() >= round,
            _ => {
                self.registered = Some(cx.waker().clone());
                session.wake_when_confirmed(round, self.waiter, cx.waker())
            }
        };
        match is_confirmed {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// A round that is being asked on this connection.
#[derive(Debug)]
struct AskedRound {
    round: OwnRound,
    /// Until when only this one is.
    until: Option<Instant>,
    /// The first round that began after its questions were answered; none before.
    answered: Option<u64>,
}

impl Drop for PrimaryLink {
    fn drop(&mut self) {
        self.ask(false);
        self.awaited.set(&self.session, None, None);
    }
}

impl PrimaryLink {
    /// A new connection, on which nothing has been sent.
    pub(super) fn new(session: Arc<Session>, stream: Stream) -> Self {
        PrimaryLink {
            over: Cancelled::new(session.over()),
            awaited: AwaitedRound::new(&session),
            first_round: session.next_round(),
            session,
            stream,
            out: BytesMut::new(),
            answers: AnswerState::default(),
            opened: Instant::now(),
            is_asking: false,
            own_round: None,
            own_arrived: 0,
            own_rounds_from: 0,
            has_long_answers: false,
        }
    }

    /// Whether a round may be asked on this connection, behind so many `commands`: see
    /// [`OwnRound`].
    pub(super) fn may_begin_own_round(&self, commands: usize) -> bool {
        let is_anchored = || self.session.keeper_round_answered() >= self.first_round;
        self.own_round.is_none()
            && !self.answers.was_subscribed
            && !(self.has_long_answers && commands > 1)
            && self.session.next_round() >= self.own_rounds_from
            && is_anchored()
    }

    /// The questions of a round are sent.
    pub(super) fn begin_own_round(&mut self, round: OwnRound) {
        self.own_round = Some(AskedRound {
            round,
            until: Some(Instant::now() + OWN_ROUND_LIMIT),
            answered: None,
        });
    }

    /// Until when only the round on this connection is asked.
    pub(super) fn own_round_until(&self) -> Option<Instant> {
        self.own_round.as_ref()?.until
    }

    /// The client logs in: another user may be allowed to ask.
    pub(super) fn note_login(&mut self) {
        self.own_rounds_from = 0;
    }

    /// Answers were received at `now`: those to the questions may follow soon.
    pub(super) fn note_received(&mut self, now: Instant) {
        if let Some(asked) = &mut self.own_round
            && asked.answered.is_none()
            && asked.until.is_some()
        {
            asked.until = Some(now + OWN_ROUND_LIMIT);
        }
    }

    /// The round on this connection takes too long to wait for it alone.
    pub(super) fn note_own_round_late(&mut self) {
        if let Some(asked) = &mut self.own_round {
            asked.until = None;
            asked.round.note_late();
        }
    }

    /// No more answers are received until those that are held are confirmed.
    pub(super) fn note_full(&mut self) {
        self.has_long_answers |= self.own_round.is_some();
        self.note_own_round_late();
    }

    /// The questions are answered. `before` is the first round that began after that. Returns
    /// whether what was answered before them is confirmed.
    pub(super) fn own_round_answered(&mut self, answers: &[u8], before: u64) -> bool {
        let Some(asked) = &mut self.own_round else {
            return false;
        };
        let verdict = asked.round.note_answers(answers);
        self.own_rounds_from = match verdict {
            OwnVerdict::Confirmed | OwnVerdict::Expected => 0,
            OwnVerdict::NotConfirmed => self.session.next_round() + ROUNDS_WITHOUT,
            OwnVerdict::NotPermitted => u64::MAX,
        };
        match verdict {
            OwnVerdict::Expected => asked.answered = Some(before),
            _ => self.own_round = None,
        }
        verdict == OwnVerdict::Confirmed
    }

    /// The rounds that are confirmed.
    pub(super) fn confirmed_rounds(&self) -> ConfirmedRounds {
        let arrived = self
            .own_round
            .iter()
            .filter(|asked| asked.round.has_arrived());
        let own = arrived.map(|asked| asked.round.number()).next();
        ConfirmedRounds {
            any: self.session.confirmed_through(),
            own: own.unwrap_or(self.own_arrived),
        }
    }

    /// Ends the round on this connection if it is answered, and confirmed by its message or by a
    /// later round.
    pub(super) fn end_finished_round(&mut self) {
        let Some(asked) = &self.own_round else {
            return;
        };
        let Some(before) = asked.answered else {
            return;
        };
        if asked.round.has_arrived() {
            self.own_arrived = asked.round.number();
            self.own_round = None;
        } else if before <= self.session.confirmed_through() {
            self.own_round = None;
        }
    }

    /// Whether more commands may be sent.
    pub(super) fn can_send(&self) -> bool {
        self.out.len() < BUFFER_MAX
    }

    /// Has the client wait for that round, and the keeper ask for it unless the round on this
    /// connection is waited for alone.
    pub(super) fn await_round(&mut self, round: Option<u64>, known: ConfirmedRounds) {
        let own = self
            .own_round
            .iter()
            .filter(|asked| asked.round.is_by_message());
        let own = own.map(|asked| asked.round.number()).next();
        let own = round.and(own).filter(|own| *own > known.own);
        self.awaited.set(&self.session, round, own);
        self.ask(round.is_some() && self.own_round_until().is_none());
    }

    /// Has the keeper ask, or no longer.
    fn ask(&mut self, wanted: bool) {
        match (self.is_asking, wanted) {
            (false, true) => self.session.sent(),
            (true, false) => self.session.done(),
            _ => {}
        }
        self.is_asking = wanted;
    }
}

/// Writes as much as possible; ready when all is written.
pub(super) fn poll_write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        let written = std::task::ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        bytes.advance(written);
    }
    // With TLS, a part may still be in the local buffer, also if all was written before.
    Pin::new(stream).poll_flush(cx)
}

/// Reads once; 0 at the end.
pub(super) fn poll_read_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    to: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut chunk = [std::mem::MaybeUninit::uninit(); READ];
    let mut chunk = ReadBuf::uninit(&mut chunk);
    std::task::ready!(Pin::new(stream).poll_read(cx, &mut chunk))?;
    to.extend_from_slice(chunk.filled());
    Poll::Ready(Ok(chunk.filled().len()))
}
