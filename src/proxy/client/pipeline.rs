//! The commands of one client that are not over, with the answers to them.
//!
//! Two queues: `waiting`, not sent to a primary, and `sent`, in the order of the answers. The bytes
//! of all answers are in one buffer, `held`, in the same order.
//!
//! Invariants: `held` has the bytes of the answers to `sent`, and at its end those that are not
//! assigned to a command yet. A command leaves `sent` by [`Pipeline::release`], confirmed, or by
//! one of the ways in which a lost primary leaves it: kept, sent again, or given up.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::history::{Execution, Survival};
use crate::protocol::{Fate, WriteError};
use crate::proxy::answer::{AnswerReader, error_code, message_kind};
use crate::proxy::carried::Carried;
use crate::proxy::command::words_of;
use crate::proxy::kind::Kind;
use crate::proxy::sent::{ClientRequest, Outcome, Purpose, Sent, judge, may_be_executed};

use super::{BUFFER_MAX, End, shrink};

/// Maximum number of commands of a client that are not over yet.
const COMMANDS_MAX: usize = 1024;
/// An incomplete answer of this length is confirmed and passed on before the rest has come.
const LONG_ANSWER: usize = 64 * 1024;

/// What the answers on one connection to a primary have shown so far.
#[derive(Debug, Default)]
pub(super) struct AnswerState {
    reader: AnswerReader,
    /// A subscription was answered: in RESP2, the server may send messages.
    pub(super) has_subscribed: bool,
    /// The connection has had a subscription, at any time.
    pub(super) was_subscribed: bool,
    /// A command that always changes data was queued since the last `MULTI`.
    has_queued_changes: bool,
    /// A command was refused as by a server that is not the primary.
    refuses: bool,
    /// The answers to the questions of a round, once they are complete.
    pub(super) to_round: Option<Bytes>,
}

/// The commands of one client that are not over.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// Not sent yet.
    waiting: VecDeque<ClientRequest>,
    waiting_bytes: usize,
    /// Sent, or answered by the proxy; not passed on yet.
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    /// The first of `sent` have their answers.
    answered: usize,
    /// The answers to `sent`.
    held: BytesMut,
    /// Bytes at the end of `held` of an answer that is not assigned to a command yet.
    unassigned: usize,
}

