//! Questions to all Sentinels at once, and their events.
//!
//! [`SentinelClients`] keeps one open connection to each Sentinel of the lab, in a `client`.
//! Nothing here relies on a single Sentinel: [`crate::protocol::vote`] judges the answers, and
//! events only trigger a new question.

mod client;
mod events;
pub(crate) mod reply;

use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node};
use crate::protocol::strangers::promotable_strangers;
use crate::protocol::vote::{Elected, NoPrimary, SentinelView, elect};
use crate::report::is_password_error;

use client::SentinelClient;

pub use events::{EVENT_CAPACITY, Event, follow_events};

/// How long to wait for the remaining Sentinels, beyond their usual time, once a majority has
/// answered. A stopped Sentinel refuses at once; only a hung one takes all of this time.
const STRAGGLER_GRACE: Duration = Duration::from_millis(50);

/// All Sentinels of a lab, with an open connection to each.
#[derive(Debug)]
pub struct SentinelClients {
    clients: Vec<SentinelClient>,
    data_nodes: Vec<SocketAddrV4>,
    primary_name: String,
    majority: usize,
    connector: Connector,
    /// One task for each client; they end with it.
    _tasks: JoinSet<()>,
}

/// The answer of one Sentinel, or the reason why there is none.
#[derive(Debug, Clone)]
pub struct SentinelReply {
    /// The Sentinel's name.
    pub sentinel: String,
    /// Its view.
    pub view: Result<SentinelView, String>,
}

/// The answers of all Sentinels in one round.
#[derive(Debug, Clone)]
pub struct Answers {
    /// One for each Sentinel, including those that did not answer in time.
    pub all: Vec<SentinelReply>,
    majority: usize,
}

impl Answers {
    /// The views of the Sentinels that answered.
    pub fn views(&self) -> Vec<SentinelView> {
        self.all
            .iter()
            .filter_map(|a| a.view.as_ref().ok().cloned())
            .collect()
    }

    /// The first error of a refused or missing password.
    fn password_error(&self) -> Option<String> {
        let errors = self.all.iter().filter_map(|a| a.view.as_ref().err());
        errors.into_iter().find(|e| is_password_error(e)).cloned()
    }

    /// The primary that a majority names.
    ///
    /// # Errors
    /// If there is none.
    pub fn elect(&self) -> Result<Elected, NoPrimary> {
        elect(&self.views(), self.all.len(), self.majority).map_err(|none| match none {
            NoPrimary::TooFewAnswers {
                answered,
                asked,
                needed,
                ..
            } => NoPrimary::TooFewAnswers {
                answered,
                asked,
                needed,
                why: self.password_error(),
            },
            other => other,
        })
    }
}

impl SentinelClients {
    /// The Sentinels of `lab`, reached by `connector`; connects at the first question. Must be
    /// called within a runtime.
    pub fn new(lab: &Lab, connector: Connector) -> Self {
        let mut tasks = JoinSet::new();
        let clients = lab.sentinels.iter();
        let clients = clients
            .map(|node| SentinelClient::start(node, &lab.primary_name, &connector, &mut tasks))
            .collect();
        SentinelClients {
            clients,
            data_nodes: lab.data_nodes.iter().map(Node::socket).collect(),
            primary_name: lab.primary_name.clone(),
            majority: lab.majority(),
            connector,
            _tasks: tasks,
        }
    }

    /// The number of Sentinels of a majority.
    pub fn majority(&self) -> usize {
        self.majority
    }

    /// A replica that a Sentinel with this view could promote although it is not a data node of the
    /// lab.
    pub fn promotable_stranger(&self, view: &SentinelView) -> Option<SocketAddrV4> {
        promotable_strangers(view, &self.data_nodes).next()
    }

    /// Why a Sentinel with this view must not be asked for a failover, if so: it must not lead one,
    /// or it could promote a server that is not a data node of the lab.
    pub fn failover_obstacle(&self, view: &SentinelView) -> Option<String> {
        if view.passive {
            return Some("it is not a full member of the lab (halab member list)".to_owned());
        }
        self.promotable_stranger(view).map(|stranger| {
            format!(
                "it could promote {stranger}, which is not a data node of lab.toml; stop that server, \
                 then run halab forget"
            )
        })
    }

    /// Asks all Sentinels at once for their view. Returns when all have answered or failed, or,
    /// once a majority has answered, when the others exceed their usual time by a grace period.
    pub async fn ask(&self) -> Answers {
        self.ask_with_grace(Some(STRAGGLER_GRACE)).await
    }

    /// The same, but waits until each has answered, refused, or exceeded the connector's limits.
    /// For questions on which every Sentinel has a veto.
    pub async fn ask_each(&self) -> Answers {
        self.ask_with_grace(None).await
    }

