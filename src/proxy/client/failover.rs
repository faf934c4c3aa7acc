//! What becomes of a client when its primary is lost: the wait for another one, the commands
//! without a confirmed answer, and the session that is restored there.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::client::Stream;
use crate::config::Unanswered;
use crate::confirmation::Session;
use crate::protocol::history::{Execution, Extent, Survival, has_none_of, is_known_to_have_one_of};
use crate::proxy::kind::Kind;
use crate::proxy::sent::{ClientRequest, Purpose, Sent};

use super::link::{PrimaryLink, poll_read_some, poll_write_all};
use super::{ClientTask, End};

/// Pause after a lost connection before the same primary is connected to again, unless it turns out
/// to be lost itself.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Time for the last answers of a primary, once it is demoted, or cannot be asked whether it is.
const LAST_ANSWERS_LIMIT: Duration = Duration::from_millis(200);

impl ClientTask {
    /// Waits for a primary, connects to it and restores the session there. Gives the commands up if
    /// that takes too long. A client without commands, which only expects messages, waits as long
    /// as it takes, or until it has sent something.
    pub(super) async fn connect(&mut self) -> Result<(), End> {
        let has_commands = !self.pipeline.is_empty();
        if let Some(lost) = &self.lost {
            // Mostly it is the server that has ended.
            let _ = timeout(RECONNECT_PAUSE, lost.ended()).await;
        }
        let first = self.pipeline.first_waiting();
        let oldest = first.map_or_else(Instant::now, |request| request.received);
        // Of a command whose connections break again and again, each attempt counts.
        let since = self.pipeline.again_since();
        let since = since.map_or(oldest, Instant::from_std);
        let deadline = since + self.shared.options.patience;
        let ClientTask {
            shared,
            stream,
            requests,
            out,
            is_ending,
            ..
        } = self;
        let client = poll_fn(|cx| {
            // What was confirmed before the loss; what is not written now is written later.
            let _ = poll_write_all(stream, out, cx)?;
            match has_commands {
                true => Poll::Pending,
                false => poll_read_some(stream, &mut requests.bytes, cx),
            }
        });
        let opened = tokio::select! {
            opened = shared.open_primary() => Some(opened.ok_or(End::Closed)?),
            () = sleep_until(deadline), if has_commands => None,
            read = client => return match read? {
                0 => Err(End::Closed),
                _ => Ok(()),
            },
            () = shared.stop.cancelled(), if !*is_ending => return Err(End::Closed),
        };
        match opened {
            Some((session, stream)) => self.connected(session, stream).await,
            None => self.give_up().await,
        }
    }

    /// There was no primary for too long: answers that the commands were not executed.
    async fn give_up(&mut self) -> Result<(), End> {
        // A write that may have been executed cannot be decided about without a primary.
        if !self.pipeline.is_unexecuted() {
            return Err(self.unknown());
        }
        self.lost = None;
        let requests = self.pipeline.take_all();
        let refused = requests.iter().filter(|request| request.refusal.is_none());
        self.shared
            .metrics
            .no_primary
            .inc_by(refused.count() as u64);
        self.count.holds(0);
        let text = format!(
            "-NOPRIMARY no primary for {} s; the command was not executed\r\n",
            self.shared.options.patience.as_secs_f64()
        );
        let mut is_session_intact = !self.carried.is_queueing();
        for request in requests {
            is_session_intact &= request.kind.is_data();
            let answer = request.refusal.as_deref().unwrap_or(text.as_bytes());
            self.out.extend_from_slice(answer);
        }
        self.flush().await?;
        // A client that goes on after such an error in a transaction would execute a part of it.
        match is_session_intact {
            true => Ok(()),
            false => Err(End::NoPrimary),
        }
    }

    /// Decides about the commands of the last session, and restores the client's session.
    async fn connected(&mut self, session: Arc<Session>, stream: Stream) -> Result<(), End> {
        let again = match self.lost.take() {
            Some(lost) => self.decide(&lost, &session).await?,
            None => 0,
        };
        if !self.may_send_to(&session) || self.would_deny_execution(&session) {
            return Err(self.unknown());
        }
        self.shared.metrics.sent_again.inc_by(again);
        let mut link = PrimaryLink::new(session, stream);
        self.pipeline.confirm_again(|| link.session.answered_now());
        let after = link.session.last_answered_round();
        for (kind, command) in self.carried.restoring() {
            link.out.extend_from_slice(&command);
            let request = ClientRequest {
                purpose: Purpose::Restore,
                ..ClientRequest::new(command, kind, Instant::now())
            };
            self.pipeline.add_sent(Sent::new(request, after));
        }
        if self.carried.is_tracking() && self.carried.is_resp3() {
            self.out
                .extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        }
        self.primary = Some(link);
        Ok(())
    }

    /// Whether the commands that are waiting may be sent to the primary of this session. It was
    /// decided at an earlier one that they are sent again, which may have been given up since.
    fn may_send_to(&self, session: &Session) -> bool {
        let executions = self.pipeline.earlier_executions();
        let (server, history) = (session.primary, session.history());
        match self.shared.options.unanswered {
            Unanswered::Disconnect => has_none_of(executions, server, history),
            Unanswered::Retry => !is_known_to_have_one_of(executions, server, history),
        }
    }

