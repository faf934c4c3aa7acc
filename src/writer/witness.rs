//! Questions of all lanes to the Sentinels, asked together.

use std::net::SocketAddrV4;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Connector, ReplicationInfo};
use crate::protocol::ack::{Degraded, NoWitness, Testimony, witness, witness_promoted};
use crate::protocol::vote::Elected;
use crate::sentinel::Panel;

/// One lane's question.
#[derive(Debug)]
struct Question {
    about: About,
    /// When the writes were known to be done and not confirmed.
    since: Instant,
    answer: oneshot::Sender<Result<(), NoWitness>>,
}

/// What is asked about writes that have been answered.
#[derive(Debug)]
pub(super) enum About {
    /// Whether no node that has not confirmed them can be promoted.
    Elected(Degraded),
    /// Whether `old` has submitted to `new`, which was promoted over it.
    Promoted { old: Elected, new: SocketAddrV4 },
}

impl About {
    /// The data nodes whose own word matters.
    fn nodes(&self) -> &[SocketAddrV4] {
        match self {
            About::Elected(case) => &case.uncovered,
            About::Promoted { old, .. } => std::slice::from_ref(&old.address),
        }
    }
}

/// Asks the Sentinels to bear witness; all lanes that wait share one round of questions.
#[derive(Debug, Clone)]
pub(super) struct Witness(mpsc::Sender<Question>);

impl Witness {
    pub(super) fn start(panel: Arc<Panel>, connector: Connector, tasks: &mut JoinSet<()>) -> Self {
        // Lanes wait for their answer, so there are never more questions than lanes.
        let (to, questions) = mpsc::channel(64);
        tasks.spawn(answer(panel, connector, questions));
        Witness(to)
    }

    /// Asks about writes that were known to be done at `since`, and waits for the answer.
    pub(super) async fn ask(&self, about: About, since: Instant) -> Result<(), NoWitness> {
        let (answer, reply) = oneshot::channel();
        if self
            .0
            .send(Question {
                about,
                since,
                answer,
            })
            .await
            .is_err()
        {
            return Err(NoWitness::TooFewAnswers);
        }
        reply.await.unwrap_or(Err(NoWitness::TooFewAnswers))
    }
}

async fn answer(panel: Arc<Panel>, connector: Connector, mut questions: mpsc::Receiver<Question>) {
    while let Some(first) = questions.recv().await {
        let mut round = vec![first];
        while let Ok(more) = questions.try_recv() {
            round.push(more);
        }
        // After every question of the round was put, so after all their writes.
        let asked = Instant::now();
        let mut nodes: Vec<SocketAddrV4> = round
            .iter()
            .flat_map(|q| q.about.nodes())
            .copied()
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        let words = join_all(nodes.iter().map(|node| own_word(*node, connector)));
        let (answers, words) = tokio::join!(panel.ask_each(), words);
        let views = answers.views();
        let not_promotable: Vec<SocketAddrV4> = words
            .iter()
            .flatten()
            .filter(|(_, info)| !info.is_primary && info.priority == 0)
            .map(|(node, _)| *node)
            .collect();
        for question in round {
            let heard = Testimony {
                views: &views,
                majority: panel.majority(),
                own_word: &not_promotable,
                age: asked.saturating_duration_since(question.since),
            };
            let verdict = match &question.about {
                About::Elected(case) => witness(case, heard),
                About::Promoted { old, new } => {
                    let word = words
                        .iter()
                        .flatten()
                        .find(|(node, _)| *node == old.address);
                    let submitted = word.filter(|(_, i)| !i.is_primary && i.priority == 0);
                    let follows = submitted.and_then(|(_, info)| info.primary);
                    witness_promoted(*old, *new, follows, heard)
                }
            };
            // A lane that has gone away has no use for it.
            let _ = question.answer.send(verdict);
        }
    }
}

/// What a data node says of itself; a dead one says nothing.
async fn own_word(
    node: SocketAddrV4,
    connector: Connector,
) -> Option<(SocketAddrV4, ReplicationInfo)> {
    let mut conn = connector.open(node).await.ok()?;
    Some((node, conn.replication().await.ok()?))
}
