//! A server for a few clients, any of which may be slow, silent or malicious.
//!
//! The limits apply to connections, below the router. A layer of tower (timeout, concurrency limit)
//! applies to a handler: it ends neither a client that does not finish its request nor one that
//! does not read the answer, and it lets excess clients wait. This server closes their connections.
//! Among too many, the oldest gives way to the newest, so that clients that only hold connections
//! keep nobody out.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

/// Longest head of a request; that of Prometheus has about 300 bytes. hyper allows no lower limit.
pub(super) const HEAD_MAX: usize = 8 * 1024;
/// Pause after a connection could not be accepted, most likely because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits for clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From accepting the connection to the end of the answer, unless it is an [`OpenEnd`]. A
    /// connection has one answer.
    pub time: Duration,
    /// Clients at once. For one more, the oldest connection without an [`OpenEnd`] is closed, or
    /// the new one if there is none.
    pub connections: usize,
}

/// Lifts the time limit of an answer: an extension of every request. Such an answer ends when its
/// handler ends it, or when the client has not received any of it for the time of the limit. It is
/// not closed in favour of a new connection.
#[derive(Debug, Clone)]
pub struct OpenEnd(CancellationToken);

impl OpenEnd {
    /// The answer to this request may take any time.
    pub fn lift_limit(&self) {
        self.0.cancel();
    }
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl HttpServer {
    /// Listens on `address` and serves the routes of `router`.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start(address: SocketAddrV4, router: Router, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(HttpServer {
            address: listener.local_addr()?,
            _task: AbortOnDropHandle::new(tokio::spawn(accept(listener, router, limits))),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The connections being served, which end when it is dropped.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// The oldest first. Some may have ended.
    by_age: VecDeque<(AbortHandle, OpenEnd)>,
}

impl Connections {
    /// Makes room for one more connection, if necessary by closing the oldest without an open
    /// end. Returns whether there is room.
    fn make_room(&mut self, most: usize) -> bool {
        self.by_age.retain(|(task, _)| !task.is_finished());
        if self.by_age.len() < most {
            return true;
        }
        let mut ends = self.by_age.iter().map(|(_, open_end)| open_end);
        let oldest = ends.position(|open_end| !open_end.0.is_cancelled());
        let oldest = oldest.and_then(|at| self.by_age.remove(at));
        oldest.is_some_and(|(task, _)| {
            task.abort();
            true
        })
    }

    fn serve(&mut self, stream: TcpStream, from: SocketAddr, router: Router, limit: Duration) {
        let open_end = OpenEnd(CancellationToken::new());
        let answered = answer_within(limit, stream, router, open_end.clone());
        let task = self.tasks.spawn(async move {
            match answered.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%from, %error, "not served by HTTP"),
                Err(_) => debug!(%from, "not served by HTTP: the client is too slow"),
            }
        });
        self.by_age.push_back((task, open_end));
    }
}

/// Accepts connections until it is dropped; they end with it.
async fn accept(listener: TcpListener, router: Router, limits: Limits) {
    let mut connections = Connections::default();
    loop {
        let accepted = tokio::select! {
            // First, or those that have ended could pile up.
            biased;
            Some(_) = connections.tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                if connections.make_room(limits.connections) {
                    connections.serve(stream, from, router.clone(), limits.time);
                }
            }
            Err(error) => {
                debug!(%error, "cannot accept a connection for HTTP");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer_within(
    limit: Duration,
    stream: TcpStream,
    router: Router,
    open_end: OpenEnd,
) -> Result<hyper::Result<()>, Elapsed> {
    // Ends a connection whose client accepts no more data, also if it still acknowledges.
    let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = set_tcp_user_timeout(&stream, limit_ms) {
        debug!(%error, "no limit for clients that read nothing");
    }
    let answered = answer(stream, router.layer(Extension(open_end.clone())));
    let mut answered = pin!(answered);
    match timeout(limit, &mut answered).await {
        Err(_) if open_end.0.is_cancelled() => Ok(answered.await),
        ended => ended,
    }
}

async fn answer(stream: TcpStream, router: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .keep_alive(false)
        // A client may close its side after its request, and still gets the whole answer.
        .half_close(true)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}
