//! One client: its connection, and the connection to the primary on its behalf.
//!
//! Nothing that the primary says is passed on before a round of questions, begun after it was said,
//! has confirmed all that the primary had executed ([`crate::confirmation`]). So an answer is kept
//! by any later primary, and an answer to a read is not older than the request.
//!
//! The connection to the primary ends with the session. The client's connection stays: what it
//! knows of its own session is restored on the next primary (`carried`), and `sent` decides which
//! commands are over, which are sent again, and whether the client must be disconnected because a
//! command may or may not have been executed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::client::Stream;
use crate::confirmation::Session;
use crate::protocol::ack::Coverage;
use crate::protocol::history::Survival;
use crate::protocol::{Fate, WriteError};

use super::answer::{AnswerReader, error_code, message_kind};
use super::carried::{Carried, encoded};
use super::command::{BadCommand, CommandReader};
use super::kind::{Kind, Refused, kind_of};
use super::sent::{ClientRequest, Sent, judge, pass_on, take_back};
use super::{Shared, Unanswered};

/// Bytes of one read.
const READ: usize = 16 * 1024;
/// Maximum number of commands of a client that are not over yet.
const COMMANDS_MAX: usize = 1024;
/// Bytes in one direction beyond which no more are taken, unless a single command or answer is
/// longer.
const BUFFER_MAX: usize = 256 * 1024;
/// An incomplete answer of this length is confirmed and passed on before the rest has come.
const LONG_ANSWER: usize = 64 * 1024;
/// Words of a command that decide about its kind.
const WORDS_SEEN: usize = 16;
/// Characters of a command's name that are shown.
const NAME_SHOWN: usize = 32;
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
    stream: TcpStream,
    /// Received and not split into commands yet.
    input: BytesMut,
    reader: CommandReader,
    /// Not sent yet.
    waiting: VecDeque<ClientRequest>,
    waiting_bytes: usize,
    /// Sent, or answered by the proxy; not passed on yet.
    sent: VecDeque<Sent>,
    /// The first of `sent` have their answers.
    answered: usize,
    /// The answers to `sent`.
    held: BytesMut,
    /// Bytes at the end of `held` of an answer that is not assigned to a command yet.
    unassigned: usize,
    /// Passed on, to be written to the client.
    out: BytesMut,
    primary: Option<PrimaryLink>,
    /// The session in which `sent` was sent, if its connection is lost.
    lost: Option<Arc<Session>>,
    carried: Carried,
    /// No more commands are read.
    is_ending: bool,
}

/// The connection to the primary.
#[derive(Debug)]
struct PrimaryLink {
    session: Arc<Session>,
    coverage: watch::Receiver<Coverage>,
    stream: Stream,
    out: BytesMut,
    answers: AnswerReader,
    /// The keeper asks on behalf of this client.
    is_asking: bool,
    /// In RESP2, the server may send messages.
    has_subscribed: bool,
    /// The primary refuses commands, because it is no longer one.
    refuses: bool,
}

impl Drop for PrimaryLink {
    fn drop(&mut self) {
        self.ask(false);
    }
}

