//! One client: its connection, and the connection to the primary on its behalf.
//!
//! Nothing that the primary says is passed on before a round, executed after it, has confirmed all
//! that the primary had executed ([`crate::confirmation`], [`crate::protocol::round`]). So an
//! answer is kept by any later primary, and an answer to a read is not older than the request.
//!
//! The connection to the primary ends with the session. The client's connection stays: what it
//! knows of its own session is restored on the next primary (`carried`), and `sent` decides which
//! commands are over, which are sent again, and whether the client must be disconnected because a
//! command may or may not have been executed.
//!
//! Parts:
//! - `requests`: what the client has sent, as commands
//! - `sending`: which of them is sent to the primary when, and which the proxy answers
//! - `pipeline`: the commands that are not over, the answers to them, and when these are passed on
//! - `failover`: what becomes of all that when the primary is lost
//! - `link`: the connection to the primary; `cancelled`: a cancellation beside other events

mod cancelled;
mod failover;
mod link;
mod pipeline;
mod requests;
mod sending;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::confirmation::Session;
use crate::protocol::round::ConfirmedRounds;

use super::Shared;
use super::carried::Carried;
use super::command::BadCommand;
use super::kind::Kind;
use super::metrics::{ClientCount, Tally};
use super::sent::{ClientRequest, Sent};
use super::tls::ClientStream;
use cancelled::Cancelled;
use link::{PrimaryLink, poll_read_some, poll_write_all};
use pipeline::Pipeline;
use requests::Requests;

/// Bytes in one direction beyond which no more are taken, unless a single command or answer is
/// longer.
const BUFFER_MAX: usize = 256 * 1024;
/// Capacity of a buffer that an idle client may keep.
const IDLE_CAPACITY: usize = 4096;

