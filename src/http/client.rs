//! A client that opens one connection for each request.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(at) => at.fmt(f),
            Endpoint::Unix(socket) => socket.display().fmt(f),
        }
    }
}

impl From<SocketAddrV4> for Endpoint {
    fn from(at: SocketAddrV4) -> Self {
        Endpoint::Tcp(at.into())
    }
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status, such as 200.
    pub status: u16,
    /// The content.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed.
    #[error(transparent)]
    Io(io::Error),
    /// The time limit is over.
    #[error("did not answer within {0:?}")]
    TooSlow(Duration),
    /// It is larger than the limit.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// It is not HTTP, or ends early.
    #[error("its answer is not complete HTTP: {0}")]
    Malformed(hyper::Error),
}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        match error.source().and_then(|e| e.downcast_ref::<io::Error>()) {
            // A copy: hyper's error keeps its source.
            Some(source) => HttpError::Io(io::Error::new(source.kind(), source.to_string())),
            None => HttpError::Malformed(error),
        }
    }
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    at: Endpoint,
    /// From the connect to the end of the answer.
    time: Duration,
    /// Maximum size of the content of an answer.
    bytes: usize,
}

impl Client {
    /// A client of the server at `at`, with limits on the time and the size of each answer.
    pub fn new(at: impl Into<Endpoint>, time: Duration, bytes: usize) -> Self {
        let at = at.into();
        Client { at, time, bytes }
    }

    /// `GET` of a path, which may have a query.
    ///
    /// # Errors
    /// When there is no answer within the limits.
    pub async fn get(&self, path: &str) -> Result<Answer, HttpError> {
        self.ask(Request::get(path), String::new()).await
    }

    /// `POST` of JSON, which may be empty, to a path.
    ///
    /// # Errors
    /// When there is no answer within the limits.
    pub async fn post(&self, path: &str, json: String) -> Result<Answer, HttpError> {
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            // hyper omits the header if there is no content; RFC 9110 requires it in a POST.
            .header(CONTENT_LENGTH, json.len());
        self.ask(request, json).await
    }

    async fn ask(&self, request: Builder, body: String) -> Result<Answer, HttpError> {
        let host = match &self.at {
            Endpoint::Tcp(at) => at.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        };
        let request = request
            .header(HOST, host)
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| HttpError::Io(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        let exchange = async {
            match &self.at {
                Endpoint::Tcp(at) => {
                    let stream = TcpStream::connect(at).await.map_err(HttpError::Io)?;
                    exchange(stream, request, self.bytes).await
                }
                Endpoint::Unix(socket) => {
                    let stream = UnixStream::connect(socket).await.map_err(HttpError::Io)?;
                    exchange(stream, request, self.bytes).await
                }
            }
        };
        let answered = timeout(self.time, exchange).await;
        answered.unwrap_or(Err(HttpError::TooSlow(self.time)))
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut to, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(async move {
        let answer = to.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), most).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => HttpError::from(*error),
            Err(error) if error.is::<LengthLimitError>() => HttpError::TooLong(most),
            Err(error) => HttpError::Io(io::Error::other(error)),
        })?;
        let body = body.to_bytes();
        Ok(Answer { status, body })
    });
    tokio::select! {
        answer = &mut answer => return answer,
        // The connection has ended: the answer is complete, or has the error.
        _ = connection => {}
    }
    answer.await
}

/// Blocks until the answer is there, for code that cannot await: outside a runtime, or in a `drop`.
///
/// # Errors
/// Those of the request, and when no thread can be started.
pub fn wait_for<T, F>(exchange: F) -> Result<T, HttpError>
where
    T: Send,
    F: Future<Output = Result<T, HttpError>> + Send,
{
    // A thread that belongs to a runtime cannot block on another one.
    thread::scope(|scope| {
        let asking = || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().map_err(HttpError::Io)?;
            runtime.block_on(exchange)
        };
        let thread = thread::Builder::new().spawn_scoped(scope, asking);
        let panicked = |_| Err(HttpError::Io(io::Error::other("panicked")));
        thread
            .map_err(HttpError::Io)?
            .join()
            .unwrap_or_else(panicked)
    })
}
