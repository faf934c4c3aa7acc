//! Subscriptions with back-pressure.
//!
//! The subscription of the crate `redis` buffers unread messages without a bound. Here they stay
//! with the sender.

use redis::Value;

use crate::protocol::WriteError;

use super::RawConn;

/// One published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its channel.
    pub channel: String,
    /// Its text.
    pub payload: String,
}

/// A subscription; opened by [`super::Connector::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    conn: RawConn,
}

impl Subscription {
    pub(super) async fn start(mut conn: RawConn, pattern: &str) -> Result<Self, WriteError> {
        conn.push(&[b"PSUBSCRIBE", pattern.as_bytes()]);
        match conn.exchange(1).await?.first() {
            Some(Value::Array(_)) => Ok(Subscription { conn }),
            Some(Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
            _ => Err(WriteError::NotRedis),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// If the connection is broken, or the server sends something else. Then there are no more
    /// messages.
    pub async fn next(&mut self) -> Result<Message, WriteError> {
        loop {
            match self.conn.answer()? {
                Some(answer) => return message(answer).ok_or(WriteError::NotRedis),
                None => self.conn.receive().await?,
            }
        }
    }
}

/// A subscription to one channel.
#[derive(Debug)]
pub struct Channel {
    conn: RawConn,
}

impl Channel {
    /// Subscribes to `channel` on that connection.
    ///
    /// # Errors
    /// If the connection is broken, or the server refuses it.
    pub async fn start(conn: RawConn, channel: &str) -> Result<Self, WriteError> {
        subscribed(conn, channel).await.map(|conn| Channel { conn })
    }

    /// Waits for the text of the next message.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn next(&mut self) -> Result<Vec<u8>, WriteError> {
        loop {
            match self.conn.answer()? {
                Some(Value::Array(mut parts)) if parts.len() == 3 => match parts.pop() {
                    Some(Value::BulkString(text)) => return Ok(text),
                    _ => return Err(WriteError::NotRedis),
                },
                Some(_) => return Err(WriteError::NotRedis),
                None => self.conn.receive().await?,
            }
        }
    }
}

/// Subscribes to `channel` on that connection.
async fn subscribed(mut conn: RawConn, channel: &str) -> Result<RawConn, WriteError> {
    conn.push(&[b"SUBSCRIBE", channel.as_bytes()]);
    match conn.exchange(1).await?.first() {
        Some(Value::Array(_)) => Ok(conn),
        Some(Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
        _ => Err(WriteError::NotRedis),
    }
}

/// A subscription that others see by `PUBSUB NUMSUB`; messages are not read. Opened by
/// [`super::Connector::attend`]; it ends with the connection.
#[derive(Debug)]
pub struct Presence {
    conn: RawConn,
}

impl Presence {
    pub(super) async fn start(conn: RawConn, channel: &str) -> Result<Self, WriteError> {
        subscribed(conn, channel)
            .await
            .map(|conn| Presence { conn })
    }

    /// Ends it. After `Ok` the server no longer counts it.
    ///
    /// # Errors
    /// If the connection is broken, which the server may notice later.
    pub async fn end(mut self) -> Result<(), WriteError> {
        self.conn.push(&[b"UNSUBSCRIBE"]);
        self.conn.exchange(1).await.map(drop)
    }
}

/// The message in an answer: `pmessage`, the pattern, the channel, the payload.
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
