//! Opens connections, with limits and backoff.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::either::Either;

use crate::access::{Account, Login};
use crate::config::Lab;
use crate::protocol::WriteError;

use super::backoff::Backoff;
use super::error::with_remedy;
use super::stream::Stream;
use super::tls::{self, Tls};
use super::{ClientError, Conn, Presence, RawConn, Subscription};

/// How nodes are reached: the user, the source address and the time limits.
#[derive(Debug, Clone)]
pub struct Connector {
    login: Option<Login>,
    tls: Option<Tls>,
    source: Option<Ipv4Addr>,
    /// The node's own server: its address, and the address that it listens on.
    own_server: Option<(SocketAddrV4, Ipv4Addr)>,
    connect_limit: Duration,
    answer_limit: Duration,
    /// Shared by all clones.
    backoff: Backoff,
}

/// Longest pause after connections that were accepted and not answered, in answer limits.
const LONGEST_PAUSE: u32 = 4;

impl Connector {
    /// A connector to the nodes of `lab`, as `user`. Each connect and each answer must come within
    /// the lab's limit ([`crate::config::Timing::answer_limit`]). After a connection without an
    /// answer the next one waits (`backoff`).
    pub fn new(lab: &Lab, user: impl Into<Account>) -> Self {
        let limit = lab.timing.answer_limit();
        Connector {
            login: Login::of(lab, user),
            tls: Tls::of(lab),
            source: None,
            own_server: lab.forwarded.as_ref().and_then(|own| {
                let node = lab.node(&own.node)?;
                Some((node.socket(), own.listens))
            }),
            connect_limit: limit,
            answer_limit: limit,
            backoff: Backoff::new(limit * LONGEST_PAUSE),
        }
    }

    /// A connector to the proxy of `lab`, without a login. Connections to its address in `lab.toml`
    /// go to `listens`, and the certificate is checked against the former.
    pub fn to_proxy(lab: &Lab, listens: SocketAddrV4) -> Self {
        let limit = lab.timing.answer_limit();
        let address = SocketAddrV4::new(*lab.proxy_socket().ip(), listens.port());
        Connector {
            login: None,
            tls: Tls::of(lab).filter(|_| lab.proxy_uses_tls()),
            source: None,
            own_server: Some((address, *listens.ip())),
            connect_limit: limit,
            answer_limit: limit,
            backoff: Backoff::new(limit * LONGEST_PAUSE),
        }
    }

    /// The same, with limits of at least `limit`, for callers that can wait.
    #[must_use]
    pub fn with_min_limit(self, limit: Duration) -> Self {
        let limit = limit.max(self.connect_limit);
        self.with_limit(limit)
    }

