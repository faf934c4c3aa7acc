//! Serves a registry of metrics over HTTP, for Prometheus.
//!
//! One path, `/metrics`, and for a node a second one, `/status`; one answer a connection. A client may be slow, silent or malicious, and there may
//! be many: each gets [`CONNECTION_LIMIT`] in all and [`REQUEST_MAX`] bytes to ask with, and beyond
//! [`CONNECTIONS_MAX`] at once they are turned away. Nothing here waits for them: what is measured goes on.
//! What is measured is with those who measure it (`node`, `writer`). One that comes and goes tells Prometheus in a
//! file that there is somebody to ask (`target`).

mod request;
mod target;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use request::{Request, parse};
use target::Told;

pub use target::Target;

/// How long one client may take, from its connection to the end of its answer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);
/// Clients at once; Prometheus is one.
const CONNECTIONS_MAX: usize = 16;
/// The longest request; Prometheus' has some 300 bytes.
const REQUEST_MAX: usize = 8 * 1024;
/// Pause after a connection could not be accepted, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What `encode` writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Makes the text of a page at each request, without waiting for anything.
pub type Page = Box<dyn Fn() -> String + Send + Sync>;

/// What is served.
struct Pages {
    registry: Registry,
    status: Option<Page>,
}

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
    told: Option<Told>,
}

impl MetricsServer {
    /// Listens on `address` and serves what is in `registry` at the time of each request.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn start(address: SocketAddrV4, registry: Registry) -> io::Result<Self> {
        Self::start_with(address, registry, None).await
    }

    /// The same, and what `status` returns at `/status`, as JSON.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn start_with(
        address: SocketAddrV4,
        registry: Registry,
        status: Option<Page>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let pages = Arc::new(Pages { registry, status });
        let task = tokio::spawn(accept(listener, pages));
        Ok(MetricsServer {
            address,
            _task: AbortOnDropHandle::new(task),
            told: None,
        })
    }

    /// Tells Prometheus in a file, until it is dropped.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn tell(&mut self, target: &Target) -> io::Result<()> {
        self.told = Told::tell(target, self.address)?;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Accepts for ever. The connections end with it.
async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            // Turned away: whoever has come first is served within the limit.
            Ok(_) if connections.len() >= CONNECTIONS_MAX => {}
            Ok((stream, from)) => {
                let pages = pages.clone();
                connections.spawn(async move {
                    match timeout(CONNECTION_LIMIT, answer(stream, &pages)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => debug!(%from, %error, "metrics not served"),
                        Err(_) => debug!(%from, "metrics not served: the client is too slow"),
                    }
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept a connection for metrics");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    let mut asked = Vec::with_capacity(512);
    let request = loop {
        match parse(&asked) {
            Request::Incomplete if asked.len() >= REQUEST_MAX => break Request::TooLong,
            Request::Incomplete => {}
            complete => break complete,
        }
        let room = REQUEST_MAX - asked.len();
        let read = (&mut stream).take(room as u64).read_buf(&mut asked).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let page = pages.status.as_ref();
    let (status, content_type, body) = match (request, page) {
        (Request::Metrics, _) => {
            let mut text = String::with_capacity(8 * 1024);
            encode(&mut text, &pages.registry).map_err(io::Error::other)?;
            ("200 OK", CONTENT_TYPE, text)
        }
        (Request::Status, Some(page)) => ("200 OK", "application/json", page()),
        (other, _) => (
            other.refusal(),
            "text/plain; charset=utf-8",
            "metrics are at /metrics\n".to_owned(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
