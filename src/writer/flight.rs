//! One batch on its way: what its answers say, and when it counts as acknowledged.

use redis::Value;
use tokio::time::Instant;

use crate::ledger::RecordOutcome;
use crate::protocol::ack::{Answered, Coverage, Form, Policy, replicated_up_to};
use crate::protocol::{Fate, WriteError};

use super::keeper::primary;
use super::session::Session;
use super::work::Job;

/// A batch on its way, over all attempts to write it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) job: Job,
    pub(super) first_sent: Option<Instant>,
    pub(super) attempts: u32,
}

/// A batch that was sent on the connection in use.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) parcel: Parcel,
    /// Whether it may have been written before this attempt.
    pub(super) doubted: bool,
    pub(super) sent: Instant,
    /// Commands that write its records; each is answered once, and is executed as a whole or not
    /// at all.
    pub(super) writes: u64,
    /// Answers read so far, of those expected.
    answers: u64,
    expected: u64,
    pub(super) refused: Option<Refused>,
    /// All its writes are on the primary.
    answered: Option<Answered>,
    /// Every other data node confirmed it to a question on this very connection.
    replicated: bool,
    /// Counted among those that the keeper has to ask for.
    with_keeper: bool,
}

/// Error replies to the writes of a batch.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) first: WriteError,
    /// Writes that were refused for certain.
    pub(super) count: u64,
}

impl Parcel {
    pub(super) fn new(job: Job) -> Self {
        Parcel {
            job,
            first_sent: None,
            attempts: 0,
        }
    }
}

impl Flight {
    /// `parcel` is sent now, by so many commands, with so many questions after them; with one only,
    /// the keeper has to ask what is confirmed.
    pub(super) fn depart(
        mut parcel: Parcel,
        writes: u64,
        questions: u64,
        session: &Session,
    ) -> Self {
        let sent = Instant::now();
        parcel.first_sent.get_or_insert(sent);
        parcel.attempts += 1;
        // From here on it may be written, unless the server says no.
        let doubted = std::mem::replace(&mut parcel.job.in_doubt, true);
        let mut flight = Flight {
            doubted,
            sent,
            writes,
            answers: 0,
            expected: writes + questions,
            refused: None,
            answered: None,
            replicated: false,
            with_keeper: false,
            parcel,
        };
        if questions == 1 {
            flight.hand_over(session);
        }
        flight
    }

    /// Whether no answer is outstanding.
    pub(super) fn is_answered(&self) -> bool {
        self.answers == self.expected
    }

    /// Reads the next of its answers: to its writes, then to `ROLE`, `WAIT` and `ROLE` as far as
    /// they were sent.
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
                let (offset, confirmed) = primary(Some(&role))?;
                match &self.answered {
                    None if self.refused.is_none() => {
                        self.answered = Some(session.answered(first_round, offset));
                    }
                    Some(batch) => {
                        let upto = replicated_up_to(session.others(), &confirmed);
                        self.replicated = upto >= Some(batch.offset);
                        if !self.replicated {
                            self.hand_over(session);
                        }
                    }
                    None => {}
                }
                Ok(())
            }
        }
    }

    /// Leaves it to the keeper to find out what is confirmed.
    fn hand_over(&mut self, session: &Session) {
        self.with_keeper = true;
        session.sent();
    }

    /// The form in which it is acknowledged, if it is.
    pub(super) fn outcome(&self, policy: Policy, coverage: Coverage) -> Option<RecordOutcome> {
        if policy == Policy::None {
            return Some(RecordOutcome::Sent);
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
        let refused = self.refused.get_or_insert(Refused {
            first: error,
            count: 0,
        });
        refused.count += certain;
    }

    /// It is acknowledged, or given up on this connection.
    pub(super) fn end(self, session: &Session) -> Parcel {
        if self.with_keeper {
            session.done();
        }
        self.parcel
    }
}
