//! One batch in flight: its answers, and when it is acknowledged.

use redis::Value;
use tokio::time::Instant;

use crate::confirmation::{Session, parse_primary};
use crate::ledger::RecordOutcome;
use crate::protocol::ack::{Answered, Coverage, Form, Policy, replicated_up_to};
use crate::protocol::{Fate, WriteError};

use super::work::Job;

/// A batch that is not settled yet, over all attempts to write it.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub(super) job: Job,
    pub(super) first_sent: Option<Instant>,
    pub(super) attempts: u32,
}

/// A batch that was sent on the current connection.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) pending: PendingBatch,
    /// Whether it may have been written before this attempt.
    pub(super) was_in_doubt: bool,
    pub(super) sent: Instant,
    /// Number of commands that write its records. Each has one answer and is executed as a whole
    /// or not at all.
    pub(super) writes: u64,
    /// Answers received, of those expected.
    answers: u64,
    expected: u64,
    pub(super) refused: Option<RefusedWrites>,
    /// Set when the primary has executed all its writes.
    answered: Option<Answered>,
    /// Every other data node has confirmed it, by a question on this connection.
    replicated: bool,
    /// The keeper has to ask whether it is confirmed.
    with_keeper: bool,
}

/// Error replies to the writes of a batch.
#[derive(Debug)]
pub(super) struct RefusedWrites {
    pub(super) first: WriteError,
    /// Number of writes that failed for certain.
    pub(super) count: u64,
}

impl PendingBatch {
    pub(super) fn new(job: Job) -> Self {
        PendingBatch {
            job,
            first_sent: None,
            attempts: 0,
        }
    }
}

impl InFlight {
    /// `pending`, sent now by `writes` commands and followed by `questions` questions. With only
    /// one question, the keeper has to ask whether it is confirmed.
    pub(super) fn new(
        mut pending: PendingBatch,
        writes: u64,
        questions: u64,
        session: &Session,
    ) -> Self {
        let sent = Instant::now();
        pending.first_sent.get_or_insert(sent);
        pending.attempts += 1;
        // From now on it may have been written, unless the server refuses it.
        let was_in_doubt = std::mem::replace(&mut pending.job.in_doubt, true);
        let mut batch = InFlight {
            was_in_doubt,
            sent,
            writes,
            answers: 0,
            expected: writes + questions,
            refused: None,
            answered: None,
            replicated: false,
            with_keeper: false,
            pending,
        };
        if questions == 1 {
            batch.leave_to_keeper(session);
        }
        batch
    }

    /// Whether all answers have been received.
    pub(super) fn is_answered(&self) -> bool {
        self.answers == self.expected
    }

    /// Takes its next answer: to its writes, then to `ROLE`, `WAIT` and `ROLE` as far as they were
    /// sent.
    pub(super) fn read(
        &mut self,
        answer: Value,
        session: &Session,
        first_round: u64,
    ) -> Result<(), WriteError> {
        self.answers += 1;
        if self.answers <= self.writes {
            return match answer {
                Value::Okay => Ok(()),
                Value::ServerError(error) => {
                    self.refuse(WriteError::from_code(error.code()));
                    Ok(())
                }
                _ => Err(WriteError::NotRedis),
            };
        }
        match (self.answers - self.writes, answer) {
            (2, Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
            (2, _) => Ok(()),
            (_, role) => {
                let (offset, confirmed) = parse_primary(Some(&role))?;
                match &self.answered {
                    None if self.refused.is_none() => {
                        self.answered = Some(session.answered(first_round, offset));
                    }
                    Some(batch) => {
                        let upto = replicated_up_to(session.others(), &confirmed);
                        self.replicated = upto >= Some(batch.offset);
                        if !self.replicated {
                            self.leave_to_keeper(session);
                        }
                    }
                    None => {}
                }
                Ok(())
            }
        }
    }

    /// Leaves the question whether it is confirmed to the keeper.
    fn leave_to_keeper(&mut self, session: &Session) {
        self.with_keeper = true;
        session.sent();
    }

    /// The form of its acknowledgement, if it is acknowledged.
    pub(super) fn outcome(&self, policy: Policy, coverage: Coverage) -> Option<RecordOutcome> {
        if policy == Policy::None {
            return Some(RecordOutcome::Unconfirmed);
        }
        if self.replicated {
            return Some(RecordOutcome::Replicated);
        }
        coverage.form(&self.answered?).map(|form| match form {
            Form::Replicated => RecordOutcome::Replicated,
            Form::Witnessed => RecordOutcome::Witnessed,
        })
    }

    fn refuse(&mut self, error: WriteError) {
        let certain = u64::from(error.fate() == Fate::FailedForCertain);
        let refused = self.refused.get_or_insert(RefusedWrites {
            first: error,
            count: 0,
        });
        refused.count += certain;
    }

    /// Ends its time in flight: the server has not accepted the connection, so it has executed none
    /// of its commands.
    pub(super) fn not_executed(self, session: &Session) -> PendingBatch {
        let was_in_doubt = self.was_in_doubt;
        let mut pending = self.end(session);
        pending.job.in_doubt = was_in_doubt;
        pending.attempts -= 1;
        pending
    }

    /// Ends its time in flight: it is acknowledged, or this connection is given up.
    pub(super) fn end(self, session: &Session) -> PendingBatch {
        if self.with_keeper {
            session.done();
        }
        self.pending
    }
}
