//! A round that a write connection asks itself, behind commands that it has just sent.
//!
//! The server executes its questions right behind these commands, before their answers have arrived
//! here, so it saves a trip to the primary. It confirms what the keeper's rounds confirm. But it
//! costs the primary some commands, which the keeper asks once for all connections.
//!
//! The connection must be *anchored*: a round of the keeper that began after the connection was
//! established has been answered. So the connection of the keeper was intact after this one was
//! established, and both lead to one server in one role, with the members for which the session was
//! begun. Whatever ends that closes this connection too, or leaves a replica, which is no answer to
//! a round. (A connection with subscriptions is not closed: it must never have had any.)

use std::sync::Arc;

use bytes::Bytes;
use redis::Value;

use crate::client::reply;
use crate::protocol::WriteError;
use crate::protocol::ack::{Coverage, not_followed_beyond};
use crate::protocol::round::Asker;

use super::round::{Questions, read_answers};
use super::{SHORTEST_WAIT, Session};

/// So many commands are worth a round of their own.
const MANY_COMMANDS: usize = 32;

/// A round that was begun on a write connection.
#[derive(Debug)]
pub struct OwnRound {
    session: Arc<Session>,
    number: u64,
    /// Its message is waited for, from all other data nodes.
    by_message: bool,
    /// It counts as one that is being asked.
    is_counted: bool,
}

/// What a round on a write connection has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnVerdict {
    /// Everything that the primary had executed when the round began is confirmed.
    Confirmed,
    /// It will be, once the message has arrived from all other data nodes.
    Expected,
    /// Not every other data node has confirmed it, or the server is no longer the primary.
    NotConfirmed,
    /// The user of this connection may not ask.
    NotPermitted,
}

impl OwnRound {
    /// Whether a round behind so many `commands` is better than to wait for the keeper's next one:
    /// it is likely to confirm them, and either they are many, or nobody else waits for a round.
    pub fn is_of_use(session: &Session, commands: usize) -> bool {
        session.is_followed() && (commands >= MANY_COMMANDS || session.rounds_asked() == 0)
    }

    /// Begins a round on an anchored connection. Its questions are to be sent now.
    pub fn begin(session: &Arc<Session>) -> OwnRound {
        let number = session.begin_own_round();
        let by_message = session.messages().are_expected();
        if by_message {
            session.messages().wait_for(number);
        }
        OwnRound {
            session: session.clone(),
            number,
            by_message,
            is_counted: true,
        }
    }

    /// The questions, encoded, and the number of the answers.
    pub fn questions(&self) -> (Bytes, usize) {
        let session = &self.session;
        // It blocks the connection; the keeper's limit may be longer.
        let wait_ms = SHORTEST_WAIT.as_millis().to_string();
        let questions = Questions {
            channel: session.published_channel(),
            message: &session.messages().text(Asker::WriteConnection, self.number),
            wait: (!self.by_message).then_some((session.others().len(), wait_ms.as_str())),
        };
        (questions.encoded().into(), questions.answers())
    }

    /// Whether its message, once it has arrived from all other data nodes, confirms every command
    /// before it on this connection. Their answers may arrive later.
    pub fn is_by_message(&self) -> bool {
        self.by_message
    }

    /// Whether it has.
    pub fn has_arrived(&self) -> bool {
        self.by_message && self.session.messages().has_arrived(self.number)
    }

    /// It takes so long that others need not take it into account.
    pub fn note_late(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.session.own_round_ended();
        }
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Judges the `answers`, and tells the other connections of the session what is confirmed.
    pub fn note_answers(&self, answers: &[u8]) -> OwnVerdict {
        let session = &self.session;
        let (offset, confirmed) = match parse(answers).and_then(|all| read_answers(&all)) {
            Ok(read) => read,
            Err(WriteError::NotPermitted) => return OwnVerdict::NotPermitted,
            Err(_) => return OwnVerdict::NotConfirmed,
        };
        if session.is_over() {
            return OwnVerdict::NotConfirmed;
        }
        session.round_answered(self.number, offset);
        if self.by_message {
            return OwnVerdict::Expected;
        }
        let is_followed = not_followed_beyond(session.others(), offset, &confirmed).is_empty();
        session.set_followed(is_followed);
        if !is_followed {
            return OwnVerdict::NotConfirmed;
        }
        session.publish(Coverage {
            through: self.number,
            ..Coverage::default()
        });
        OwnVerdict::Confirmed
    }
}

impl Drop for OwnRound {
    fn drop(&mut self) {
        self.note_late();
        if self.by_message {
            self.session.messages().give_up(self.number);
        }
    }
}

fn parse(mut bytes: &[u8]) -> Result<Vec<Value>, WriteError> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        match reply::read(bytes) {
            Ok(Some((answer, length))) => {
                answers.push(answer);
                bytes = &bytes[length..];
            }
            Ok(None) | Err(_) => return Err(WriteError::NotRedis),
        }
    }
    Ok(answers)
}
