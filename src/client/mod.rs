//! Connections to one node: opened from a chosen source address, every step with a time limit.
//!
//! The connections of the crate `redis` that reconnect do so to a fixed address, which is wrong
//! behind Sentinel, and none can choose its source address, which a node needs so that cutting the
//! node off cuts its parent process off with it. So a connection here is one TCP stream, driven by
//! one task that ends with it; who may be primary is decided above, in [`crate::sentinel`].

mod error;
pub(crate) mod guard;
mod info;
mod line;
mod mark;
pub(crate) mod reply;
mod retry;
mod room;
mod roster;
mod snapshot;
mod stream;
mod subscription;
mod tls;
mod tunnel;
mod wire;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::either::Either;

use crate::access::{Login, User};
use crate::config::Lab;
use crate::protocol::WriteError;
use crate::protocol::copy::{Copy, MARK_KEY};

use guard::Guarded;
use retry::Retries;
use stream::Stream;
use tls::Tls;

pub use error::classify;
pub use info::{Copying, ReplicationInfo, Role};
pub use line::Line;
pub use mark::{drawn, set_mark};
pub use room::room_for;
pub use roster::{Held, as_in_roster, first_roster, places, with_members};
pub use snapshot::{Snapshot, SnapshotError};
pub use subscription::{Message, Presence, Subscription};
pub use tls::{TlsError, judge_own};
pub use tunnel::Tunnel;
pub use wire::Wire;

/// What of `INFO` says how a data node is doing.
const SECTIONS: [&str; 5] = [
    "server",
    "clients",
    "replication",
    "persistence",
    "keyspace",
];

/// Why a node could not be reached or did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The TCP connection could not be made.
    #[error("cannot connect to {to}: {why}")]
    Connect {
        /// The node's address.
        to: SocketAddrV4,
        /// What the system said.
        why: String,
    },
    /// The node accepted the connection and then said nothing in time.
    #[error("{to} did not answer within {limit:?}")]
    Silent {
        /// The node's address.
        to: SocketAddrV4,
        /// The limit that passed.
        limit: Duration,
    },
    /// The node answered with an error, or the connection broke.
    #[error("{to}: {}", printable(source))]
    Redis {
        /// The node's address.
        to: SocketAddrV4,
        /// The error as the crate `redis` gives it.
        source: RedisError,
    },
    /// The list of members is of a later version, or damaged.
    #[error("{to}: its list of members is of a later version, or damaged")]
    Members {
        /// The node's address.
        to: SocketAddrV4,
    },
}

impl ClientError {
    /// Whether a list of members was read, and is none that this version reads.
    pub fn is_of_members(&self) -> bool {
        matches!(self, ClientError::Members { .. })
    }

    /// Whether a password was refused or is missing.
    pub fn is_password_error(&self) -> bool {
        crate::report::is_password_error(&self.to_string())
    }
}

/// How nodes are reached: as whom, the source address and the time limits.
#[derive(Debug, Clone)]
pub struct Connector {
    login: Option<Login>,
    tls: Option<Tls>,
    source: Option<Ipv4Addr>,
    /// The own server, by its address, and where it really is.
    here: Option<(SocketAddrV4, Ipv4Addr)>,
    connect_limit: Duration,
    answer_limit: Duration,
    /// Of all clones.
    retries: Retries,
}

/// So many times the limit of an answer is the longest pause before a node is called again that
/// accepts and does not answer.
const LONGEST_PAUSE: u32 = 4;

impl Connector {
    /// A connector to the nodes of `lab`, as `user`, whose connects and answers must each come
    /// within the lab's limit ([`crate::config::Timing::answer_limit`]). After a call that came
    /// to nothing the next one waits (`retry`).
    pub fn new(lab: &Lab, user: User) -> Self {
        let limit = lab.timing.answer_limit();
        Connector {
            login: Login::of(lab, user),
            tls: Tls::of(lab),
            source: None,
            here: lab.here.as_ref().and_then(|here| {
                let node = lab.node(&here.node)?;
                Some((node.socket(), here.listens))
            }),
            connect_limit: limit,
            answer_limit: limit,
            retries: Retries::new(limit * LONGEST_PAUSE),
        }
    }

