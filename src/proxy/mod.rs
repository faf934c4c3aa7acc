//! `halab proxy`: an endpoint that any Redis client uses as one Redis server, with the promise of
//! `halab write`.
//!
//! - An answer is given when all that the command wrote is on every node that could be promoted.
//! - What was read is kept by any later primary, and is not older than the request.
//! - A failover is a pause: the client's connection outlives the primary.
//! - A command that may or may not have been executed ends the client's connection.
//!
//! Parts:
//! - `client`: one client, and the connection to the primary on its behalf
//! - `command`, `answer`: where commands and answers end (pure)
//! - `kind`: what a command does (pure)
//! - `login`: the name with which it is logged in (pure)
//! - `sent`: what is known of a command that was sent, and what becomes of it when the primary
//!   changes
//! - `carried`: the session that is restored on the next primary (pure)
//! - `metrics`: what it counts
//! - `tls`: TLS towards clients
//!
//! Each client has its own connection to the primary, so the state of its session is the server's
//! own. [`crate::confirmation`] asks for all clients together what is confirmed.

mod answer;
mod carried;
mod client;
mod command;
mod kind;
mod login;
mod metrics;
mod sent;
mod tls;

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::access::User;
use crate::client::{Connector, Stream, TlsError};
use crate::config::{Lab, Reads, Unanswered};
use crate::confirmation::{self, LastProblem, Observer, Session, Settings};
use crate::protocol::ack::Policy;

use client::{ClientTask, End};
use metrics::ProxyMetrics;
use tls::{CertificateFiles, RefusedClient};

pub use tls::ClientCertificate;

/// Pause after a connection to the primary that could not be opened.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);
/// Pause after a connection could not be accepted, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for the commands of clients to end after a request to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Settings of a proxy.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// Where it listens.
    pub listen: SocketAddrV4,
    /// When an answer to a read is given.
    pub reads: Reads,
    /// How writes without an answer are treated.
    pub unanswered: Unanswered,
    /// How long a command waits for a primary.
    pub patience: Duration,
    /// Maximum number of clients.
    pub clients: usize,
    /// Maximum bytes of one command.
    pub longest_command: usize,
    /// Acknowledgement policy.
    pub policy: Policy,
    /// Time limit of `WAIT`.
    pub wait_timeout: Duration,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<SocketAddrV4>,
    /// The certificate for clients; `None`: they connect without TLS.
    pub certificate: Option<ClientCertificate>,
}

impl ProxyOptions {
    /// Whether an answer is given without a confirmation, if it `needs_primary`: nobody but the
    /// primary may have given it.
    fn is_unconfirmed(&self, needs_primary: bool) -> bool {
        self.policy == Policy::None || (self.reads == Reads::Local && !needs_primary)
    }
}

/// The state that all clients share.
#[derive(Debug)]
struct Shared {
    /// Without a login: the clients log in.
    connector: Connector,
    /// As the proxy's own user.
    own: Connector,
    /// The names of the applications.
    applications: BTreeSet<String>,
    sessions: watch::Receiver<Option<Arc<Session>>>,
    options: ProxyOptions,
    /// No more commands are read.
    stop: CancellationToken,
    metrics: ProxyMetrics,
}

impl Shared {
    /// Waits for a primary, and connects to it. `None` if there will be none.
    async fn open_primary(&self) -> Option<(Arc<Session>, Stream)> {
        let mut sessions = self.sessions.clone();
        loop {
            let is_active = |s: &Option<Arc<Session>>| s.as_ref().is_some_and(|s| !s.is_over());
            let session = sessions.wait_for(is_active).await.ok()?.clone()?;
            let stream = tokio::select! {
                biased;
                () = session.ended() => continue,
                stream = self.connector.open_stream(session.primary) => stream,
            };
            match stream {
                Ok(stream) => return Some((session, stream)),
                Err(error) => {
                    debug!(%error, "cannot connect to the primary");
                    sleep(CONNECT_PAUSE).await;
                }
            }
        }
    }
}

/// Why a proxy ends early.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It can't listen.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// Where.
        address: SocketAddrV4,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The certificate for clients.
    #[error("cannot serve clients by TLS: {0}")]
    Tls(#[from] TlsError),
    /// A background task has ended.
    #[error("a task of the proxy has ended: {0}")]
    Task(String),
}

/// Counts changes of the primary, and logs its refusals.
#[derive(Debug)]
struct Notes(ProxyMetrics);

impl Observer for Notes {
    fn round_ended(&self, _primary: Option<String>) {}

    fn primary_changed(&self, _node: &str) {
        self.0.primary_changes.inc();
    }

    fn no_primary(&self) {}

    fn refused(&self, why: &str) {
        if self.0.is_new_refusal(why) {
            warn!(error = %why, "the primary refuses the proxy; trying again");
        }
    }
}

