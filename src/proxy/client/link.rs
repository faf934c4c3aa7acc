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
    /// The round that this client waits for.
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
    /// The first round that may be asked on this connection again, after one that confirmed
    /// nothing.
    own_rounds_from: u64,
    /// Answers were too long to be held until such a round behind them was answered.
    has_long_answers: bool,
}

/// A round that a client waits for.
#[derive(Debug, Default)]
pub(super) struct AwaitedRound {
    round: Option<u64>,
    /// The round and the task for which the session was told to wake it.
    told: Option<(u64, Waker)>,
}

impl AwaitedRound {
    /// Ready when it is confirmed; never if there is none.
    pub(super) fn poll(&mut self, session: &Session, cx: &mut Context<'_>) -> Poll<()> {
        let Some(round) = self.round else {
            return Poll::Pending;
        };
        let is_told = |(told, task): &(u64, Waker)| *told == round && task.will_wake(cx.waker());
        let is_confirmed = match &self.told {
            Some(told) if is_told(told) => session.confirmed_through() >= round,
            _ => {
                self.told = Some((round, cx.waker().clone()));
                session.wake_when_confirmed(round, cx.waker())
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
    /// Its questions are answered. The other data nodes have not passed its message on yet.
    is_answered: bool,
}

impl Drop for PrimaryLink {
    fn drop(&mut self) {
        self.ask(false);
    }
}

impl PrimaryLink {
    /// A new connection, on which nothing has been sent.
    pub(super) fn new(session: Arc<Session>, stream: Stream) -> Self {
        PrimaryLink {
            over: Cancelled::new(session.over()),
            awaited: AwaitedRound::default(),
            first_round: session.next_round(),
            session,
            stream,
            out: BytesMut::new(),
            answers: AnswerState::default(),
            opened: Instant::now(),
            is_asking: false,
            own_round: None,
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
            is_answered: false,
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
            && !asked.is_answered
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

    /// The questions are answered. Returns whether what was answered before them is confirmed.
    pub(super) fn own_round_answered(&mut self, answers: &[u8]) -> bool {
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
            OwnVerdict::Expected => asked.is_answered = true,
            _ => self.own_round = None,
        }
        verdict == OwnVerdict::Confirmed
    }

    /// All rounds up to this one are confirmed.
    pub(super) fn through(&mut self) -> u64 {
        let through = self.session.confirmed_through();
        let is_over = |asked: &AskedRound| asked.is_answered && asked.round.number() <= through;
        if self.own_round.as_ref().is_some_and(is_over) {
            self.own_round = None;
        }
        through
    }

    /// Whether more commands may be sent.
    pub(super) fn can_send(&self) -> bool {
        self.out.len() < BUFFER_MAX
    }

    /// Has the client wait for that round, and the keeper ask for it unless the round on this
    /// connection is waited for alone.
    pub(super) fn await_round(&mut self, round: Option<u64>) {
        self.awaited.round = round;
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
