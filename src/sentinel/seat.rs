//! One Sentinel, asked by one task: a question that nobody waits for any more is answered all the
//! same, so that the connection stays good, and how long this Sentinel takes is known also when it
//! takes longer than the others.

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

/// What a Sentinel is asked.
#[derive(Debug)]
enum Question {
    /// For its view.
    View(oneshot::Sender<Result<SentinelView, ClientError>>),
    /// For a failover from that node, if it names it.
    Failover(SocketAddrV4, oneshot::Sender<Result<String, String>>),
}

/// A Sentinel of the lab.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) node: Node,
    questions: mpsc::UnboundedSender<Question>,
    /// How long the last answer took, in microseconds; 0: there was none.
    usual: Arc<AtomicU64>,
}

/// The side of the task.
struct Asker {
    node: Node,
    primary_name: String,
    connector: Connector,
    conn: Option<Conn>,
    usual: Arc<AtomicU64>,
}

impl Seat {
    pub(super) fn start(
        node: &Node,
        primary_name: &str,
        connector: &Connector,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        // Not bounded: whoever asks waits for one answer, and what nobody waits for is not asked.
        let (questions, asked) = mpsc::unbounded_channel();
        let usual = Arc::new(AtomicU64::new(0));
        let asker = Asker {
            node: node.clone(),
            primary_name: primary_name.to_owned(),
            connector: connector.clone(),
            conn: None,
            usual: usual.clone(),
        };
        tasks.spawn(asker.run(asked));
        Seat {
            node: node.clone(),
            questions,
            usual,
        }
    }

    /// How long its last answer took; `None`: the last question came to nothing.
    pub(super) fn usual(&self) -> Option<Duration> {
        match self.usual.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Its view, by a question that is sent after this call.
    pub(super) async fn view(&self) -> Result<SentinelView, String> {
        let (to, answer) = oneshot::channel();
        let sent = self.questions.send(Question::View(to));
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => answer.map_err(|e| e.to_string()),
            _ => Err("it is not asked any more".into()),
        }
    }

    /// Asks it for a failover from `from`, if it names that one primary.
    pub(super) async fn fail_over(&self, from: SocketAddrV4) -> Result<String, String> {
        let (to, answer) = oneshot::channel();
        let sent = self.questions.send(Question::Failover(from, to));
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => answer,
            _ => Err("it is not asked any more".into()),
        }
    }
}

impl Asker {
    async fn run(mut self, mut questions: mpsc::UnboundedReceiver<Question>) {
        while let Some(question) = questions.recv().await {
            // Whoever asked has gone meanwhile: the answer is given to nobody.
            match question {
                Question::View(to) if !to.is_closed() => drop(to.send(self.view().await)),
                Question::Failover(from, to) if !to.is_closed() => {
                    drop(to.send(self.fail_over(from).await));
                }
                Question::View(_) | Question::Failover(..) => {}
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
        // On the same connection, so that as little time as possible passes in between.
        let conn = self.conn.as_mut().ok_or("no connection")?;
        let mut cmd = redis::cmd("SENTINEL");
        cmd.arg("FAILOVER").arg(&self.primary_name);
        match conn.query::<String>(&cmd).await {
            Ok(_) => Ok(name),
            Err(ClientError::Redis { source, .. }) if source.code() == Some("INPROG") => {
                Ok(format!("{name} (already under way)"))
            }
            Err(error) => {
                self.conn = None;
                Err(format!("{name}: {error}"))
            }
        }
    }
}
