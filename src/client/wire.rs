//! A connection driven by the task that owns it, for many small commands and answers.
//!
//! Commands are encoded into one buffer and answers are taken from one, without an allocation or a
//! message to another task for each: with servers on the same cores, what the writer spends they
//! lack.

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
/// Room made for each read: the answers to many batches.
const READ_ROOM: usize = 16 * 1024;

/// One connection; opened by [`super::Connector::open_wire`].
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    limit: Duration,
    command: redis::Cmd,
    out: Vec<u8>,
    input: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: Stream, limit: Duration) -> Self {
        Wire {
            stream,
            limit,
            command: redis::Cmd::new(),
            out: Vec::new(),
            input: BytesMut::new(),
        }
    }

    /// Puts a command behind those that are to be sent.
    pub fn push(&mut self, words: &[&[u8]]) {
        self.push_with(|command| {
            for word in words {
                command.arg(*word);
            }
        });
    }

    /// The same, of a command whose words are made one by one; `fill` gets it empty.
    pub fn push_with(&mut self, fill: impl FnOnce(&mut redis::Cmd)) {
        self.command.clear();
        fill(&mut self.command);
        self.command.write_packed_command(&mut self.out);
    }

    /// Whether commands are to be sent.
    pub fn has_commands(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends all commands put so far. A call that is given up leaves the connection unusable.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn send(&mut self) -> Result<(), WriteError> {
        let sent = async {
            self.stream.write_all(&self.out).await?;
            // With TLS, the rest of it may still be with us.
            self.stream.flush().await
        };
        let sent = sent.await;
        self.out.clear();
        sent.map_err(|_| WriteError::ConnectionLost)
    }

    /// Waits for more of the answers. May be given up and called again.
    ///
    /// # Errors
    /// A broken connection; one that the server has closed is broken.
    pub async fn receive(&mut self) -> Result<(), WriteError> {
        self.input.reserve(READ_ROOM);
        match self.stream.read_buf(&mut self.input).await {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                debug!(%error, "not let in");
                Err(WriteError::NotPermitted)
            }
            Ok(0) | Err(_) => Err(WriteError::ConnectionLost),
            Ok(_) => Ok(()),
        }
    }

    /// The next answer, an error reply among them, if it has come in.
    ///
    /// # Errors
    /// What came in is not an answer of a Redis server.
    pub fn answer(&mut self) -> Result<Option<Value>, WriteError> {
        // Nearly all of them, at the price of a comparison.
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

    /// Sends all commands put so far and reads `count` answers, within the connector's limit.
    ///
    /// # Errors
    /// A broken connection, no answers in time, or something else than answers.
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