impl PrimaryLink {
    /// Whether more commands may be sent.
    fn can_send(&self) -> bool {
        self.out.len() < BUFFER_MAX && !self.refuses
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

/// What has happened.
enum LinkEvent {
    /// Something was read or written.
    Progress,
    /// The connection to the primary is lost, or its session has ended.
    PrimaryLost,
    /// The proxy stops.
    Stop,
}

impl ClientTask {
    pub(super) fn new(shared: Arc<Shared>, stream: TcpStream) -> Self {
        ClientTask {
            shared,
            stream,
            input: BytesMut::new(),
            reader: CommandReader::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            sent: VecDeque::new(),
            answered: 0,
            held: BytesMut::new(),
            unassigned: 0,
            out: BytesMut::new(),
            primary: None,
            lost: None,
            carried: Carried::default(),
            is_ending: false,
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
        if let End::BadCommand(error) = &end {
            self.out
                .extend_from_slice(format!("-ERR Protocol error: {error}\r\n").as_bytes());
        }
        // What is left is at most a few answers. A client that does not read them gets none.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.flush()).await;
        end
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (stream, out) = (&mut self.stream, &mut self.out);
        poll_fn(|cx| poll_write_all(stream, out, cx)).await
    }

    async fn step(&mut self) -> Result<(), End> {
        let is_limited = self.read_commands()?;
        let is_needed = !self.waiting.is_empty()
            || !self.sent.is_empty()
            || self.carried.subscriptions() > 0
            || self.carried.is_tracking();
        if self.primary.is_none() && is_needed {
            self.connect().await?;
        }
        self.send_commands();
        self.release()?;
        if self.is_ending && self.sent.is_empty() && self.waiting.is_empty() {
            self.flush().await?;
            return Err(End::Closed);
        }
        let can_send = self.primary.as_ref().is_some_and(PrimaryLink::can_send);
        let is_next_ready = (is_limited && self.has_room())
            || (can_send && self.sent.is_empty() && !self.waiting.is_empty());
        if is_next_ready {
            return Ok(());
        }
        self.shrink();
        match self.next_event().await? {
            LinkEvent::Progress => {}
            LinkEvent::PrimaryLost => self.primary_lost(),
            LinkEvent::Stop => self.is_ending = true,
        }
        Ok(())
    }

    /// Splits the input into commands. Returns whether some are left for want of room.
    fn read_commands(&mut self) -> Result<bool, End> {
        let longest = self.shared.options.longest_command;
        while !self.is_ending && !self.input.is_empty() {
            if !self.has_room() {
                return Ok(true);
            }
            let Some(command) = self.reader.read(&self.input, longest)? else {
                return Ok(false);
            };
            let words: Vec<&[u8]> = command
                .words
                .iter()
                .take(WORDS_SEEN)
                .map(|word| &self.input[word.clone()])
                .collect();
            let count = command.words.len();
            let is_quoted = command.is_inline
                && words
                    .iter()
                    .take(2)
                    .any(|word| word.contains(&b'"') || word.contains(&b'\''));
            let kind = match is_quoted {
                true => Err(Refused("write the command without quotes")),
                false => kind_of(&words),
            };
            let refusal = kind.err().map(|refused| refusal(&words, refused));
            let frames = match kind {
                Ok(Kind::Subscribe(_)) => count.saturating_sub(1).max(1),
                // Without names: as many as there are subscriptions, see `send_commands`.
                Ok(Kind::Unsubscribe(_)) => count.saturating_sub(1),
                _ => 1,
            };
            let length = command.length;
            let command = self.input.split_to(length).freeze();
            if count == 0 {
                continue;
            }
            let request = ClientRequest {
                command,
                kind: kind.unwrap_or(Kind::Read),
                frames,
                refusal,
                is_restoring: false,
                received: Instant::now(),
            };
            self.waiting_bytes += request.command.len();
            self.waiting.push_back(request);
        }
        Ok(false)
    }

    /// Whether more commands are taken.
    fn has_room(&self) -> bool {
        self.waiting.len() + self.sent.len() < COMMANDS_MAX && self.waiting_bytes < BUFFER_MAX
    }

    /// Waits for a primary, connects to it and restores the session there.
    async fn connect(&mut self) -> Result<(), End> {
        let oldest = self.waiting.front().map(|request| request.received);
        let deadline = oldest.unwrap_or_else(Instant::now) + self.shared.options.patience;
        let opened = tokio::select! {
            opened = self.shared.open_primary() => Some(opened.ok_or(End::Closed)?),
            () = sleep_until(deadline) => None,
            () = self.shared.stop.cancelled(), if !self.is_ending => return Err(End::Closed),
        };
        match opened {
            Some((session, stream)) => self.connected(session, stream),
            None => self.give_up().await,
        }
    }

    /// There was no primary for too long: answers that the commands were not executed.
    async fn give_up(&mut self) -> Result<(), End> {
        // Writes that were sent cannot be decided about without a primary.
        let outcome = judge(&self.sent, |_| Survival::Unknown);
        if outcome.is_unknown {
            self.shared.metrics.unknown.inc();
            return Err(End::Unknown);
        }
        self.lost = None;
        let mut requests = take_back(&mut self.sent, &mut self.held, 0);
        requests.extend(std::mem::take(&mut self.waiting));
        self.waiting_bytes = 0;
        let text = format!(
            "-NOPRIMARY no primary for {} s; the command was not executed\r\n",
            self.shared.options.patience.as_secs_f64()
        );
        let mut is_session_intact = !self.carried.is_queueing();
        for request in requests {
            is_session_intact &= matches!(request.kind, Kind::Read | Kind::Write);
            self.out.extend_from_slice(text.as_bytes());
        }
        self.flush().await?;
        // A client that goes on after such an error in a transaction would execute a part of it.
        match is_session_intact {
            true => Ok(()),
            false => Err(End::NoPrimary),
        }
    }

    /// Decides about the commands of the last session, and restores the client's session.
    fn connected(&mut self, session: Arc<Session>, stream: Stream) -> Result<(), End> {
        if let Some(lost) = self.lost.take() {
            self.decide(&lost, &session)?;
        }
        let mut link = PrimaryLink {
            coverage: session.coverage(),
            stream,
            out: BytesMut::new(),
            answers: AnswerReader::default(),
            is_asking: false,
            has_subscribed: false,
            refuses: false,
            session,
        };
        for kept in &mut self.sent {
            kept.before = Some(link.session.answered_now());
        }
        let after = link.session.last_answered_round();
        for (kind, command) in self.carried.restoring() {
            link.out.extend_from_slice(&command);
            link.has_subscribed |= matches!(kind, Kind::Subscribe(_));
            let request = ClientRequest {
                command,
                kind,
                frames: 1,
                refusal: None,
                is_restoring: true,
                received: Instant::now(),
            };
            self.sent.push_back(Sent::new(request, after));
        }
        if self.carried.is_tracking() && self.carried.is_resp3() {
            self.out
                .extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        }
        self.primary = Some(link);
        Ok(())
    }

    fn decide(&mut self, lost: &Session, now: &Session) -> Result<(), End> {
        let retries = self.shared.options.unanswered == Unanswered::Retry;
        // The same server may have started again with less than it had.
        let is_other = lost.primary != now.primary;
        let survival = |sent: &Sent| {
            if sent.is_refused {
                return Survival::Lost;
            }
            // Without an answer: behind `after`, if it was executed at all.
            let extent = lost.extent(sent.after, sent.before.unwrap_or(u64::MAX));
            match now.history().survival(&lost.history().id, extent) {
                Survival::Survived if sent.is_complete() => Survival::Survived,
                Survival::Lost if is_other => Survival::Lost,
                _ if retries => Survival::Lost,
                _ => Survival::Unknown,
            }
        };
        let outcome = judge(&self.sent, survival);
        if outcome.is_unknown {
            self.shared.metrics.unknown.inc();
            return Err(End::Unknown);
        }
        // A partial answer at the end belongs to a command that is not kept.
        let again = take_back(&mut self.sent, &mut self.held, outcome.kept);
        self.shared.metrics.sent_again.inc_by(again.len() as u64);
        for mut sent in std::mem::take(&mut self.sent) {
            if !sent.is_noted {
                self.note(&mut sent);
            }
            self.sent.push_back(sent);
        }
        self.carried.moved();
        for request in again.into_iter().rev() {
            self.waiting_bytes += request.command.len();
            self.waiting.push_front(request);
        }
        Ok(())
    }

    fn primary_lost(&mut self) {
        let Some(link) = self.primary.take() else {
            return;
        };
        debug!(primary = %link.session.primary, "the connection to the primary has ended");
        // What restores the session, and an answer that is not complete, end with the connection.
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        for sent in std::mem::take(&mut self.sent) {
            let answer = at..at + sent.length;
            at = answer.end;
            if !sent.is_restoring() {
                self.held.extend_from_slice(&held[answer]);
                self.sent.push_back(sent);
            }
        }
        self.answered = 0;
        self.unassigned = 0;
        // A session without commands in it leaves nothing to decide.
        if !self.sent.is_empty() {
            self.lost = Some(link.session.clone());
        }
        self.carried.moved();
    }

    /// Sends the commands that are waiting.
    fn send_commands(&mut self) {
        let Some(link) = &mut self.primary else {
            return;
        };
        let after = link.session.last_answered_round();
        while link.can_send()
            && let Some(request) = self.waiting.front()
        {
            let is_barrier = match request.kind {
                Kind::Quit | Kind::Reset => true,
                Kind::Unsubscribe(_) => request.frames == 0,
                _ => false,
            };
            if is_barrier && !self.sent.is_empty() {
                return;
            }
            let Some(mut request) = self.waiting.pop_front() else {
                return;
            };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(request.command.len());
            // In its turn: the commands before it are answered first.
            if let Some(answer) = request.refusal.clone() {
                self.sent
                    .push_back(Sent::answered_by_proxy(request, answer));
                continue;
            }
            match request.kind {
                Kind::Quit => {
                    self.is_ending = true;
                    self.waiting.clear();
                    let answer = Bytes::from_static(b"+OK\r\n");
                    self.sent
                        .push_back(Sent::answered_by_proxy(request, answer));
                    return;
                }
                Kind::Exec if self.carried.exec_must_fail() => {
                    let discard = ClientRequest {
                        command: encoded(&[b"DISCARD"]),
                        kind: Kind::Discard,
                        is_restoring: true,
                        ..request.clone()
                    };
                    link.out.extend_from_slice(&discard.command);
                    self.sent.push_back(Sent::new(discard, after));
                    let nil = match self.carried.is_resp3() {
                        true => Bytes::from_static(b"_\r\n"),
                        false => Bytes::from_static(b"*-1\r\n"),
                    };
                    self.sent.push_back(Sent::answered_by_proxy(request, nil));
                    continue;
                }
                Kind::Unsubscribe(topic) if request.frames == 0 => {
                    request.frames = self.carried.subscriptions_to(topic).max(1);
                }
                Kind::Subscribe(_) => link.has_subscribed = true,
                _ => {}
            }
            link.out.extend_from_slice(&request.command);
            self.sent.push_back(Sent::new(request, after));
        }
    }

    /// Assigns the received answers to their commands.
    fn take_answers(&mut self, received: usize) -> Result<(), End> {
        let Some(link) = &mut self.primary else {
            return Ok(());
        };
        let before = link.session.answered_now();
        let mut at = self.held.len() - received;
        while at < self.held.len() {
            let (taken, ended) = link
                .answers
                .read(&self.held[at..])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            at += taken;
            self.unassigned += taken;
            if !ended && self.unassigned < LONG_ANSWER {
                continue;
            }
            while self.sent.get(self.answered).is_some_and(Sent::is_complete) {
                self.answered += 1;
            }
            let head = link.answers.head();
            let is_message = (link.has_subscribed || head.first() == Some(&b'>'))
                && matches!(
                    message_kind(head),
                    Some(b"message" | b"pmessage" | b"smessage" | b"invalidate")
                );
            let length = std::mem::take(&mut self.unassigned);
            let owner = self.sent.get_mut(self.answered);
            if is_message && owner.as_ref().is_none_or(|sent| sent.length == 0) {
                if !ended {
                    // A message of any length is passed on as a whole.
                    self.unassigned = length;
                    continue;
                }
                self.sent
                    .insert(self.answered, Sent::message(length, before));
                self.answered += 1;
                continue;
            }
            let Some(sent) = owner else {
                let why = "an answer to no command";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why).into());
            };
            sent.length += length;
            sent.before.get_or_insert(before);
            if !ended || is_message {
                continue;
            }
            let code = error_code(head);
            sent.is_error |= code.is_some();
            sent.is_queued = head.starts_with(b"+QUEUED\r\n") && sent.is_command();
            // A subscription that is refused or queued has one answer, whatever it names.
            sent.missing = match head.first() {
                Some(b'-' | b'+' | b'!') => 0,
                _ => sent.missing - 1,
            };
            if let Some(code) = code
                && is_not_executed(code)
            {
                sent.is_refused = true;
                link.refuses = true;
            }
            if code == Some("EXECABORT") && link.refuses {
                sent.is_refused = true;
            }
        }
        Ok(())
    }

    /// Passes on the answers that are confirmed.
    fn release(&mut self) -> Result<(), End> {
        if self.primary.as_ref().is_some_and(|link| link.refuses) {
            return Ok(());
        }
        let mut is_asking = false;
        let through = self
            .primary
            .as_mut()
            .map_or(0, |link| link.coverage.borrow_and_update().through);
        while self.out.len() < BUFFER_MAX
            && let Some(sent) = self.sent.front_mut()
        {
            if let Some(own) = &sent.own {
                self.out.extend_from_slice(own);
            } else {
                let is_free = self.shared.options.is_unconfirmed(sent.may_have_written());
                let is_confirmed = is_free || sent.before.is_some_and(|before| before <= through);
                is_asking = sent.before.is_some() && !is_confirmed;
                if !is_confirmed {
                    break;
                }
                if !sent.is_complete() {
                    if sent.length >= LONG_ANSWER {
                        sent.has_begun = true;
                        let length = std::mem::take(&mut sent.length);
                        pass_on(&mut self.held, length, Some(&mut self.out));
                    }
                    break;
                }
            }
            let Some(mut sent) = self.sent.pop_front() else {
                break;
            };
            self.answered = self.answered.saturating_sub(1);
            let is_restoring = sent.is_restoring();
            if is_restoring && sent.is_error && !sent.is_discard() {
                let why = String::from_utf8_lossy(&self.held[..sent.length])
                    .trim_end()
                    .to_owned();
                return Err(End::NotRestored(why));
            }
            if !sent.is_noted && !is_restoring {
                self.note(&mut sent);
            }
            let to = (!is_restoring).then_some(&mut self.out);
            pass_on(&mut self.held, sent.length, to);
        }
        if let Some(link) = &mut self.primary {
            link.ask(is_asking);
            if self.sent.is_empty() && self.carried.subscriptions() == 0 {
                link.has_subscribed = false;
            }
        }
        Ok(())
    }

    /// Notes the effect of a command on the client's session.
    fn note(&mut self, sent: &mut Sent) {
        sent.is_noted = true;
        let Some(request) = &sent.request else { return };
        if matches!(request.kind, Kind::Read | Kind::Write) && !sent.is_queued {
            return;
        }
        if sent.is_queued {
            self.carried.queued(&request.command);
            return;
        }
        let ends_transaction = matches!(request.kind, Kind::Exec | Kind::Discard);
        if sent.is_error && !ends_transaction {
            return;
        }
        let mut reader = CommandReader::default();
        if let Ok(Some(command)) = reader.read(&request.command, usize::MAX) {
            let words = command
                .words
                .iter()
                .map(|word| &request.command[word.clone()]);
            let words: Vec<&[u8]> = words.collect();
            self.carried
                .executed(request.kind, &request.command, &words);
        }
    }

    /// Frees the memory of buffers that are not in use.
    fn shrink(&mut self) {
        if self.sent.is_empty() && self.waiting.is_empty() {
            for buffer in [&mut self.input, &mut self.held, &mut self.out] {
                if buffer.is_empty() && buffer.capacity() > IDLE_CAPACITY {
                    *buffer = BytesMut::new();
                }
            }
            if self.waiting.capacity() + self.sent.capacity() > 64 {
                self.waiting = VecDeque::new();
                self.sent = VecDeque::new();
            }
        }
    }

    async fn next_event(&mut self) -> Result<LinkEvent, End> {
        let wants_input = !self.is_ending && self.has_room();
        let wants_answers = self.held.len() < BUFFER_MAX;
        let is_ending = self.is_ending;
        let was_full = self.out.len() >= BUFFER_MAX;
        let ClientTask {
            shared,
            stream,
            input,
            held,
            out,
            primary,
            ..
        } = self;
        let (mut link_io, mut link_end) = (None, None);
        let mut is_asking = false;
        if let Some(link) = primary {
            if link.refuses {
                link.session.end();
                return Ok(LinkEvent::PrimaryLost);
            }
            is_asking = link.is_asking;
            link_io = Some((&mut link.stream, &mut link.out));
            link_end = Some((&link.session, &mut link.coverage));
        }
        let io = poll_fn(|cx| {
            let written = poll_write_all(stream, out, cx)?;
            let mut is_ready = was_full && written.is_ready();
            if wants_input && let Poll::Ready(read) = poll_read_some(stream, input, cx)? {
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
                if wants_answers && let Poll::Ready(read) = poll_read_some(*primary, held, cx) {
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
        let session_over = async {
            match link_end {
                None => std::future::pending().await,
                Some((session, coverage)) => tokio::select! {
                    biased;
                    () = session.ended() => true,
                    changed = coverage.changed(), if is_asking => changed.is_err(),
                },
            }
        };
        let received = tokio::select! {
            biased;
            () = shared.stop.cancelled(), if !is_ending => return Ok(LinkEvent::Stop),
            received = io => received?,
            is_over = session_over => return Ok(match is_over {
                true => LinkEvent::PrimaryLost,
                false => LinkEvent::Progress,
            }),
        };
        match received {
            Ok(0) => Ok(LinkEvent::Progress),
            Ok(received) => {
                self.take_answers(received)?;
                Ok(LinkEvent::Progress)
            }
            Err(error) => {
                debug!(%error, "lost the connection to the primary");
                Ok(LinkEvent::PrimaryLost)
            }
        }
    }
}

/// The answer to a command that is not sent.
fn refusal(words: &[&[u8]], Refused(why): Refused) -> Bytes {
    let name = String::from_utf8_lossy(words.first().copied().unwrap_or_default());
    let name: String = name.chars().take(NAME_SHOWN).collect();
    format!("-ERR {name} is not available through halab proxy: {why}\r\n").into()
}

/// Whether an error states that the command was not executed, and that another primary would
/// execute it.
fn is_not_executed(code: &str) -> bool {
    let error = WriteError::from_code(code);
    let failed = error.fate() == Fate::FailedForCertain || error == WriteError::Unblocked;
    failed && error.wants_rediscovery()
}

/// Writes as much as possible; ready when all is written.
fn poll_write_all<S: AsyncWrite + Unpin>(
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
        if bytes.is_empty() {
            // With TLS, a part may still be in the local buffer.
            return Pin::new(stream).poll_flush(cx);
        }
    }
    Poll::Ready(Ok(()))
}

/// Reads once; 0 at the end.
fn poll_read_some<S: AsyncRead + Unpin>(
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