    /// The same, with exactly this limit for connects and answers.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self.answer_limit = limit;
        self
    }

    /// The same, with connections that come from `source`.
    pub fn from_source(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same, without a login: the user of the connection logs in.
    #[must_use]
    pub fn without_login(mut self) -> Self {
        self.login = None;
        self
    }

    /// The same, with another limit for answers, which must be longer than the limit of a `WAIT`.
    #[must_use]
    pub fn with_answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = limit;
        self
    }

    /// The time limit of an answer.
    pub fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// Whether a connection to this node would have to wait now, after connections without an
    /// answer.
    pub fn is_backing_off(&self, to: SocketAddrV4) -> bool {
        self.backoff.is_waiting(to)
    }

    /// Forgets earlier connections without an answer: another server listens there now.
    pub fn reset_backoff(&self, to: SocketAddrV4) {
        self.backoff.reset(to);
    }

    /// Opens a connection for bytes as they are.
    ///
    /// # Errors
    /// If the server can't be reached.
    pub async fn open_stream(&self, to: SocketAddrV4) -> Result<Stream, ClientError> {
        self.stream(to).await
    }

    /// Opens a stream: connected, encrypted where the lab uses TLS, and with `AUTH` sent.
    pub(super) async fn stream(&self, to: SocketAddrV4) -> Result<Stream, ClientError> {
        let failed = |why: String| ClientError::Connect {
            to,
            why: with_remedy(why),
        };
        let mut attempt = self.backoff.attempt(to, self.answer_limit).await;
        let stream = self.tcp(to).await;
        let stream = stream.map_err(|error| {
            match error.kind() {
                io::ErrorKind::ConnectionRefused => attempt.refused(),
                io::ErrorKind::ConnectionReset => attempt.failed(),
                _ => attempt.unreachable(),
            }
            failed(error.to_string())
        })?;
        let transport = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => {
                let handshake = tls.handshake(stream, *to.ip());
                let done = timeout(self.connect_limit, handshake).await;
                let done = done.map_err(|_| {
                    format!(
                        "no TLS handshake within {:?}; check that it was started with security.tls",
                        self.connect_limit
                    )
                });
                let done = done.and_then(|done| done.map_err(|e| e.to_string()));
                done.map_err(|why| {
                    attempt.failed();
                    failed(why)
                })?
            }
        };
        // With mutual TLS, a server rejects our certificate only in its first answer. So wait for
        // it, one more round trip, to report the reason.
        let waits = self.tls.as_ref().is_some_and(Tls::is_mutual);
        let start = Stream::start(transport, attempt, self.login.as_ref(), waits);
        timeout(self.answer_limit, start)
            .await
            .map_err(|_| ClientError::Silent {
                to,
                limit: self.answer_limit,
            })?
            .map_err(|e| failed(e.to_string()))
    }

    /// Opens the TCP connection.
    async fn tcp(&self, to: SocketAddrV4) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = self.source {
            socket
                .bind(SocketAddr::new(source.into(), 0))
                .map_err(|e| io::Error::new(e.kind(), format!("source address {source}: {e}")))?;
        }
        // This node's server is reached directly, but its certificate is checked against its
        // address.
        let at = match self.own_server {
            Some((own, listens)) if own == to => SocketAddrV4::new(listens, to.port()),
            _ => to,
        };
        let stream = timeout(self.connect_limit, socket.connect(SocketAddr::V4(at))).await;
        let stream = stream.map_err(|_| {
            let why = format!("no answer within {:?}", self.connect_limit);
            io::Error::new(io::ErrorKind::TimedOut, why)
        })??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The certificate that the server at `to` presents, in DER; `None` without TLS.
    ///
    /// # Errors
    /// If the server can't be reached, or its certificate is invalid.
    pub async fn certificate(&self, to: SocketAddrV4) -> Result<Option<Vec<u8>>, ClientError> {
        let stream = self.stream(to).await?;
        Ok(tls::peer_certificate(stream.transport()).map(|c| c.to_vec()))
    }

    /// Opens a connection to the server at `to`.
    ///
    /// # Errors
    /// If the server can't be reached, or does not answer within the limit.
    pub async fn open(&self, to: SocketAddrV4) -> Result<Conn, ClientError> {
        Conn::start(self.stream(to).await?, to, self.answer_limit).await
    }

    /// Opens a connection that is driven by its owner.
    ///
    /// # Errors
    /// If the server can't be reached.
    pub async fn open_raw(&self, to: SocketAddrV4) -> Result<RawConn, ClientError> {
        Ok(RawConn::new(self.stream(to).await?, self.answer_limit))
    }

    /// Subscribes to the channels that match `pattern`.
    ///
    /// # Errors
    /// If the server can't be reached, or does not accept the subscription within the limit.
    pub async fn subscribe(
        &self,
        to: SocketAddrV4,
        pattern: &str,
    ) -> Result<Subscription, WriteError> {
        let conn = self.open_raw(to).await.map_err(|_| WriteError::Refused)?;
        Subscription::start(conn, pattern).await
    }

    /// Subscribes to `channel` so that others see the subscription, until it is ended.
    ///
    /// # Errors
    /// As [`Connector::subscribe`].
    pub async fn attend(&self, to: SocketAddrV4, channel: &str) -> Result<Presence, WriteError> {
        let conn = self.open_raw(to).await.map_err(|_| WriteError::Refused)?;
        Presence::start(conn, channel).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::access::User;

    /// A lab in a network in which nothing listens.
    fn unreachable_lab() -> Lab {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 252]);
        lab.security.acl = false;
        lab
    }

    /// A server of that lab, at any port.
    async fn listening(lab: &Lab) -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind((lab.data_nodes[0].address, 0))
            .await
            .unwrap();
        let SocketAddr::V4(at) = listener.local_addr().unwrap() else {
            panic!("an IPv4 address");
        };
        (listener, at)
    }

    /// How many connections a server accepts within 3 s that closes each at once, from a client
    /// that repeats `attempt`.
    async fn accepted_in_3_s(
        close: fn(TcpStream),
        attempt: impl AsyncFn(&Connector, SocketAddrV4),
    ) -> u32 {
        let lab = unreachable_lab();
        let connector = Connector::new(&lab, User::Node);
        let (listener, at) = listening(&lab).await;
        let attempts = async {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3) {
                attempt(&connector, at).await;
            }
        };
        let mut accepted = 0;
        let server = async {
            loop {
                close(listener.accept().await.unwrap().0);
                accepted += 1;
            }
        };
        tokio::select! {
            () = attempts => {}
            () = server => {}
        }
        accepted
    }

    /// Pauses of 5, 10, 20 ... 1280 and 2000 ms: nine attempts take 2.5 s, or half of that with the
    /// shortest jitter; then one or two more.
    const FEW: std::ops::RangeInclusive<u32> = 8..=12;

    #[tokio::test]
    async fn connections_that_are_closed_at_once_are_repeated_only_a_few_times_a_second() {
        let accepted = accepted_in_3_s(drop, async |connector, at| {
            let role = async { connector.open(at).await?.role().await };
            role.await.unwrap_err();
        });
        let accepted = accepted.await;
        assert!(FEW.contains(&accepted), "{accepted}");
    }

    #[tokio::test]
    async fn so_are_connections_that_are_reset_while_commands_are_sent() {
        let reset = |stream: TcpStream| stream.set_zero_linger().unwrap();
        let accepted = accepted_in_3_s(reset, async |connector, at| {
            // The reset may come before the first answer to AUTH, or before AUTH.
            let Ok(mut conn) = connector.open_raw(at).await else {
                return;
            };
            loop {
                conn.push(&[b"PING"]);
                if conn.send().await.is_err() {
                    return;
                }
            }
        });
        let accepted = accepted.await;
        assert!(FEW.contains(&accepted), "{accepted}");
    }

    #[tokio::test]
    async fn what_was_not_sent_is_dropped_with_the_connection() {
        let lab = unreachable_lab();
        let connector = Connector::new(&lab, User::Node);
        let (listener, at) = listening(&lab).await;
        for drops in [false, true] {
            let mut stream = connector.open_stream(at).await.unwrap();
            let (mut accepted, _) = listener.accept().await.unwrap();
            // Until the kernel takes no more: the server does not read.
            let mut written = 0;
            let chunk = [b'x'; 64 * 1024];
            while let Ok(more) = timeout(Duration::from_millis(200), stream.write(&chunk)).await {
                written += more.unwrap();
            }
            if drops {
                stream.drop_unsent();
            }
            drop(stream);
            let mut received = Vec::new();
            let read = accepted.read_to_end(&mut received).await;
            assert_eq!(read.is_err(), drops, "{read:?}");
            assert_eq!(received.len() < written, drops);
        }
    }

    #[tokio::test]
    async fn a_server_that_listens_again_is_found_at_once() {
        let lab = unreachable_lab();
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
