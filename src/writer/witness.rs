//! Questions of all lanes to the Sentinels, asked together.

use std::net::SocketAddrV4;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Connector, Role};
use crate::protocol::ack::{NoWitness, witness, witness_promoted};
use crate::protocol::vote::Elected;
use crate::sentinel::Panel;

/// One lane's question.
#[derive(Debug)]
struct Question {
    about: About,
    answer: oneshot::Sender<Result<(), NoWitness>>,
}

/// What is asked about writes that have been answered.
#[derive(Debug)]
pub(super) enum About {
    /// Whether no node of `uncovered` can be promoted over `primary`.
    Elected {
        primary: Elected,
        uncovered: Vec<SocketAddrV4>,
        /// When the writes were known to be done and not confirmed.
        since: Instant,
    },
    /// Whether `old` has submitted to `new`, which was promoted over it.
    Promoted { old: Elected, new: SocketAddrV4 },
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

    /// Asks, and waits for the answer as things are now.
    pub(super) async fn ask(&self, about: About) -> Result<(), NoWitness> {
        let (answer, reply) = oneshot::channel();
        if self.0.send(Question { about, answer }).await.is_err() {
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
        let old = round.iter().find_map(|q| match &q.about {
            About::Promoted { old, .. } => Some(old.address),
            About::Elected { .. } => None,
        });
        let (answers, follows) = tokio::join!(panel.ask(), whom_it_follows(old, connector));
        let views = answers.views();
        for question in round {
            let verdict = match &question.about {
                About::Elected {
                    primary,
                    uncovered,
                    since,
                } => {
                    let age = asked.saturating_duration_since(*since);
                    witness(*primary, uncovered, &views, panel.majority(), age)
                }
                About::Promoted { old: node, new } => {
                    // Only the node that was asked can have answered.
                    let follows = follows.filter(|_| old == Some(node.address));
                    witness_promoted(*node, *new, follows, &views, panel.majority())
                }
            };
            // A lane that has gone away has no use for it.
            let _ = question.answer.send(verdict);
        }
    }
}

/// Whose replica the node says it is.
async fn whom_it_follows(node: Option<SocketAddrV4>, connector: Connector) -> Option<SocketAddrV4> {
    let mut conn = connector.open(node?).await.ok()?;
    match conn.role().await {
        Ok(Role::Replica { of, .. }) => Some(of),
        _ => None,
    }
}