    /// The same, with limits of at least `limit`: for whoever is in no hurry.
    #[must_use]
    pub fn patient(self, limit: Duration) -> Self {
        let limit = limit.max(self.connect_limit);
        self.within(limit)
    }

    /// The same, with exactly that limit for connects and answers.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self.answer_limit = limit;
        self
    }

    /// The same, with connections that come from `source`.
    pub fn from_source(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same, with another limit for answers (a `WAIT` must be able to run out first).
    #[must_use]
    pub fn with_answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = limit;
        self
    }

    /// How long an answer may take.
    pub fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// Whether a call would wait now, because the last ones came to nothing: for whoever has
    /// something else to do meanwhile.
    pub fn pauses(&self, to: SocketAddrV4) -> bool {
        self.retries.pauses(to)
    }

    /// The server there is another one now: what became of earlier calls says nothing of it.
    pub fn forget(&self, to: SocketAddrV4) {
        self.retries.forget(to);
    }

    async fn stream(&self, to: SocketAddrV4) -> Result<Stream, ClientError> {
        let failed = |why: String| ClientError::Connect {
            to,
            why: with_remedy(why),
        };
        let mut call = self.retries.call(to, self.answer_limit).await;
        let stream = self.tcp(to).await;
        let stream = stream.map_err(|why| {
            call.not_accepted();
            failed(why)
        })?;
        let transport = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => {
                let begun = timeout(self.connect_limit, tls.begin(stream, *to.ip())).await;
                let begun = begun.map_err(|_| {
                    format!(
                        "no TLS within {:?}: was it started without security.tls?",
                        self.connect_limit
                    )
                });
                let begun = begun.and_then(|begun| begun.map_err(|e| e.to_string()));
                begun.map_err(|why| {
                    call.in_vain();
                    failed(why)
                })?
            }
        };
        // With certificates on both sides, what the server thinks of ours is part of its answer; a
        // round trip more, so that the reason of a refusal is told.
        let waits = self.tls.as_ref().is_some_and(Tls::is_mutual);
        let greet = Stream::greet(transport, call, self.login.as_ref(), waits);
        timeout(self.answer_limit, greet)
            .await
            .map_err(|_| ClientError::Silent {
                to,
                limit: self.answer_limit,
            })?
            .map_err(|e| failed(e.to_string()))
    }

    /// The connection alone.
    async fn tcp(&self, to: SocketAddrV4) -> Result<TcpStream, String> {
        let socket = TcpSocket::new_v4().map_err(|e| e.to_string())?;
        if let Some(source) = self.source {
            socket
                .bind(SocketAddr::new(source.into(), 0))
                .map_err(|e| format!("source address {source}: {e}"))?;
        }
        // The own server needs nobody in between, and is judged by its address all the same.
        let at = match self.here {
            Some((own, listens)) if own == to => SocketAddrV4::new(listens, to.port()),
            _ => to,
        };
        let stream = timeout(self.connect_limit, socket.connect(SocketAddr::V4(at)))
            .await
            .map_err(|_| format!("no answer within {:?}", self.connect_limit))?
            .map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(stream)
    }

    /// The certificate that the server at `to` shows, in DER; nothing where it shows none.
    ///
    /// # Errors
    /// When it can't be reached, or shows one that is not to be trusted.
    pub async fn certificate(&self, to: SocketAddrV4) -> Result<Option<Vec<u8>>, ClientError> {
        let stream = self.stream(to).await?;
        Ok(tls::shown(stream.transport()).map(|c| c.to_vec()))
    }

    /// Opens a connection to the server at `to`.
    ///
    /// # Errors
    /// When it can't be reached, or says nothing within the limit.
    pub async fn open(&self, to: SocketAddrV4) -> Result<Conn, ClientError> {
        let stream = self.stream(to).await?;
        let refused = stream.refused();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.answer_limit));
        let info = connection_info();
        let setup = MultiplexedConnection::new_with_config(&info, Guarded::new(stream), config);
        let (inner, driver) = timeout(self.answer_limit, setup)
            .await
            .map_err(|_| ClientError::Silent {
                to,
                limit: self.answer_limit,
            })?
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

    /// Opens a connection that its owner drives.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn open_wire(&self, to: SocketAddrV4) -> Result<Wire, ClientError> {
        Ok(Wire::new(self.stream(to).await?, self.answer_limit))
    }

    /// Subscribes to what is published on the channels of `pattern`.
    ///
    /// # Errors
    /// When the server can't be reached, or does not take it within the limit.
    pub async fn subscribe(
        &self,
        to: SocketAddrV4,
        pattern: &str,
    ) -> Result<Subscription, WriteError> {
        let wire = self.open_wire(to).await.map_err(|_| WriteError::Refused)?;
        Subscription::start(wire, pattern).await
    }

    /// Is present on a channel until it is ended.
    ///
    /// # Errors
    /// As [`Connector::subscribe`].
    pub async fn attend(&self, to: SocketAddrV4, channel: &str) -> Result<Presence, WriteError> {
        let wire = self.open_wire(to).await.map_err(|_| WriteError::Refused)?;
        Presence::start(wire, channel).await
    }
}