    /// Whether the proxy would answer an `EXEC` by nil, as not executed because of a lost `WATCH`,
    /// that an earlier primary may have executed for good.
    fn would_deny_execution(&self, session: &Session) -> bool {
        let (server, history) = (session.primary, session.history());
        self.carried.exec_must_fail()
            && !has_none_of(
                self.pipeline.earlier_executions_of(Kind::Exec),
                server,
                history,
            )
    }

    /// A command may or may not have been executed.
    fn unknown(&self) -> End {
        self.shared.metrics.unknown.inc();
        End::Unknown
    }

    /// Decides about the commands that were sent to the primary `lost`, after which `now` is
    /// primary. Returns how many are sent again.
    async fn decide(&mut self, lost: &Arc<Session>, now: &Session) -> Result<u64, End> {
        let judge = |last| self.pipeline.judge(|sent| survival(sent, lost, now, last));
        let mut last = None;
        let mut outcome = judge(last);
        if outcome.is_unknown && lost.primary != now.primary {
            last = lost.last_offset(&self.shared.own).await;
            outcome = judge(last);
        }
        if outcome.is_unknown && self.shared.options.unanswered == Unanswered::Retry {
            let or_lost = |sent: &Sent| match survival(sent, lost, now, last) {
                Survival::Survived => Survival::Survived,
                Survival::Lost | Survival::Unknown => Survival::Lost,
            };
            outcome = self.pipeline.judge(or_lost);
        }
        if outcome.is_unknown {
            return Err(self.unknown());
        }
        let execution = |sent: &Sent| execution(sent, lost, last);
        let again = self
            .pipeline
            .send_again(outcome.kept, Instant::now().into_std(), execution);
        self.pipeline.note_all(&mut self.carried);
        self.carried.moved();
        Ok(again)
    }

    /// Takes what a primary that is lost still answers. One that was demoted refuses what it has
    /// not executed, and that can be sent to the next one.
    pub(super) async fn take_last_answers(&mut self) -> Result<(), End> {
        let Some(link) = &self.primary else {
            return Ok(());
        };
        self.pipeline.not_sent(link.out.len());
        let (shared, session) = (self.shared.clone(), link.session.clone());
        // Until then, it may be about to be demoted, with writes paused.
        let mut settled = pin!(session.last_offset(&shared.own));
        let mut deadline = None;
        while self.pipeline.awaits_answer_to_write()
            && self.pipeline.has_room_for_answers()
            && let Some(link) = &mut self.primary
        {
            let (stream, held) = (&mut link.stream, self.pipeline.held());
            tokio::select! {
                biased;
                read = poll_fn(|cx| poll_read_some(stream, held, cx)) => match read {
                    Ok(received @ 1..) => {
                        let before = link.session.answered_now();
                        let now = std::time::Instant::now();
                        self.pipeline
                            .assign(received, before, now, &mut link.answers)?;
                    }
                    // Its end, or an error.
                    _ => break,
                },
                _ = &mut settled, if deadline.is_none() => {
                    deadline = Some(Instant::now() + LAST_ANSWERS_LIMIT);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The connection to the primary is lost. What was sent is decided about once there is another.
    pub(super) fn primary_lost(&mut self) {
        let Some(link) = self.primary.take() else {
            return;
        };
        debug!(primary = %link.session.primary, "the connection to the primary has ended");
        if link.opened.elapsed() >= self.shared.options.patience {
            self.pipeline.attempt_was_long();
        }
        link.stream.drop_unsent();
        self.pipeline.connection_lost();
        // A session without commands in it leaves nothing to decide.
        if self.pipeline.has_sent() {
            self.lost = Some(link.session.clone());
        }
        self.carried.moved();
    }
}

/// What became of a command that was sent to the primary `lost`, after which `now` is primary.
/// `last` is the last offset at which the lost one has executed anything, if that is known.
fn survival(sent: &Sent, lost: &Session, now: &Session, last: Option<u64>) -> Survival {
    match execution(sent, lost, last).survival(now.primary, now.history()) {
        // Its answer is missing.
        Survival::Survived if !sent.is_complete() => Survival::Unknown,
        survival => survival,
    }
}

/// Where a command lies in the history of the primary `lost`, if that has executed it.
fn execution(sent: &Sent, lost: &Session, last: Option<u64>) -> Execution {
    // Without an answer: behind `after`, if it was executed at all.
    let extent = lost.extent(sent.after, sent.before.unwrap_or(u64::MAX));
    // A change is in the replication stream. Anything else leaves no trace there: it may have been
    // answered later, by a server that was not the primary any longer. Then only a later part of
    // the stream shows that it was.
    let upto = match sent.has_changed_data() {
        true => extent.upto.or(last),
        false => extent.upto.map(|upto| upto + 1),
    };
    Execution {
        server: lost.primary,
        history: lost.history().id.clone(),
        extent: Extent { upto, ..extent },
        is_answered: sent.is_complete(),
    }
}