/// Why a client's connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client has closed it, or has sent `QUIT`, or the proxy stops.
    #[error("closed")]
    Closed,
    /// It is broken.
    #[error("broken: {0}")]
    Broken(#[from] io::Error),
    /// The client's bytes are not commands.
    #[error("protocol error: {0}")]
    BadCommand(#[from] BadCommand),
    /// A command was sent to a primary that is lost, and may or may not have been executed.
    #[error("a command may or may not have been executed by the lost primary")]
    Unknown,
    /// There was no primary for too long, in a transaction or while the session was changed.
    #[error("no primary for too long")]
    NoPrimary,
    /// The session cannot be restored on the new primary.
    #[error("the session cannot be restored on the primary: {0}")]
    NotRestored(String),
}

/// One client.
#[derive(Debug)]
pub(super) struct ClientTask {
    shared: Arc<Shared>,
    stream: ClientStream,
    requests: Requests,
    pipeline: Pipeline,
    /// Passed on, to be written to the client.
    out: BytesMut,
    primary: Option<PrimaryLink>,
    /// The session in which the commands of the pipeline were sent, if its connection is lost.
    lost: Option<Arc<Session>>,
    carried: Carried,
    count: ClientCount,
    /// The proxy stops.
    stop: Cancelled,
    /// No more commands are read.
    is_ending: bool,
    /// The bytes behind the last command are not a command. The answer to them is the last in the
    /// pipeline.
    bad_command: Option<BadCommand>,
}

/// An event.
enum LinkEvent {
    /// Something was read or written.
    Progress,
    /// The connection to the primary is lost, or its session has ended.
    PrimaryLost,
    /// A round on this client's connection to the primary takes long.
    OwnRoundIsLate,
    /// The proxy stops.
    Stop,
}

impl ClientTask {
    pub(super) fn new(shared: Arc<Shared>, stream: ClientStream) -> Self {
        ClientTask {
            count: shared.metrics.client(),
            stop: Cancelled::new(shared.stop.clone()),
            shared,
            stream,
            requests: Requests::default(),
            pipeline: Pipeline::default(),
            out: BytesMut::new(),
            primary: None,
            lost: None,
            carried: Carried::default(),
            is_ending: false,
            bad_command: None,
        }
    }

    /// Serves the client until its connection ends.
    pub(super) async fn run(mut self) -> End {
        let end = loop {
            match self.step().await {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        // What is left is at most a few answers. A client that does not read them gets none.
        let rest = async {
            self.flush().await?;
            // With TLS, the end of the connection is said.
            self.stream.shutdown().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
        end
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (stream, out) = (&mut self.stream, &mut self.out);
        poll_fn(|cx| poll_write_all(stream, out, cx)).await
    }

    async fn step(&mut self) -> Result<(), End> {
        let is_limited = self.read_commands()?;
        let expects_messages = self.carried.subscriptions() > 0 || self.carried.is_tracking();
        let is_needed = !self.pipeline.is_empty() || (expects_messages && !self.is_ending);
        if self.primary.is_none() && is_needed {
            self.connect().await?;
            if self.primary.is_none() {
                return Ok(());
            }
        }
        self.send_commands();
        self.release()?;
        if self.is_ending && self.pipeline.is_empty() {
            self.flush().await?;
            return Err(self.bad_command.map_or(End::Closed, End::BadCommand));
        }
        let can_send = self.primary.as_ref().is_some_and(PrimaryLink::can_send);
        let has_only_waiting = !self.pipeline.has_sent() && !self.pipeline.is_empty();
        if (is_limited && self.pipeline.has_room()) || (can_send && has_only_waiting) {
            return Ok(());
        }
        self.shrink();
        match self.next_event().await? {
            LinkEvent::Progress => {}
            LinkEvent::PrimaryLost => {
                self.take_last_answers().await?;
                self.primary_lost();
            }
            LinkEvent::OwnRoundIsLate => {
                if let Some(link) = &mut self.primary {
                    link.note_own_round_late();
                }
            }
            LinkEvent::Stop => self.is_ending = true,
        }
        Ok(())
    }

    /// Takes the commands that were received. Returns whether some are left for want of room.
    fn read_commands(&mut self) -> Result<bool, End> {
        let (now, longest) = (Instant::now(), self.shared.options.longest_command);
        let applications = &self.shared.applications;
        while !self.is_ending && !self.requests.bytes.is_empty() {
            if !self.pipeline.has_room() {
                return Ok(true);
            }
            match self.requests.next(now, longest, applications) {
                Ok(Some(request)) => self.pipeline.add_waiting(request),
                Ok(None) => return Ok(false),
                Err(error) => {
                    self.refuse_input(error)?;
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Ends the client, whose bytes are not commands, once the commands before them are answered:
    /// the error would be taken for the answer to one of these.
    fn refuse_input(&mut self, error: BadCommand) -> Result<(), End> {
        let answer = format!("-ERR Protocol error: {error}\r\n");
        // No primary is needed for it.
        if self.pipeline.is_empty() {
            self.out.extend_from_slice(answer.as_bytes());
            return Err(error.into());
        }
        self.is_ending = true;
        self.bad_command = Some(error);
        self.pipeline.add_waiting(ClientRequest {
            refusal: Some(answer.into()),
            ..ClientRequest::new(Bytes::new(), Kind::Read, Instant::now())
        });
        Ok(())
    }

    /// Passes on the answers that are confirmed.
    fn release(&mut self) -> Result<(), End> {
        let rounds = match &mut self.primary {
            None => ConfirmedRounds::default(),
            Some(link) => {
                link.end_finished_round();
                link.confirmed_rounds()
            }
        };
        let options = &self.shared.options;
        let is_confirmed = |sent: &Sent| {
            options.is_unconfirmed(sent.needs_primary()) || sent.confirmed_by().is_confirmed(rounds)
        };
        let (mut tally, now) = (Tally::default(), std::time::Instant::now());
        let passed_on = |sent: &Sent| {
            let Some(request) = &sent.request else { return };
            let is_other = sent.is_queued || request.refusal.is_some();
            tally.answered(request.kind, is_other);
            // Others have waited for no confirmation.
            if let Some(answered) = sent.answered
                && !options.is_unconfirmed(sent.needs_primary())
            {
                tally.held(now.saturating_duration_since(answered));
            }
        };
        let (carried, out) = (&mut self.carried, &mut self.out);
        let released = self.pipeline.release(is_confirmed, passed_on, carried, out);
        self.count.answered(&tally);
        self.count.holds(self.pipeline.answers_held());
        let awaited = released?;
        let can_receive = self.pipeline.has_room_for_answers();
        if let Some(link) = &mut self.primary {
            if !can_receive {
                link.note_full();
            }
            link.await_round(awaited, rounds);
            let may_subscribe = self.carried.subscriptions() > 0 || self.carried.is_queueing();
            if !self.pipeline.has_sent() && !may_subscribe {
                link.answers.has_subscribed = false;
            }
        }
        Ok(())
    }

    /// Frees the memory of buffers that are not in use.
    fn shrink(&mut self) {
        if self.pipeline.is_empty() {
            shrink(&mut self.requests.bytes);
            shrink(&mut self.out);
            self.pipeline.shrink();
        }
    }

    async fn next_event(&mut self) -> Result<LinkEvent, End> {
        let wants_input = !self.is_ending && self.pipeline.has_room();
        let wants_answers = self.pipeline.has_room_for_answers();
        let is_ending = self.is_ending;
        let was_full = self.out.len() >= BUFFER_MAX;
        let ClientTask {
            stream,
            requests,
            pipeline,
            out,
            primary,
            stop,
            ..
        } = self;
        let (mut link_io, mut link_end) = (None, None);
        let mut own_round_until = None;
        if let Some(link) = primary {
            own_round_until = link.own_round_until();
            link_io = Some((&mut link.stream, &mut link.out));
            link_end = Some((&link.session, &mut link.over, &mut link.awaited));
        }
        let io = poll_fn(|cx| {
            let written = poll_write_all(stream, out, cx)?;
            let mut is_ready = was_full && written.is_ready();
            if wants_input
                && let Poll::Ready(read) = poll_read_some(stream, &mut requests.bytes, cx)?
            {
                if read == 0 {
                    return Poll::Ready(Err(End::Closed));
                }
                is_ready = true;
            }
            let mut received = Ok(0);
            if let Some((primary, to_primary)) = &mut link_io {
                if let Poll::Ready(Err(error)) = poll_write_all(*primary, to_primary, cx) {
                    return Poll::Ready(Ok(Err(error)));
                }
                if wants_answers
                    && let Poll::Ready(read) = poll_read_some(*primary, pipeline.held(), cx)
                {
                    received = match read {
                        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                        read => read,
                    };
                    is_ready = true;
                }
            }
            match is_ready {
                true => Poll::Ready(Ok(received)),
                false => Poll::Pending,
            }
        });
        let session_event = poll_fn(|cx| match &mut link_end {
            None => Poll::Pending,
            Some((session, over, awaited)) => match over.poll(cx) {
                Poll::Ready(()) => Poll::Ready(LinkEvent::PrimaryLost),
                Poll::Pending => awaited.poll(session, cx).map(|()| LinkEvent::Progress),
            },
        });
        let received = tokio::select! {
            biased;
            () = poll_fn(|cx| stop.poll(cx)), if !is_ending => return Ok(LinkEvent::Stop),
            received = io => received?,
            () = sleep_until(own_round_until.unwrap_or_else(Instant::now)),
                if own_round_until.is_some() => return Ok(LinkEvent::OwnRoundIsLate),
            event = session_event => return Ok(event),
        };
        match (received, &mut self.primary) {
            (Err(error), _) => {
                debug!(%error, "lost the connection to the primary");
                Ok(LinkEvent::PrimaryLost)
            }
            (Ok(received @ 1..), Some(link)) => {
                let before = link.session.answered_now();
                let now = std::time::Instant::now();
                link.note_received(Instant::from_std(now));
                self.pipeline
                    .assign(received, before, now, &mut link.answers)?;
                if let Some(answers) = link.answers.to_round.take()
                    && link.own_round_answered(&answers, before)
                {
                    self.pipeline.confirmed_by_round();
                }
                Ok(LinkEvent::Progress)
            }
            _ => Ok(LinkEvent::Progress),
        }
    }
}

/// Frees the memory of a buffer that is not in use.
fn shrink(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > IDLE_CAPACITY {
        *buffer = BytesMut::new();
    }
}