impl Pipeline {
    /// Whether more commands are taken. Those that were sent are kept until they are over, since
    /// they may have to be sent again.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() + self.sent.len() < COMMANDS_MAX
            && self.waiting_bytes + self.sent_bytes < BUFFER_MAX
    }

    /// Whether more answers are taken. A message that has begun is always read to its end, since it
    /// is passed on as a whole.
    pub(super) fn has_room_for_answers(&self) -> bool {
        self.held.len() - self.unassigned < BUFFER_MAX
    }

    /// Whether all commands are over.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty()
    }

    /// Whether commands were sent, or answered by the proxy, that are not over.
    pub(super) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Adds a command that was received.
    pub(super) fn add_waiting(&mut self, request: ClientRequest) {
        self.waiting_bytes += request.command.len();
        self.waiting.push_back(request);
    }

    /// The next command to be sent.
    pub(super) fn first_waiting(&self) -> Option<&ClientRequest> {
        self.waiting.front()
    }

    /// Removes the next command to be sent.
    pub(super) fn take_waiting(&mut self) -> Option<ClientRequest> {
        let request = self.waiting.pop_front()?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(request.command.len());
        Some(request)
    }

    /// Drops the commands that are not sent.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// Adds a command that was sent, or is answered by the proxy.
    pub(super) fn add_sent(&mut self, sent: Sent) {
        self.sent_bytes += sent.command_length();
        self.sent.push_back(sent);
    }

    /// Where received answers are appended; [`Pipeline::assign`] follows.
    pub(super) fn held(&mut self) -> &mut BytesMut {
        &mut self.held
    }

    /// Assigns the last `received` bytes of the answers, which came at `now`, to their commands.
    /// `before` is the first round that confirms them.
    pub(super) fn assign(
        &mut self,
        received: usize,
        before: u64,
        now: Instant,
        answers: &mut AnswerState,
    ) -> io::Result<()> {
        let mut at = self.held.len() - received;
        while at < self.held.len() {
            let (taken, ended) = answers
                .reader
                .read(&self.held[at..])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            at += taken;
            self.unassigned += taken;
            if !ended && self.unassigned < LONG_ANSWER {
                continue;
            }
            self.skip_answered();
            let head = answers.reader.head();
            let is_message = (answers.has_subscribed || head.first() == Some(&b'>'))
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
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            };
            sent.length += length;
            sent.before.get_or_insert(before);
            if !ended || is_message {
                continue;
            }
            let code = error_code(head);
            sent.is_error |= code.is_some();
            // Not when it is sent: an answer before this one may look like a message.
            answers.has_subscribed |= sent.is_subscription() && code.is_none();
            answers.was_subscribed |= answers.has_subscribed;
            sent.is_queued = head.starts_with(b"+QUEUED\r\n");
            let kind = sent.kind();
            match kind {
                Some(Kind::Multi) => answers.has_queued_changes = false,
                Some(Kind::Write) if sent.is_queued => {
                    answers.has_queued_changes |= sent.always_changes();
                }
                Some(Kind::Exec) => {
                    // A command that failed has changed nothing.
                    let answer = &self.held[at.saturating_sub(sent.length)..at];
                    let has_error = memchr::memmem::find(answer, b"\r\n-").is_some();
                    sent.has_changes = answers.has_queued_changes && !has_error;
                }
                _ => {}
            }
            sent.is_positive = matches!(head, [b':', b'1'..=b'9', ..]);
            sent.is_nil = head.starts_with(b"*-1\r\n") || head.starts_with(b"_\r\n");
            // A subscription that is refused or queued has one answer, whatever it names.
            let is_one_command = sent.purpose() != Purpose::Confirm;
            sent.missing = match head.first() {
                Some(b'-' | b'+' | b'!') if is_one_command => 0,
                _ => sent.missing - 1,
            };
            if sent.is_complete() {
                sent.answered = Some(now);
                if sent.purpose() == Purpose::Confirm {
                    let answer = &self.held[at.saturating_sub(sent.length)..at];
                    answers.to_round = Some(Bytes::copy_from_slice(answer));
                }
            }
            if code.is_some_and(|code| is_refusal(kind, code, head)) {
                sent.is_refused = true;
                answers.refuses = true;
            }
            if code == Some("EXECABORT") && answers.refuses {
                sent.is_refused = true;
            }
        }
        Ok(())
    }

    /// Passes on the answers that are confirmed to `out`, and notes the effect of their commands on
    /// the session; `passed_on` is told of each. Returns the first round, of any connection, that
    /// confirms the answer to the first of the others, if that answer has begun.
    pub(super) fn release(
        &mut self,
        is_confirmed: impl Fn(&Sent) -> bool,
        mut passed_on: impl FnMut(&Sent),
        carried: &mut Carried,
        out: &mut BytesMut,
    ) -> Result<Option<u64>, End> {
        let mut awaited = None;
        while out.len() < BUFFER_MAX
            && let Some(sent) = self.sent.front_mut()
        {
            if let Some(own) = &sent.own {
                out.extend_from_slice(own);
            } else if sent.purpose() == Purpose::Confirm {
                if !sent.is_complete() {
                    break;
                }
            } else {
                let is_confirmed = sent.is_confirmed || is_confirmed(sent);
                if !is_confirmed {
                    awaited = sent.before;
                    break;
                }
                if !sent.is_complete() {
                    if sent.length >= LONG_ANSWER {
                        sent.has_begun = true;
                        let length = std::mem::take(&mut sent.length);
                        self.pass_on(length, Some(out));
                    }
                    break;
                }
            }
            let Some(mut sent) = self.sent.pop_front() else {
                break;
            };
            self.sent_bytes = self.sent_bytes.saturating_sub(sent.command_length());
            self.answered = self.answered.saturating_sub(1);
            let is_for_client = sent.purpose() == Purpose::Client;
            if sent.purpose() == Purpose::Restore && sent.is_error && !sent.is_discard() {
                let why = String::from_utf8_lossy(&self.held[..sent.length])
                    .trim_end()
                    .to_owned();
                return Err(End::NotRestored(why));
            }
            if is_for_client {
                if !sent.is_noted {
                    note(&mut sent, carried);
                }
                passed_on(&sent);
            }
            self.pass_on(sent.length, is_for_client.then_some(&mut *out));
        }
        Ok(awaited)
    }

    /// Finds the first command without its answer.
    fn skip_answered(&mut self) {
        while self.sent.get(self.answered).is_some_and(Sent::is_complete) {
            self.answered += 1;
        }
    }

    /// The number of answers for the client that are complete and not passed on, up to the first
    /// command without one.
    pub(super) fn answers_held(&mut self) -> usize {
        self.skip_answered();
        let answered = self.sent.range(..self.answered);
        answered
            .filter(|sent| sent.purpose() == Purpose::Client)
            .count()
    }

    /// Passes on the first `length` bytes of the answers, or drops them.
    fn pass_on(&mut self, length: usize, to: Option<&mut BytesMut>) {
        if let Some(to) = to {
            to.extend_from_slice(&self.held[..length]);
        }
        self.held.advance(length);
    }

    /// The last `unsent` bytes of the commands were not sent. A command of which a part is missing
    /// was not executed.
    pub(super) fn not_sent(&mut self, mut unsent: usize) {
        for sent in self.sent.iter_mut().rev() {
            if unsent == 0 {
                break;
            }
            if sent.own.is_none() {
                unsent = unsent.saturating_sub(sent.command_length());
                sent.is_refused = true;
            }
        }
    }

    /// Whether a write may have been executed, and its answer is missing.
    pub(super) fn awaits_answer_to_write(&self) -> bool {
        let is_open = |sent: &Sent| !sent.is_complete() && !sent.is_refused;
        let mut writes = self.sent.iter().filter(|sent| sent.may_have_written());
        writes.any(is_open)
    }

    /// Whether the questions of a round, if they are sent now, are answered as such and change
    /// nothing for the client: not within a transaction, and not if messages may come in between.
    pub(super) fn may_be_followed_by_questions(&self, carried: &Carried) -> bool {
        let mut is_queueing = carried.is_queueing();
        let are_harmless = self.sent.iter().all(|sent| {
            match sent.kind() {
                Some(Kind::Multi) => is_queueing = true,
                Some(Kind::Exec | Kind::Discard) => is_queueing = false,
                Some(kind) => return kind.is_data() || matches!(kind, Kind::Watch | Kind::Unwatch),
                None => return false,
            }
            true
        });
        let expects_messages = carried.subscriptions() > 0
            || carried.is_tracking()
            || carried.queues_session_changes();
        are_harmless && !is_queueing && !expects_messages
    }

    /// Whether an answer to one of the commands that were sent has to be confirmed.
    pub(super) fn needs_confirmation(&self, is_unconfirmed: impl Fn(&Sent) -> bool) -> bool {
        let mut by_primary = self.sent.iter().filter(|sent| sent.own.is_none());
        by_primary.any(|sent| !is_unconfirmed(sent))
    }

    /// A round is asked behind everything that was sent, whose message confirms it.
    pub(super) fn set_own_round(&mut self, round: u64) {
        for sent in &mut self.sent {
            sent.own_round.get_or_insert(round);
        }
    }

    /// A round that was asked on this connection, and is answered, has confirmed what was answered
    /// before.
    pub(super) fn confirmed_by_round(&mut self) {
        let is_round = |sent: &Sent| sent.purpose() == Purpose::Confirm && sent.is_complete();
        if let Some(at) = self.sent.iter().rposition(is_round) {
            for sent in self.sent.range_mut(..=at) {
                sent.is_confirmed = true;
            }
        }
    }

    /// The number of commands that were sent, or answered by the proxy, and are not over, with
    /// those of the proxy and with messages.
    pub(super) fn sent_length(&self) -> usize {
        self.sent.len()
    }

    /// The connection is lost. What was sent for another purpose than the client's, and an answer
    /// that is not complete, end with it.
    pub(super) fn connection_lost(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        // A server that refuses the questions of a round as a replica, too, executes no write
        // behind them.
        let mut is_demoted = false;
        for mut sent in std::mem::take(&mut self.sent) {
            let answer = at..at + sent.length;
            at = answer.end;
            is_demoted |= sent.purpose() == Purpose::Confirm && sent.is_refused;
            sent.is_refused |= is_demoted;
            if sent.purpose() != Purpose::Client {
                self.sent_bytes = self.sent_bytes.saturating_sub(sent.command_length());
                continue;
            }
            self.held.extend_from_slice(&held[answer]);
            self.sent.push_back(sent);
        }
        self.answered = 0;
        self.unassigned = 0;
    }

    /// Judges the commands that were sent; see [`judge`].
    pub(super) fn judge(&self, survival: impl FnMut(&Sent) -> Survival) -> Outcome {
        judge(&self.sent, survival)
    }

    /// Has all commands that were sent but the first `kept` be sent again, before those that are
    /// waiting. Returns their number. `execution` gives the place of a command in the history, if
    /// it was executed.
    pub(super) fn send_again(
        &mut self,
        kept: usize,
        now: Instant,
        execution: impl Fn(&Sent) -> Execution,
    ) -> u64 {
        let may_be_executed: Vec<_> = may_be_executed(&self.sent).collect();
        let all = self.sent.iter_mut().zip(may_be_executed).skip(kept);
        for (sent, _) in all.filter(|(_, may_be)| *may_be) {
            let execution = execution(sent);
            if let Some(request) = &mut sent.request {
                request.note_execution(execution);
            }
        }
        let again = self.take_back(kept);
        let count = again.len() as u64;
        for mut request in again.into_iter().rev() {
            request.again_since.get_or_insert(now);
            self.waiting_bytes += request.command.len();
            self.waiting.push_front(request);
        }
        count
    }

    /// The earlier executions of the commands that are not sent.
    pub(super) fn earlier_executions(&self) -> impl Iterator<Item = &Execution> {
        self.waiting.iter().flat_map(|request| &request.earlier)
    }

    /// The earlier executions of those of one kind.
    pub(super) fn earlier_executions_of(&self, kind: Kind) -> impl Iterator<Item = &Execution> {
        let of_kind = self.waiting.iter().filter(move |of| of.kind == kind);
        of_kind.flat_map(|request| &request.earlier)
    }

    /// Since when the oldest of the commands that are sent again has no answer.
    pub(super) fn again_since(&self) -> Option<Instant> {
        let sent = self.sent.iter().filter_map(|sent| sent.request.as_ref());
        let all = self.waiting.iter().chain(sent);
        all.filter_map(|request| request.again_since).min()
    }

    /// The last connection lasted for long: it does not break because of these commands.
    pub(super) fn attempt_was_long(&mut self) {
        let sent = self
            .sent
            .iter_mut()
            .filter_map(|sent| sent.request.as_mut());
        for request in self.waiting.iter_mut().chain(sent) {
            request.again_since = None;
        }
    }

    /// Whether it is certain that no write was executed.
    pub(super) fn is_unexecuted(&self) -> bool {
        let sent = self.sent.iter().filter_map(|sent| sent.request.as_ref());
        let mut all = self.waiting.iter().chain(sent);
        !self.judge(|_| Survival::Unknown).is_unknown && all.all(|of| of.earlier.is_empty())
    }

    /// Removes all commands, and returns them in their order.
    pub(super) fn take_all(&mut self) -> Vec<ClientRequest> {
        let mut requests = self.take_back(0);
        requests.extend(std::mem::take(&mut self.waiting));
        self.waiting_bytes = 0;
        requests
    }

    /// Removes from `sent`, with their answers, all but the first `kept` commands, and returns
    /// those that are to be sent again, in their order. Messages are dropped.
    ///
    /// A partial answer at the end belongs to a command that is not kept.
    fn take_back(&mut self, kept: usize) -> Vec<ClientRequest> {
        let answers = self.sent.iter().take(kept).map(|command| command.length);
        let kept_bytes: usize = answers.sum();
        self.held.truncate(kept_bytes);
        let rest = self.sent.split_off(kept.min(self.sent.len()));
        self.sent_bytes = self.sent.iter().map(Sent::command_length).sum();
        let requests = rest.into_iter().filter_map(|command| command.request);
        let is_for_client = |request: &ClientRequest| request.purpose == Purpose::Client;
        requests.filter(is_for_client).collect()
    }

    /// Notes the effect on the session of all commands that were sent.
    pub(super) fn note_all(&mut self, carried: &mut Carried) {
        for sent in self.sent.iter_mut().filter(|sent| !sent.is_noted) {
            note(sent, carried);
        }
    }

    /// Of what was answered by an earlier primary: `answered_now` states which round of the new one
    /// confirms it. The rounds of the earlier one mean nothing there.
    pub(super) fn confirm_again(&mut self, answered_now: impl Fn() -> u64) {
        for kept in &mut self.sent {
            kept.after = 0;
            kept.is_confirmed = false;
            kept.own_round = None;
            kept.before = Some(answered_now());
        }
    }

    /// Frees the memory of queues that are not in use.
    pub(super) fn shrink(&mut self) {
        shrink(&mut self.held);
        if self.waiting.capacity() + self.sent.capacity() > 64 {
            self.waiting = VecDeque::new();
            self.sent = VecDeque::new();
        }
    }
}

