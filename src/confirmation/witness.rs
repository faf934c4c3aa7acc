//! Questions to the witnesses: the Sentinels, and the data nodes that have not confirmed.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, maybe_done, select};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::client::{Conn, Connector, ReconnectingConn, ServerInfo};
use crate::protocol::ack::{
    ASSURANCE_CHANNEL, Evidence, NoWitness, UncoveredWrites, witness, witness_promoted,
};
use crate::protocol::copy::{DataCopy, Mark, Relation};
use crate::protocol::vote::{Elected, SentinelView};
use crate::sentinel::SentinelClients;

/// Pause before the Sentinels are asked again while a data node has not answered.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A question about writes that the primary has answered.
#[derive(Debug)]
pub(super) enum WitnessQuestion {
    /// Whether none of the nodes that have not confirmed them can be promoted.
    Elected(UncoveredWrites),
    /// Whether `old` follows `new`, which was promoted in its place and has `mark`.
    Promoted {
        old: Elected,
        new: SocketAddrV4,
        mark: Box<Mark>,
    },
}

impl WitnessQuestion {
    /// The data nodes whose own reports matter.
    fn nodes(&self) -> &[SocketAddrV4] {
        match self {
            WitnessQuestion::Elected(case) => &case.uncovered,
            WitnessQuestion::Promoted { old, .. } => std::slice::from_ref(&old.address),
        }
    }
}

/// Asks the witnesses.
#[derive(Debug)]
pub(super) struct Witness {
    panel: Arc<SentinelClients>,
    connector: Connector,
    raise_limit: Duration,
    /// Connections to the data nodes that were asked.
    conns: Mutex<HashMap<SocketAddrV4, Arc<Mutex<ReconnectingConn>>>>,
}

/// A data node's report about itself.
#[derive(Debug)]
struct SelfReport {
    node: SocketAddrV4,
    info: ServerInfo,
    copy: Option<DataCopy>,
    /// It gives the assurance that it can't be promoted.
    assured: bool,
}

impl Witness {
    pub(super) fn new(
        panel: Arc<SentinelClients>,
        connector: Connector,
        raise_limit: Duration,
    ) -> Self {
        Witness {
            panel,
            connector,
            raise_limit,
            conns: Mutex::default(),
        }
    }

    /// Asks about writes that were known to be executed at `since`.
    pub(super) async fn ask(
        &self,
        question: &WitnessQuestion,
        since: Instant,
    ) -> Result<(), NoWitness> {
        let reports = question.nodes().iter().map(|node| self.self_report(*node));
        let mut reports = pin!(maybe_done(join_all(reports)));
        loop {
            let age = Instant::now().saturating_duration_since(since);
            let asked = pin!(self.panel.ask_each());
            let answers = match select(asked, reports.as_mut()).await {
                Either::Left((answers, _)) => answers,
                Either::Right(((), answers)) => answers.await,
            };
            let views = answers.views();
            // The report of a lost node takes until its time limit. Often the Sentinels' answers
            // are enough, and they may learn more about that node meanwhile.
            let received = reports.as_mut().output_mut().map(|all| all.as_slice());
            let verdict = self.judge(question, &views, received.unwrap_or_default(), age);
            if verdict.is_ok() || received.is_some() {
                return verdict;
            }
            if timeout(ASK_AGAIN, reports.as_mut()).await.is_ok()
                && let Some(received) = reports.as_mut().output_mut()
            {
                return self.judge(question, &views, received, age);
            }
        }
    }

    fn judge(
        &self,
        question: &WitnessQuestion,
        views: &[SentinelView],
        reports: &[Option<SelfReport>],
        age: Duration,
    ) -> Result<(), NoWitness> {
        // A stranger could become primary without the writes.
        let stranger = |view| self.panel.promotable_stranger(view);
        if let Some(stranger) = views.iter().find_map(stranger) {
            return Err(NoWitness::Promotable(stranger));
        }
        // Only the reports of replicas that are not promotable matter.
        let not_promotable = || {
            let received = reports.iter().flatten();
            received.filter(|report| !report.info.is_primary && report.info.priority == 0)
        };
        // Without the assurance, a raise may be in progress with an offset before the writes.
        let assured = || not_promotable().filter(|report| report.assured);
        let assured_nodes: Vec<SocketAddrV4> = assured().map(|report| report.node).collect();
        let evidence = Evidence {
            views,
            majority: self.panel.majority(),
            assured: &assured_nodes,
            age,
            raise_limit: self.raise_limit,
        };
        match question {
            WitnessQuestion::Elected(case) => witness(case, evidence),
            WitnessQuestion::Promoted { old, new, mark } => {
                // An old primary that was promoted itself, and demoted before it was announced,
                // would decide by its own copy. One that is loading has the copy of the new one, or
                // none.
                let new_copy = DataCopy::Marked(mark.clone());
                let gives_way = |report: &&SelfReport| {
                    let copy = report.copy.as_ref();
                    report.info.loading
                        || copy.is_some_and(|c| c.against(&new_copy, true) == Relation::More)
                };
                let mut old_reports = assured().filter(|report| report.node == old.address);
                let follows = old_reports
                    .find(gives_way)
                    .and_then(|report| report.info.primary);
                witness_promoted(*old, *new, follows, evidence)
            }
        }
    }

    /// A data node's report about itself; `None` if it does not answer.
    async fn self_report(&self, node: SocketAddrV4) -> Option<SelfReport> {
        let new = || ReconnectingConn::new(node, self.connector.clone());
        let reconnecting = self
            .conns
            .lock()
            .await
            .entry(node)
            .or_insert_with(|| Arc::new(Mutex::new(new())))
            .clone();
        let mut reconnecting = reconnecting.lock().await;
        // Taken out while in use: an abandoned question drops its connection.
        let answer = match reconnecting.take() {
            Some(mut conn) => ask_node(&mut conn).await.map(|reported| (conn, reported)),
            None => None,
        };
        // The server may have restarted or changed its role: try a new connection.
        let (conn, (info, copy, assured)) = match answer {
            Some(answer) => answer,
            None => {
                reconnecting.conn().await.ok()?;
                let mut conn = reconnecting.take()?;
                let reported = ask_node(&mut conn).await?;
                (conn, reported)
            }
        };
        reconnecting.put(conn);
        Some(SelfReport {
            node,
            info,
            copy,
            assured,
        })
    }
}

async fn ask_node(conn: &mut Conn) -> Option<(ServerInfo, Option<DataCopy>, bool)> {
    conn.info_copy_and_presence(ASSURANCE_CHANNEL).await.ok()
}
