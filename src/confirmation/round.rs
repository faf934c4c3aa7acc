//! The questions of one round: `ROLE` and `PUBLISH`; then, unless the message arrives from the
//! other data nodes ([`super::messages`]), `WAIT` and `ROLE`. And what the answers show.

use rand::RngExt;
use redis::Value;

use crate::client::Role;
use crate::protocol::WriteError;
use crate::protocol::ack::Confirmed;

/// The beginning of the name of a session's channel.
const CHANNEL_PREFIX: &str = "halab:round:";
/// The channel where the primary permits no other, as in earlier versions.
pub(super) const OLD_CHANNEL: &str = "halab:round";

/// The questions of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Questions<'a> {
    /// The session's channel.
    pub(super) channel: &'a str,
    /// The message that is published there.
    pub(super) message: &'a str,
    /// So many replicas are waited for, and for so many milliseconds. None if the message itself
    /// shows what they have.
    pub(super) wait: Option<(usize, &'a str)>,
}

impl Questions<'_> {
    /// Number of the answers.
    pub(super) fn answers(&self) -> usize {
        match self.wait {
            Some(_) => 4,
            None => 2,
        }
    }

    /// Passes each question to `push`, as words.
    pub(super) fn each(&self, mut push: impl FnMut(&[&[u8]])) {
        push(&[b"ROLE"]);
        // A message is replicated like a write, but changes neither keys nor disk.
        let (channel, message) = (self.channel.as_bytes(), self.message.as_bytes());
        push(&[b"PUBLISH", channel, message]);
        // WAIT is about the last write of its own connection (before Redis 7.2: about all writes
        // before its last command).
        if let Some((replicas, wait_ms)) = self.wait {
            let replicas = replicas.to_string();
            push(&[b"WAIT", replicas.as_bytes(), wait_ms.as_bytes()]);
            push(&[b"ROLE"]);
        }
    }

    /// All of them, encoded.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut command = redis::Cmd::new();
        self.each(|words| {
            command.clear();
            for word in words {
                command.arg(*word);
            }
            command.write_packed_command(&mut bytes);
        });
        bytes
    }
}

/// A channel for one session, so that its messages do not arrive at others.
pub(super) fn random_channel() -> String {
    format!("{CHANNEL_PREFIX}{:016x}", rand::rng().random::<u64>())
}

/// The offset of the primary when the round began, and the list of replicas in the last answer of
/// `ROLE`: with `WAIT`, what they have confirmed since.
pub(super) fn read_answers(answers: &[Value]) -> Result<(u64, Vec<Confirmed>), WriteError> {
    for answer in answers {
        if let Value::ServerError(error) = answer {
            return Err(WriteError::from_code(error.code()));
        }
    }
    let (offset, _) = parse_primary(answers.first())?;
    let (_, confirmed) = parse_primary(answers.get(3).or(answers.first()))?;
    Ok((offset, confirmed))
}

/// The offset and the online replicas in the answer of a primary to `ROLE`; an error for any other
/// answer.
pub fn parse_primary(answer: Option<&Value>) -> Result<(u64, Vec<Confirmed>), WriteError> {
    match answer {
        Some(Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
        Some(value) => match Role::from_value(value) {
            Ok(Role::Primary { offset, replicas }) => Ok((offset, replicas)),
            Ok(_) => Err(WriteError::Unblocked),
            Err(_) => Err(WriteError::NotRedis),
        },
        None => Err(WriteError::NotRedis),
    }
}

/// The text of an answer; empty for an answer without text.
pub(super) fn text_of(answer: Option<&Value>) -> Result<String, WriteError> {
    match answer {
        Some(Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
        Some(Value::BulkString(text)) => Ok(String::from_utf8_lossy(text).into_owned()),
        Some(Value::VerbatimString { text, .. }) => Ok(text.clone()),
        Some(_) => Ok(String::new()),
        None => Err(WriteError::NotRedis),
    }
}