/// What a connection says of itself at its start: nothing, which saves a round trip.
fn connection_info() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// What was said, with what helps against the commonest reasons for no connection.
fn with_remedy(why: String) -> String {
    const REMEDIES: [(&str, &str); 2] = [
        ("Too many open files", "; raise the limit: ulimit -n"),
        (
            "max number of clients reached",
            "; close idle connections to it, or raise its maxclients and ulimit -n",
        ),
    ];
    match REMEDIES.iter().find(|(said, _)| why.contains(said)) {
        Some((_, remedy)) => why + remedy,
        None => why,
    }
}

/// What a peer says, fit for a terminal and a log: one line, of a length that can be read.
fn printable(error: &RedisError) -> String {
    const LONGEST: usize = 200;
    let text = error.to_string();
    let text = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    with_remedy(text)
}

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

    /// As [`Conn::query`], while others use the connection too: commands are sent in the order of
    /// the calls, and nobody waits for another's answer before sending.
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

    /// Sends several commands in one go and reads all their answers as they are: an error reply is
    /// a value among them, not an error of the whole.
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

    /// Sends several commands in one go. Each of them has to succeed, those of a transaction
    /// included.
    ///
    /// # Errors
    /// The first error reply, a broken connection, or no answer within the connector's limit.
    pub async fn all(&mut self, pipe: &redis::Pipeline) -> Result<Vec<redis::Value>, ClientError> {
        let to = self.to;
        let failed = |source| ClientError::Redis { to, source };
        let mut answers = Vec::new();
        for answer in self.pipeline(pipe).await.map_err(failed)? {
            // An error of one command of a transaction is a value among the answers of the whole.
            answers.push(answer.extract_error().map_err(failed)?);
        }
        Ok(answers)
    }

    /// Why a command was not answered: that we were refused, where that is so.
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

    /// `INFO replication` and what else of `INFO` says how a data node is doing.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn replication(&mut self) -> Result<ReplicationInfo, ClientError> {
        let text: String = self.query(redis::cmd("INFO").arg(&SECTIONS)).await?;
        self.read_replication(&text)
    }

    /// The same, and what the node holds; the latter is `None` when it does not say, as while it
    /// loads its data.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn holding(&mut self) -> Result<(ReplicationInfo, Option<Copy>), ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg(&SECTIONS);
        pipe.cmd("GET").arg(MARK_KEY);
        self.read_holding(&pipe)
            .await
            .map(|(info, copy, _)| (info, copy))
    }

    /// The same, and after that, in one round trip, whether somebody is present on `channel`. A
    /// server that does not say counts as one on which nobody is.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn holding_and_presence(
        &mut self,
        channel: &str,
    ) -> Result<(ReplicationInfo, Option<Copy>, bool), ClientError> {
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg(&SECTIONS);
        pipe.cmd("GET").arg(MARK_KEY);
        pipe.cmd("PUBSUB").arg("NUMSUB").arg(channel);
        let (info, copy, numsub) = self.read_holding(&pipe).await?;
        let present = numsub
            .and_then(|numsub| <(String, u64)>::from_redis_value(numsub).ok())
            .is_some_and(|(_, count)| count > 0);
        Ok((info, copy, present))
    }

    /// The answers to `INFO`, to the question for the mark, and to one more.
    async fn read_holding(
        &mut self,
        pipe: &redis::Pipeline,
    ) -> Result<(ReplicationInfo, Option<Copy>, Option<redis::Value>), ClientError> {
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
        let info = self.read_replication(&text)?;
        let mark = match answers.next() {
            Some(redis::Value::Nil) => Some(None),
            Some(value @ redis::Value::BulkString(_)) => {
                String::from_redis_value(value).ok().map(Some)
            }
            // A server of a version before there were marks lets nobody ask for one.
            Some(redis::Value::ServerError(error)) if error.code() == "NOPERM" => Some(None),
            _ => None,
        };
        // The keys are counted a moment before the mark is read, so that data is never taken for
        // none.
        let copy = mark
            .filter(|_| !info.loading)
            .map(|mark| Copy::read(info.keys, mark.as_deref()));
        Ok((info, copy, answers.next()))
    }

    fn read_replication(&self, text: &str) -> Result<ReplicationInfo, ClientError> {
        ReplicationInfo::of(text).ok_or_else(|| ClientError::Redis {
            to: self.to,
            source: (ErrorKind::UnexpectedReturnType, "not an answer to INFO").into(),
        })
    }

    /// How many are present on `channel`.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn present(&mut self, channel: &str) -> Result<u64, ClientError> {
        let cmd = redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).clone();
        let (_, count): (String, u64) = self.query(&cmd).await?;
        Ok(count)
    }

    /// What the server calls this connection (`CLIENT ID`).
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn id(&mut self) -> Result<u64, ClientError> {
        self.query(redis::cmd("CLIENT").arg("ID")).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::*;

    /// A lab in a network in which nothing listens.
    fn nobody() -> Lab {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 252]);
        lab.security.acl = false;
        lab
    }

    #[tokio::test]
    async fn who_is_hung_up_on_at_once_calls_a_few_times_a_second_and_not_as_often_as_it_can() {
        let lab = nobody();
        let connector = Connector::new(&lab, User::Node);
        let listener = TcpListener::bind((lab.data_nodes[0].address, 0))
            .await
            .unwrap();
        let SocketAddr::V4(at) = listener.local_addr().unwrap() else {
            panic!("an IPv4 address");
        };
        let calls = async {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3) {
                let role = async { connector.open(at).await?.role().await };
                role.await.unwrap_err();
            }
        };
        let mut taken = 0;
        let hang_up = async {
            loop {
                drop(listener.accept().await.unwrap());
                taken += 1;
            }
        };
        tokio::select! {
            () = calls => {}
            () = hang_up => {}
        }
        // Pauses of 5, 10, 20 ... 1280 and 2000 ms: 2.5 s for nine calls, or half of that with the
        // shortest jitter, and one or two more.
        assert!((8..=12).contains(&taken), "{taken}");
    }

    #[tokio::test]
    async fn a_server_that_listens_again_is_found_at_once() {
        let lab = nobody();
        let connector = Connector::new(&lab, User::Node);
        let at = SocketAddrV4::new(lab.data_nodes[1].address, 6379);
        for _ in 0..50 {
            connector.open(at).await.unwrap_err();
        }
        let begun = Instant::now();
        let _listener = TcpListener::bind(at).await.unwrap();
        connector.open(at).await.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(100));
    }
}
