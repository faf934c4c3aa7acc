//! A connection that is driven by the task that owns it, for many small commands and answers.
//!
//! Commands are encoded into one buffer and answers are parsed from one, without an allocation or a
//! message to another task for each. The servers of a lab often share the writer's cores, so the
//! writer's processor time is lost to them.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use crate::protocol::WriteError;

use super::reply;
use super::stream::Stream;

const OK: &[u8] = b"+OK\r\n";
/// Free capacity for each read: the answers to many batches.
const READ_CAPACITY: usize = 16 * 1024;

/// One connection; opened by [`super::Connector::open_raw`].
#[derive(Debug)]
pub struct RawConn {
    stream: Stream,
    limit: Duration,
    command: redis::Cmd,
    out: Vec<u8>,
    input: BytesMut,
}

impl RawConn {
    pub(super) fn new(stream: Stream, limit: Duration) -> Self {
        RawConn {
            stream,
            limit,
            command: redis::Cmd::new(),
            out: Vec::new(),
            input: BytesMut::new(),
        }
    }

    /// Appends a command to those to be sent.
    pub fn push(&mut self, words: &[&[u8]]) {
        self.push_with(|command| {
            for word in words {
                command.arg(*word);
            }
        });
    }

    /// The same, for a command that `fill` builds from an empty one.
    pub fn push_with(&mut self, fill: impl FnOnce(&mut redis::Cmd)) {
        self.command.clear();
        fill(&mut self.command);
        self.command.write_packed_command(&mut self.out);
    }

    /// Whether there are commands to be sent.
    pub fn has_commands(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends all commands appended so far. The connection is unusable after a cancelled call.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn send(&mut self) -> Result<(), WriteError> {
        let sent = async {
            self.stream.write_all(&self.out).await?;
            // With TLS, a part may still be in the local buffer.
            self.stream.flush().await
        };
        let sent = sent.await;
        self.out.clear();
        sent.map_err(|_| WriteError::ConnectionLost)
    }

    /// Waits for more bytes of the answers. Cancel-safe.
    ///
    /// # Errors
    /// If the connection is broken or was closed by the server.
    pub async fn receive(&mut self) -> Result<(), WriteError> {
        self.input.reserve(READ_CAPACITY);
        match self.stream.read_buf(&mut self.input).await {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                debug!(%error, "authentication failed");
                Err(WriteError::NotPermitted)
            }
            Err(error) if error.kind() == std::io::ErrorKind::QuotaExceeded => {
                Err(WriteError::TooManyClients)
            }
            Ok(0) | Err(_) => Err(WriteError::ConnectionLost),
            Ok(_) => Ok(()),
        }
    }

    /// The next answer or error reply, if it is complete.
    ///
    /// # Errors
    /// If the bytes are not an answer of a Redis server.
    pub fn answer(&mut self) -> Result<Option<Value>, WriteError> {
        // The fast path: nearly all answers are this one.
        if self.input.starts_with(OK) {
            self.input.advance(OK.len());
            return Ok(Some(Value::Okay));
        }
        let Some((value, length)) = reply::read(&self.input).map_err(|_| WriteError::NotRedis)?
        else {
            return Ok(None);
        };
        self.input.advance(length);
        Ok(Some(value))
    }

    /// Sends all commands appended so far and reads `count` answers, within the connector's limit.
    ///
    /// # Errors
    /// If the connection is broken, or there are no valid answers in time.
    pub async fn exchange(&mut self, count: usize) -> Result<Vec<Value>, WriteError> {
        let limit = self.limit;
        let exchange = async {
            self.send().await?;
            let mut answers = Vec::with_capacity(count);
            while answers.len() < count {
                match self.answer()? {
                    Some(answer) => answers.push(answer),
                    None => self.receive().await?,
                }
            }
            Ok(answers)
        };
        timeout(limit, exchange)
            .await
            .unwrap_or(Err(WriteError::Timeout))
    }
}