/// Serves clients until `stop` is cancelled and their commands are over. `listening` is called with
/// the address once clients can connect.
///
/// # Errors
/// If it can't listen, or a background task ends.
pub async fn run(
    lab: &Lab,
    options: ProxyOptions,
    stop: CancellationToken,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ProxyError> {
    let failed = |source| ProxyError::Listen {
        address: options.listen,
        source,
    };
    let metrics = ProxyMetrics::default();
    let mut background = JoinSet::new();
    let acceptor = match &options.certificate {
        None => None,
        Some(certificate) => {
            let mut files = CertificateFiles::of(lab, certificate)?;
            let (to_listener, acceptor) = watch::channel(files.acceptor(&metrics)?);
            background.spawn(files.follow(to_listener, metrics.clone()));
            Some(acceptor)
        }
    };
    let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
    listening(listener.local_addr().map_err(failed)?);
    let settings = Settings {
        user: User::Proxy,
        policy: options.policy,
        wait_timeout: options.wait_timeout,
    };
    let (to_clients, sessions) = watch::channel(None);
    let _metrics_server = metrics::serve(lab, &options, &metrics, sessions.clone()).await;
    background.spawn(confirmation::run(
        lab.clone(),
        settings,
        to_clients,
        Arc::new(Notes(metrics.clone())),
        LastProblem::default(),
    ));
    let shared = Arc::new(Shared {
        connector: Connector::new(lab, User::Proxy).without_login(),
        own: Connector::new(lab, User::Proxy),
        applications: lab.apps.iter().map(|app| app.name.clone()).collect(),
        sessions,
        options,
        stop: stop.clone(),
        metrics,
    });
    let mut clients = JoinSet::new();
    let result = tokio::select! {
        () = accept(&listener, acceptor.as_ref(), &shared, &mut clients) => Ok(()),
        () = stop.cancelled() => Ok(()),
        Some(ended) = background.join_next() => {
            let why = ended.err().map_or_else(|| "without a reason".to_owned(), |e| e.to_string());
            Err(ProxyError::Task(why))
        }
    };
    drop(listener);
    stop.cancel();
    let (sent_again, unknown) = (
        shared.metrics.sent_again.get(),
        shared.metrics.unknown.get(),
    );
    let primary_changes = shared.metrics.primary_changes.get();
    info!(
        clients = clients.len(),
        primary_changes, sent_again, unknown, "stopping"
    );
    let deadline = Instant::now() + DRAIN_LIMIT;
    loop {
        tokio::select! {
            ended = clients.join_next() => if ended.is_none() {
                break;
            },
            () = sleep_until(deadline) => {
                info!(clients = clients.len(), "stopped with commands that are not over");
                break;
            }
        }
    }
    result
}

/// Accepts clients, by TLS if there is an acceptor.
async fn accept(
    listener: &TcpListener,
    acceptor: Option<&watch::Receiver<TlsAcceptor>>,
    shared: &Arc<Shared>,
    clients: &mut JoinSet<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) if clients.len() >= shared.options.clients => {
                debug!(%from, "refused: the maximum number of clients is reached");
                shared.metrics.clients_refused.inc();
                // With TLS, it would not be understood.
                if acceptor.is_none() {
                    refuse(stream).await;
                }
            }
            Ok((stream, from)) => {
                // Without it, small answers would wait for the client's acknowledgement.
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let acceptor = acceptor.map(|acceptor| acceptor.borrow().clone());
                clients.spawn(serve(shared.clone(), acceptor, stream, from));
            }
            Err(error) => {
                warn!(%error, "cannot accept a client");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one client.
async fn serve(
    shared: Arc<Shared>,
    acceptor: Option<TlsAcceptor>,
    stream: TcpStream,
    from: SocketAddr,
) {
    let stream = match acceptor {
        None => Either::Left(stream),
        Some(acceptor) => {
            let accepted = tokio::select! {
                accepted = tls::accept(acceptor, stream) => accepted,
                () = shared.stop.cancelled() => return,
            };
            match accepted {
                Ok(stream) => stream,
                // Such as a check whether something listens.
                Err(why @ RefusedClient::Closed) => {
                    return debug!(%from, reason = %why, "client refused");
                }
                Err(why) => {
                    shared.metrics.handshakes_failed.inc();
                    return warn!(%from, reason = %why, "client refused");
                }
            }
        }
    };
    match ClientTask::new(shared, stream).run().await {
        End::Closed => debug!(%from, "client closed"),
        end @ End::Broken(_) => debug!(%from, reason = %end, "client disconnected"),
        end => warn!(%from, reason = %end, "client disconnected"),
    }
}

/// Tells a client that there is no room for it.
async fn refuse(mut stream: TcpStream) {
    let text = b"-ERR max number of clients reached\r\n";
    // It fits into the buffer of a new socket.
    let written = tokio::io::AsyncWriteExt::write_all(&mut stream, text);
    let _ = timeout(Duration::from_millis(100), written).await;
}

/// A registry with every metric of a proxy, for the document that lists them.
#[cfg(test)]
pub(crate) fn example_registry() -> prometheus_client::registry::Registry {
    let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
    let (_, sessions) = watch::channel(None);
    metrics::registry(&lab, &example_options(), &ProxyMetrics::default(), sessions)
}

/// Options for tests.
#[cfg(test)]
fn example_options() -> ProxyOptions {
    ProxyOptions {
        listen: SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0),
        reads: Reads::Linearizable,
        unanswered: Unanswered::Disconnect,
        patience: Duration::from_millis(200),
        clients: 1,
        longest_command: 1000,
        policy: Policy::Available,
        wait_timeout: Duration::from_secs(1),
        metrics: None,
        certificate: None,
    }
}
