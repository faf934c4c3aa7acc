//! One open connection to one node: commands and answers.

use std::net::SocketAddrV4;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::protocol::copy::{DataCopy, MARK_KEY};

use super::framing::LimitedStream;
use super::stream::Stream;
use super::{ClientError, Role, ServerInfo};

/// The sections of `INFO` that describe the state of a data node.
const SECTIONS: [&str; 5] = [
    "server",
    "clients",
    "replication",
    "persistence",
    "keyspace",
];

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One open connection to one node.
#[derive(Debug)]
pub struct Conn {
    inner: MultiplexedConnection,
    to: SocketAddrV4,
    refused: Arc<OnceLock<String>>,
    _driver: AbortOnDrop,
}

impl Conn {
    /// Sets up the connection on `stream`, with that time limit for each answer.
    pub(super) async fn start(
        stream: Stream,
        to: SocketAddrV4,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let refused = stream.refused();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(limit));
        // Without the name of the library, which would cost a round trip.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let setup =
            MultiplexedConnection::new_with_config(&info, LimitedStream::new(stream), config);
        let (inner, driver) = timeout(limit, setup)
            .await
            .map_err(|_| ClientError::Silent { to, limit })?
            .map_err(|source| ClientError::Redis { to, source })?;
        // Not tracked further: it lives exactly as long as the connection, which aborts it on drop.
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Conn {
            inner,
            to,
            refused,
            _driver: AbortOnDrop(driver),
        })
    }

    /// The node at the other end.
    pub fn peer(&self) -> SocketAddrV4 {
        self.to
    }

    /// Sends one command and reads its answer.
    ///
    /// # Errors
    /// An error reply, a broken connection, or no answer within the connector's limit.
    pub async fn query<T: FromRedisValue>(&mut self, cmd: &redis::Cmd) -> Result<T, ClientError> {
        let to = self.to;
        let answer = cmd.query_async(&mut self.inner).await;
        answer.map_err(|source| ClientError::Redis {
            to,
            source: self.reason(source),
        })
    }

    /// As [`Conn::query`], on a connection that several tasks use: commands are sent in the order
    /// of the calls, without waiting for the answers to earlier ones.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn shared_query<T: FromRedisValue>(
        &self,
        cmd: &redis::Cmd,
    ) -> Result<T, ClientError> {
        let mut inner = self.inner.clone();
        let to = self.to;
        let answer = cmd.query_async(&mut inner).await;
        answer.map_err(|source| ClientError::Redis {
            to,
            source: self.reason(source),
        })
    }

    /// Sends several commands at once and returns all answers. An error reply is one of the
    /// answers, not an error of the call.
    ///
    /// # Errors
    /// A broken connection, or no answer within the connector's limit.
    pub async fn pipeline(
        &mut self,
        pipe: &redis::Pipeline,
    ) -> Result<Vec<redis::Value>, RedisError> {
        let answers = self.inner.send_packed_commands(pipe, 0, pipe.len()).await;
        answers.map_err(|error| self.reason(error))
    }

    /// Sends several commands at once. Each of them has to succeed, including those of a
    /// transaction.
    ///
    /// # Errors
    /// The first error reply, a broken connection, or no answer within the connector's limit.
    pub async fn all(&mut self, pipe: &redis::Pipeline) -> Result<Vec<redis::Value>, ClientError> {
        let to = self.to;
        let failed = |source| ClientError::Redis { to, source };
        let mut answers = Vec::new();
        for answer in self.pipeline(pipe).await.map_err(failed)? {
            // An error of one command of a transaction is a value in the answer to `EXEC`.
            answers.push(answer.extract_error().map_err(failed)?);
        }
        Ok(answers)
    }

    /// The refusal of `AUTH` if there was one, else `error`.
    fn reason(&self, error: RedisError) -> RedisError {
        match self.refused.get() {
            Some(why) => (ErrorKind::AuthenticationFailed, "refused", why.clone()).into(),
            None => error,
        }
    }

    /// `ROLE`.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn role(&mut self) -> Result<Role, ClientError> {
        let value: redis::Value = self.query(&redis::cmd("ROLE")).await?;
        Role::from_value(&value).map_err(|source| ClientError::Redis {
            to: self.to,
            source,
        })
    }

    /// `INFO`, as far as it describes the state of a data node.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn info(&mut self) -> Result<ServerInfo, ClientError> {
        let text: String = self.query(redis::cmd("INFO").arg(&SECTIONS)).await?;
        self.read_info(&text)
    }

    /// The same, and a description of the node's data; `None` if the node does not report it, for
    /// example while it loads its data.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn info_and_copy(&mut self) -> Result<(ServerInfo, Option<DataCopy>), ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg(&SECTIONS);
        pipe.cmd("GET").arg(MARK_KEY);
        self.read_info_and_copy(&pipe)
            .await
            .map(|(info, copy, _)| (info, copy))
    }

    /// The same, followed in the same round trip by whether `channel` has a subscriber. A server
    /// that does not report that counts as one without.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn info_copy_and_presence(
        &mut self,
        channel: &str,
    ) -> Result<(ServerInfo, Option<DataCopy>, bool), ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg(&SECTIONS);
        pipe.cmd("GET").arg(MARK_KEY);
        pipe.cmd("PUBSUB").arg("NUMSUB").arg(channel);
        let (info, copy, numsub) = self.read_info_and_copy(&pipe).await?;
        let present = numsub
            .and_then(|numsub| <(String, u64)>::from_redis_value(numsub).ok())
            .is_some_and(|(_, count)| count > 0);
        Ok((info, copy, present))
    }

    /// Sends `pipe`: `INFO`, `GET` of the mark, and one more command at most. Returns the answers.
    async fn read_info_and_copy(
        &mut self,
        pipe: &redis::Pipeline,
    ) -> Result<(ServerInfo, Option<DataCopy>, Option<redis::Value>), ClientError> {
        let to = self.to;
        let answers = self.pipeline(pipe).await;
        let mut answers = answers
            .map_err(|source| ClientError::Redis { to, source })?
            .into_iter();
        let info = answers.next().unwrap_or(redis::Value::Nil);
        let text = info
            .extract_error()
            .and_then(|info| String::from_redis_value(info).map_err(RedisError::from))
            .map_err(|source| ClientError::Redis { to, source })?;
        let info = self.read_info(&text)?;
        let mark = match answers.next() {
            Some(redis::Value::Nil) => Some(None),
            Some(value @ redis::Value::BulkString(_)) => {
                String::from_redis_value(value).ok().map(Some)
            }
            // A node of a version without marks does not permit the command.
            Some(redis::Value::ServerError(error)) if error.code() == "NOPERM" => Some(None),
            _ => None,
        };
        // The keys are counted a moment before the mark is read, so that data is never taken for an
        // empty data set.
        let copy = mark
            .filter(|_| !info.loading)
            .map(|mark| DataCopy::read(info.keys, mark.as_deref()));
        Ok((info, copy, answers.next()))
    }

    fn read_info(&self, text: &str) -> Result<ServerInfo, ClientError> {
        ServerInfo::of(text).ok_or_else(|| ClientError::Redis {
            to: self.to,
            source: (ErrorKind::UnexpectedReturnType, "not an answer to INFO").into(),
        })
    }

    /// The number of subscribers of `channel`.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn subscriber_count(&mut self, channel: &str) -> Result<u64, ClientError> {
        let cmd = redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).clone();
        let (_, count): (String, u64) = self.query(&cmd).await?;
        Ok(count)
    }

    /// The server's id of this connection (`CLIENT ID`).
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn id(&mut self) -> Result<u64, ClientError> {
        self.query(redis::cmd("CLIENT").arg("ID")).await
    }
}
