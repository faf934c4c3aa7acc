//! The connection to one Sentinel, owned by one task.
//!
//! The task waits for the answer to a question even if the caller no longer does. So the connection
//! stays usable, and the answer time is known for a Sentinel that is slower than the others.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{ClientError, Conn, Connector};
use crate::config::Node;
use crate::protocol::vote::SentinelView;

use super::reply;

/// A request to the task.
#[derive(Debug)]
enum Request {
    /// The Sentinel's view.
    View(oneshot::Sender<Result<SentinelView, ClientError>>),
    /// A failover from this node, if the Sentinel names it as primary.
    Failover(SocketAddrV4, oneshot::Sender<Result<String, String>>),
}

/// A Sentinel of the lab: the callers' side.
#[derive(Debug)]
pub(super) struct SentinelClient {
    pub(super) node: Node,
    requests: mpsc::UnboundedSender<Request>,
    /// Time of the last answer in microseconds; 0 if there was none.
    usual: Arc<AtomicU64>,
}

/// The task's side.
struct SentinelTask {
    node: Node,
    primary_name: String,
    connector: Connector,
    conn: Option<Conn>,
    usual: Arc<AtomicU64>,
}

impl SentinelClient {
    pub(super) fn start(
        node: &Node,
        primary_name: &str,
        connector: &Connector,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        // Not bounded: each caller waits for one answer, and abandoned requests are skipped.
        let (requests, received) = mpsc::unbounded_channel();
        let usual = Arc::new(AtomicU64::new(0));
        let task = SentinelTask {
            node: node.clone(),
            primary_name: primary_name.to_owned(),
            connector: connector.clone(),
            conn: None,
            usual: usual.clone(),
        };
        tasks.spawn(task.run(received));
        SentinelClient {
            node: node.clone(),
            requests,
            usual,
        }
    }

    /// Time of its last answer; `None` if the last question failed.
    pub(super) fn usual(&self) -> Option<Duration> {
        match self.usual.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Its view, asked after this call.
    pub(super) async fn view(&self) -> Result<SentinelView, String> {
        let (to, answer) = oneshot::channel();
        let sent = self.requests.send(Request::View(to));
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => answer.map_err(|e| e.to_string()),
            _ => Err("its task has ended".into()),
        }
    }

    /// Requests a failover from `from`, if it names that node as primary.
    pub(super) async fn fail_over(&self, from: SocketAddrV4) -> Result<String, String> {
        let (to, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Failover(from, to));
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => answer,
            _ => Err("its task has ended".into()),
        }
    }
}

impl SentinelTask {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        while let Some(request) = requests.recv().await {
            // Sending fails if the caller has stopped waiting meanwhile.
            match request {
                Request::View(to) if !to.is_closed() => drop(to.send(self.view().await)),
                Request::Failover(from, to) if !to.is_closed() => {
                    drop(to.send(self.fail_over(from).await));
                }
                Request::View(_) | Request::Failover(..) => {}
            }
        }
    }

    async fn view(&mut self) -> Result<SentinelView, ClientError> {
        let begun = Instant::now();
        let view = self.ask().await;
        let took = begun.elapsed().as_micros().max(1);
        let usual = view.as_ref().map_or(0, |_| took);
        self.usual
            .store(u64::try_from(usual).unwrap_or(u64::MAX), Ordering::Relaxed);
        view
    }

    async fn ask(&mut self) -> Result<SentinelView, ClientError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open(self.node.socket()).await?,
        };
        let to = conn.peer();
        let mut pipe = redis::pipe();
        pipe.cmd("SENTINEL").arg("MASTER").arg(&self.primary_name);
        pipe.cmd("SENTINEL").arg("REPLICAS").arg(&self.primary_name);
        let answer = conn.pipeline(&pipe).await;
        let view = answer
            .and_then(|values| reply::view(&values))
            .map_err(|source| ClientError::Redis { to, source })?;
        self.conn = Some(conn);
        Ok(view)
    }

    async fn fail_over(&mut self, from: SocketAddrV4) -> Result<String, String> {
        let name = self.node.name.clone();
        let view = self.view().await.map_err(|e| format!("{name}: {e}"))?;
        if view.primary != from {
            return Err(format!("{name} names {} already", view.primary));
        }
        // On the same connection, right after the answer.
        let conn = self.conn.as_mut().ok_or("no connection")?;
        let mut cmd = redis::cmd("SENTINEL");
        cmd.arg("FAILOVER").arg(&self.primary_name);
        match conn.query::<String>(&cmd).await {
            Ok(_) => Ok(name),
            Err(ClientError::Redis { source, .. }) if source.code() == Some("INPROG") => {
                Ok(format!("{name} (already in progress)"))
            }
            Err(error) => {
                self.conn = None;
                Err(format!("{name}: {error}"))
            }
        }
    }
}