    async fn ask_with_grace(&self, grace: Option<Duration>) -> Answers {
        let begun = Instant::now();
        let mut pending: FuturesUnordered<_> = self
            .clients
            .iter()
            .enumerate()
            .map(|(i, client)| async move { (i, client.view().await) })
            .collect();
        let mut all: Vec<SentinelReply> = self
            .clients
            .iter()
            .map(|s| SentinelReply {
                sentinel: s.node.name.clone(),
                view: Err("no answer yet".into()),
            })
            .collect();
        let mut answered = vec![false; all.len()];
        let mut views = 0;
        let mut majority_at = None;
        let mut deadline: Option<Instant> = None;
        loop {
            let next = match deadline {
                None => pending.next().await,
                Some(at) => tokio::select! {
                    biased;
                    next = pending.next() => next,
                    () = sleep_until(at) => None,
                },
            };
            let Some((i, view)) = next else { break };
            views += usize::from(view.is_ok());
            if let Some(answer) = all.get_mut(i) {
                answer.view = view;
                answered[i] = true;
            }
            if views >= self.majority
                && let Some(grace) = grace
            {
                let silent = self
                    .clients
                    .iter()
                    .zip(&answered)
                    .filter(|(_, done)| !**done);
                // Twice: a question may have to wait for the answer to an abandoned one.
                let usual = silent.filter_map(|(client, _)| client.usual()).max();
                let usual = begun + usual.unwrap_or_default() * 2;
                let enough = *majority_at.get_or_insert_with(Instant::now);
                deadline = Some(usual.max(enough) + grace);
            }
        }
        Answers {
            all,
            majority: self.majority,
        }
    }

    /// Sends one command to the Sentinel `node`.
    ///
    /// # Errors
    /// If it can't be reached, or answers with an error.
    pub async fn command<T: redis::FromRedisValue>(
        &self,
        node: &Node,
        cmd: &redis::Cmd,
    ) -> Result<T, ClientError> {
        self.connector.open(node.socket()).await?.query(cmd).await
    }

    /// `SENTINEL CKQUORUM` on every Sentinel: whether it reaches the quorum and a majority.
    pub async fn check_quorum(&self) -> Vec<(String, Result<String, String>)> {
        let cmd = redis::cmd("SENTINEL")
            .arg("CKQUORUM")
            .arg(&self.primary_name)
            .clone();
        join_all(self.clients.iter().map(|client| async {
            let answer = self.command::<String>(&client.node, &cmd).await;
            (client.node.name.clone(), answer.map_err(|e| e.to_string()))
        }))
        .await
    }

    /// Requests a failover from `from` without waiting for down-after (`SENTINEL FAILOVER`).
    ///
    /// All Sentinels are asked at once for their primary, so that a silent one delays nothing. Then
    /// one after the other gets the command, until one accepts it, because two commands at once
    /// would start two failovers. A Sentinel that names another primary does not get it: the
    /// command has no node as its argument, and would depose that other primary. Nor does one that
    /// could promote a server that is not of the lab. Returns the name of the Sentinel that
    /// accepted.
    ///
    /// # Errors
    /// The last refusal, if none accepted.
    pub async fn call_failover(&self, from: SocketAddrV4) -> Result<String, String> {
        let mut refusal = "no Sentinel is configured".to_owned();
        let mut left: Vec<&SentinelClient> = self.clients.iter().collect();
        while let Some(client) = self.first_to_name(from, &mut left, &mut refusal).await {
            match client.fail_over(from).await {
                Ok(by) => return Ok(by),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    /// Asks the Sentinels in `left`, all at once, and returns the first one that names `primary`,
    /// so that it gets the command right after its answer. Removes every Sentinel that has answered
    /// from `left`, and notes why one is unsuitable.
    async fn first_to_name<'a>(
        &'a self,
        primary: SocketAddrV4,
        left: &mut Vec<&'a SentinelClient>,
        refusal: &mut String,
    ) -> Option<&'a SentinelClient> {
        let mut asked: FuturesUnordered<_> = left
            .iter()
            .copied()
            .map(|client| async move { (client, client.view().await) })
            .collect();
        while let Some((client, view)) = asked.next().await {
            left.retain(|other| !std::ptr::eq(*other, client));
            let name = &client.node.name;
            match view {
                Ok(view) if view.primary == primary => match self.failover_obstacle(&view) {
                    None => return Some(client),
                    Some(why) => *refusal = format!("{name} is not asked: {why}"),
                },
                Ok(view) => *refusal = format!("{name} names {} already", view.primary),
                Err(error) => *refusal = format!("{name}: {error}"),
            }
        }
        None
    }
}
