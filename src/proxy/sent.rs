//! What is known of a command that was sent, and what becomes of the commands that were sent to a
//! primary that is lost.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use crate::protocol::history::{Execution, Survival};
use crate::protocol::round::ConfirmedBy;

use super::command::words_of;
use super::kind::{DataChange, Kind, change_of};

/// Why a command is sent to the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// The client has sent it.
    #[default]
    Client,
    /// It restores the session of the client.
    Restore,
    /// It has the questions of a round, which confirm the answers before it.
    Confirm,
}

/// A command that was received from the client, or that is sent on its behalf.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// Its bytes, as they came.
    pub command: Bytes,
    /// What it does.
    pub kind: Kind,
    /// Number of answers of the server.
    pub frames: usize,
    /// The proxy does not send it, and answers this.
    pub refusal: Option<Bytes>,
    /// Unless the client has sent it, its answer is not for the client.
    pub purpose: Purpose,
    /// When it was received.
    pub received: Instant,
    /// Its executions by earlier primaries, which the primaries after them did not have. It must
    /// not be sent to a primary that has one of them.
    pub earlier: Vec<Execution>,
    /// Since when it is sent again, each time without an answer.
    pub again_since: Option<std::time::Instant>,
}

impl ClientRequest {
    /// A command with one answer of the server.
    pub fn new(command: Bytes, kind: Kind, received: Instant) -> Self {
        ClientRequest {
            command,
            kind,
            frames: 1,
            refusal: None,
            purpose: Purpose::Client,
            received,
            earlier: Vec::new(),
            again_since: None,
        }
    }

    /// Notes an execution by a primary that is lost.
    pub fn note_execution(&mut self, execution: Execution) {
        // A connection that breaks again and again adds nothing that is not known.
        if !self.earlier.iter_mut().any(|known| known.widen(&execution)) {
            self.earlier.push(execution);
        }
    }
}

/// A command that was sent, or that the proxy answers.
#[derive(Debug, Default)]
pub struct Sent {
    /// The command; `None` for a message that answers none.
    pub request: Option<ClientRequest>,
    /// The last round with an answer when it was sent: it lies behind the offset of that round. 0
    /// if no such round is known.
    pub after: u64,
    /// The first round that began after the first byte of the answer: it confirms the answer, as
    /// every later one does.
    pub before: Option<u64>,
    /// The round that was asked behind it on its own connection, if its message confirms the
    /// answer as well.
    pub own_round: Option<u64>,
    /// A round that was asked behind it on its own connection has confirmed its answer.
    pub is_confirmed: bool,
    /// When its answer was complete.
    pub answered: Option<std::time::Instant>,
    /// Bytes of the answer in `held`.
    pub length: usize,
    /// Answers still missing.
    pub missing: usize,
    /// The answer is an error.
    pub is_error: bool,
    /// The answer is nil. To `EXEC`: nothing was executed.
    pub is_nil: bool,
    /// The primary has refused it before executing it, because it is no longer the primary.
    pub is_refused: bool,
    /// It was answered with +QUEUED.
    pub is_queued: bool,
    /// It is `EXEC`, and one of its commands always changes data.
    pub has_changes: bool,
    /// It was answered with a positive integer.
    pub is_positive: bool,
    /// The proxy's own answer.
    pub own: Option<Bytes>,
    /// A part of the answer was passed on already.
    pub has_begun: bool,
    /// Its effect on the session was noted already.
    pub is_noted: bool,
}

impl Sent {
    /// A command that is sent now.
    pub fn new(request: ClientRequest, after: u64) -> Self {
        Sent {
            missing: request.frames,
            request: Some(request),
            after,
            ..Sent::default()
        }
    }

    /// A command that the proxy answers with `answer`.
    pub fn answered_by_proxy(request: ClientRequest, answer: Bytes) -> Self {
        Sent {
            request: Some(request),
            own: Some(answer),
            ..Sent::default()
        }
    }