/// Notes the effect of a command on the client's session.
fn note(sent: &mut Sent, carried: &mut Carried) {
    sent.is_noted = true;
    let Some(request) = &sent.request else { return };
    if sent.is_queued {
        carried.queued(request.kind, &request.command);
        return;
    }
    let ends_transaction = match request.kind {
        Kind::Read | Kind::Write | Kind::MayWrite => return,
        Kind::Exec | Kind::Discard => true,
        _ => false,
    };
    if sent.is_error && !ends_transaction {
        return;
    }
    let is_executed = !sent.is_error && !sent.is_nil && sent.own.is_none();
    if request.kind == Kind::Exec && is_executed {
        carried.transaction_executed();
    }
    let words = words_of(&request.command);
    carried.executed(request.kind, &request.command, &words);
}

/// Whether an error with this `code` states that the command was not executed, because the server
/// is not the primary any longer, and that another primary would execute it. A script, also one
/// that only reads, may answer with any error: there the server's own words count.
fn is_refusal(kind: Option<Kind>, code: &str, head: &[u8]) -> bool {
    let is_free = !matches!(kind, Some(Kind::Write | Kind::Exec));
    let starts = |words: &[&str]| words.iter().any(|text| head.starts_with(text.as_bytes()));
    match WriteError::from_code(code) {
        // The end of a blocked command by `CLIENT UNBLOCK` is an answer.
        WriteError::Unblocked => starts(&["-UNBLOCKED force unblock from blocking operation"]),
        error if error.fate() != Fate::FailedForCertain || !error.wants_rediscovery() => false,
        _ if is_free => starts(&[
            "-READONLY You can't write against a read only replica",
            "-MASTERDOWN Link with MASTER is down",
            "-LOADING Redis is loading the dataset in memory",
            "-LOADING Valkey is loading the dataset in memory",
        ]),
        _ => true,
    }
}
