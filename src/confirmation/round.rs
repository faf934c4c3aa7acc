//! The questions of one round: `ROLE`, `PUBLISH`, `WAIT`, `ROLE`; and what the answers show.

use redis::Value;

use crate::client::Role;
use crate::protocol::WriteError;
use crate::protocol::ack::Confirmed;

/// Channel of messages without subscribers. They give a connection that writes nothing an offset in
/// the replication stream for which `WAIT` waits.
pub const ROUND_CHANNEL: &str = "halab:round";
/// Number of answers to the questions of a round.
pub const ANSWERS: usize = 4;

/// Passes each question to `push`, as words: for the offset of the primary, and then for the
/// offsets that its replicas have confirmed, of which `online` are waited for.
pub(super) fn each_question(online: usize, wait_ms: &str, mut push: impl FnMut(&[&[u8]])) {
    let online = online.to_string();
    push(&[b"ROLE"]);
    // WAIT is about the last write of its own connection (before Redis 7.2: about all writes before
    // its last command). A message is replicated like a write, but changes neither keys nor disk.
    push(&[b"PUBLISH", ROUND_CHANNEL.as_bytes(), b""]);
    push(&[b"WAIT", online.as_bytes(), wait_ms.as_bytes()]);
    push(&[b"ROLE"]);
}

/// The offset of the primary when the round began, and what its replicas have confirmed since.
pub(super) fn read_answers(answers: &[Value]) -> Result<(u64, Vec<Confirmed>), WriteError> {
    for answer in answers {
        if let Value::ServerError(error) = answer {
            return Err(WriteError::from_code(error.code()));
        }
    }
    let (offset, _) = parse_primary(answers.first())?;
    let (_, confirmed) = parse_primary(answers.last())?;
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