    /// A message of the server that answers no command.
    pub fn message(length: usize, before: u64) -> Self {
        Sent {
            before: Some(before),
            length,
            ..Sent::default()
        }
    }

    /// The rounds that confirm its answer.
    pub fn confirmed_by(&self) -> ConfirmedBy {
        ConfirmedBy {
            later: self.before,
            own: self.own_round,
        }
    }

    /// Bytes of the command.
    pub fn command_length(&self) -> usize {
        let request = self.request.as_ref();
        request.map_or(0, |request| request.command.len())
    }

    /// Whether the whole answer has been received.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Whether it is a subscription.
    pub fn is_subscription(&self) -> bool {
        matches!(self.kind(), Some(Kind::Subscribe(_)))
    }

    /// Why it was sent. A message is for the client.
    pub fn purpose(&self) -> Purpose {
        let request = self.request.as_ref();
        request.map_or(Purpose::Client, |request| request.purpose)
    }

    /// What it does; `None` for a message.
    pub fn kind(&self) -> Option<Kind> {
        self.request.as_ref().map(|request| request.kind)
    }

    /// Whether it is `DISCARD`.
    pub fn is_discard(&self) -> bool {
        self.kind() == Some(Kind::Discard)
    }

    /// Whether the answer is about a change of data: a write outside of a transaction that is being
    /// queued, or `EXEC`.
    pub fn may_have_written(&self) -> bool {
        let writes = matches!(self.kind(), Some(Kind::Write | Kind::MayWrite | Kind::Exec));
        writes && !self.is_queued && self.own.is_none()
    }

    /// Whether its answer counts only if the server is still the primary. A refusal may show that
    /// it is not; then it is no answer. Of a command with earlier executions, only a primary
    /// that stays one shows that they are lost.
    pub fn needs_primary(&self) -> bool {
        let request = self.request.as_ref();
        let has_earlier = request.is_some_and(|request| !request.earlier.is_empty());
        self.may_have_written() || self.is_refused || has_earlier
    }

    /// Whether it changes data whenever it is executed.
    pub fn always_changes(&self) -> bool {
        let request = self.request.as_ref();
        request.is_some_and(|of| change_of(&words_of(&of.command)) == DataChange::Always)
    }

    /// Whether its answer states that data was changed, so that the replication stream has it.
    pub fn has_changed_data(&self) -> bool {
        let Some(request) = &self.request else {
            return false;
        };
        if !self.is_complete() || self.is_error || self.is_nil || self.own.is_some() {
            return false;
        }
        match request.kind {
            Kind::Exec => self.has_changes,
            Kind::Write => match change_of(&words_of(&request.command)) {
                DataChange::Always => !self.is_queued,
                DataChange::IfPositive => self.is_positive,
                DataChange::NotKnown => false,
            },
            _ => false,
        }
    }
}

/// Whether each command that was sent may have been executed: a server that refuses a command as a
/// replica executes no write from there on.
pub fn may_be_executed(sent: &VecDeque<Sent>) -> impl Iterator<Item = bool> + '_ {
    let mut is_demoted = false;
    sent.iter().map(move |command| {
        is_demoted |= command.is_refused;
        command.may_have_written() && !is_demoted
    })
}

/// What becomes of the commands of a client when the primary changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// So many of the first commands were executed and have survived.
    pub kept: usize,
    /// One of the others may have been executed or not, so that the client must be told.
    pub is_unknown: bool,
}

