//! The messages that a server publishes, read no faster than their reader takes them.
//!
//! The crate's own subscription keeps what was not taken yet, however much that is; here it stays
//! with the sender, which is what TCP is for.

use redis::Value;

use crate::protocol::WriteError;

use super::Wire;

/// One published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The channel that it was published on.
    pub channel: String,
    /// What was published.
    pub payload: String,
}

/// A subscription; opened by [`super::Connector::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    wire: Wire,
}

impl Subscription {
    pub(super) async fn start(mut wire: Wire, pattern: &str) -> Result<Self, WriteError> {
        wire.push(&[b"PSUBSCRIBE", pattern.as_bytes()]);
        match wire.exchange(1).await?.first() {
            Some(Value::Array(_)) => Ok(Subscription { wire }),
            Some(Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
            _ => Err(WriteError::NotRedis),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// A broken connection, or what comes in is no message. Then there will be no more.
    pub async fn next(&mut self) -> Result<Message, WriteError> {
        loop {
            match self.wire.answer()? {
                Some(answer) => return message(answer).ok_or(WriteError::NotRedis),
                None => self.wire.receive().await?,
            }
        }
    }
}

/// Presence on a channel, which others see by `PUBSUB NUMSUB`; what is published there is not read.
/// Opened by [`super::Connector::attend`]; the server ends it with the connection.
#[derive(Debug)]
pub struct Presence {
    wire: Wire,
}

impl Presence {
    pub(super) async fn start(mut wire: Wire, channel: &str) -> Result<Self, WriteError> {
        wire.push(&[b"SUBSCRIBE", channel.as_bytes()]);
        match wire.exchange(1).await?.first() {
            Some(Value::Array(_)) => Ok(Presence { wire }),
            Some(Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
            _ => Err(WriteError::NotRedis),
        }
    }

    /// Ends it. When this has returned `Ok`, the server counts it no more.
    ///
    /// # Errors
    /// A broken connection; the server may notice that later.
    pub async fn end(mut self) -> Result<(), WriteError> {
        self.wire.push(&[b"UNSUBSCRIBE"]);
        self.wire.exchange(1).await.map(drop)
    }
}

/// `pmessage`, the pattern, the channel, the payload.
fn message(answer: Value) -> Option<Message> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [
        Value::BulkString(kind),
        _,
        Value::BulkString(channel),
        Value::BulkString(payload),
    ] = parts.as_slice()
    else {
        return None;
    };
    (kind == b"pmessage").then(|| Message {
        channel: String::from_utf8_lossy(channel).into_owned(),
        payload: String::from_utf8_lossy(payload).into_owned(),
    })
}