/// Judges the commands that were sent to an earlier primary. `survival` states whether a command
/// that may have written has survived; one without an answer never has.
///
/// The last command that has survived is the border: whatever was answered before it was executed
/// before the promotion, by a primary whose data up to there is in the later one. What follows it
/// is sent again, unless it may have been executed.
pub fn judge(sent: &VecDeque<Sent>, mut survival: impl FnMut(&Sent) -> Survival) -> Outcome {
    let mut kept = 0;
    let mut last_unknown = None;
    for (at, (command, may_be_executed)) in sent.iter().zip(may_be_executed(sent)).enumerate() {
        if !may_be_executed {
            continue;
        }
        match survival(command) {
            Survival::Survived => kept = at + 1,
            Survival::Lost => {}
            Survival::Unknown => last_unknown = Some(at),
        }
    }
    let has_begun = sent.iter().skip(kept).any(|command| command.has_begun);
    Outcome {
        kept,
        is_unknown: has_begun || last_unknown.is_some_and(|at| at >= kept),
    }
}

#[cfg(test)]
pub(in crate::proxy) mod tests {
    use super::*;

    pub fn request(kind: Kind) -> ClientRequest {
        ClientRequest::new(Bytes::from_static(b"x"), kind, Instant::now())
    }

    /// Commands by their letters: `r` a read, `w` a write, capitals with their answers.
    fn queue(letters: &str) -> VecDeque<Sent> {
        let one = |letter: char| {
            let kind = match letter.to_ascii_lowercase() {
                'r' => Kind::Read,
                _ => Kind::Write,
            };
            let mut sent = Sent::new(request(kind), 0);
            if letter.is_uppercase() {
                sent.missing = 0;
                sent.length = 1;
            }
            sent
        };
        letters.chars().map(one).collect()
    }

    /// The outcome if the writes with answers have these fates, in their order; of those without,
    /// nothing is known.
    fn outcome(letters: &str, fates: &[Survival]) -> (usize, bool) {
        let mut fates = fates.iter();
        let survival = |sent: &Sent| match sent.is_complete() {
            true => *fates.next().unwrap(),
            false => Survival::Unknown,
        };
        let found = judge(&queue(letters), survival);
        (found.kept, found.is_unknown)
    }

    #[test]
    fn the_last_write_that_survived_is_the_border() {
        use Survival::{Lost, Survived, Unknown};
        assert_eq!(outcome("", &[]), (0, false));
        assert_eq!(outcome("RRr", &[]), (0, false));
        assert_eq!(outcome("W", &[Survived]), (1, false));
        assert_eq!(outcome("RWR", &[Survived]), (2, false));
        assert_eq!(outcome("WW", &[Survived, Lost]), (1, false));
        assert_eq!(outcome("WWr", &[Survived, Unknown]), (1, true));
        // A later one that survived shows that this one did.
        assert_eq!(outcome("WW", &[Unknown, Survived]), (2, false));
        assert_eq!(outcome("WWW", &[Unknown, Survived, Lost]), (2, false));
        assert_eq!(outcome("Ww", &[Survived]), (1, true));
        assert_eq!(outcome("Rw", &[]), (0, true));
    }

    #[test]
    fn a_write_that_was_refused_was_not_executed() {
        let mut sent = queue("W");
        sent[0].is_refused = true;
        let outcome = judge(&sent, |_| Survival::Unknown);
        assert_eq!((outcome.kept, outcome.is_unknown), (0, false));
    }

    #[test]
    fn a_command_with_an_earlier_execution_is_answered_by_a_primary_only() {
        let mut read = Sent::new(request(Kind::Read), 0);
        assert!(!read.needs_primary());
        let discard = request(Kind::Discard);
        let executed = Execution {
            server: std::net::SocketAddrV4::new([127, 0, 0, 11].into(), 6379),
            history: "old".into(),
            extent: crate::protocol::history::Extent {
                after: Some(1),
                upto: None,
            },
            is_answered: true,
        };
        let earlier = vec![executed];
        let discard = Sent::new(ClientRequest { earlier, ..discard }, 0);
        assert!(discard.needs_primary());
        read.is_refused = true;
        assert!(read.needs_primary());
    }

    #[test]
    fn an_answer_that_has_begun_cannot_be_given_again() {
        let mut sent = queue("r");
        sent[0].has_begun = true;
        assert!(judge(&sent, |_| Survival::Unknown).is_unknown);
    }
}
