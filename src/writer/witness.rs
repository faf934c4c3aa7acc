//! Questions of all lanes to the Sentinels, asked together.

use std::net::SocketAddrV4;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::protocol::ack::{NoWitness, witness};
use crate::protocol::vote::Elected;
use crate::sentinel::Panel;

/// One lane's question.
#[derive(Debug)]
struct Question {
    primary: Elected,
    uncovered: Vec<SocketAddrV4>,
    /// When the writes were known to be done and not confirmed.
    since: Instant,
    answer: oneshot::Sender<Result<(), NoWitness>>,
}

/// Asks the Sentinels to bear witness; all lanes that wait share one round of questions.
#[derive(Debug, Clone)]
pub(super) struct Witness(mpsc::Sender<Question>);

impl Witness {
    pub(super) fn start(panel: Arc<Panel>, tasks: &mut JoinSet<()>) -> Self {
        // Lanes wait for their answer, so there are never more questions than lanes.
        let (to, questions) = mpsc::channel(64);
        tasks.spawn(answer(panel, questions));
        Witness(to)
    }

    /// Whether no node of `uncovered` can be promoted over `primary`, as the Sentinels see it now.
    pub(super) async fn ask(
        &self,
        primary: Elected,
        uncovered: Vec<SocketAddrV4>,
        since: Instant,
    ) -> Result<(), NoWitness> {
        let (answer, reply) = oneshot::channel();
        let question = Question {
            primary,
            uncovered,
            since,
            answer,
        };
        if self.0.send(question).await.is_err() {
            return Err(NoWitness::TooFewAnswers);
        }
        reply.await.unwrap_or(Err(NoWitness::TooFewAnswers))
    }
}

async fn answer(panel: Arc<Panel>, mut questions: mpsc::Receiver<Question>) {
    while let Some(first) = questions.recv().await {
        let mut round = vec![first];
        while let Ok(more) = questions.try_recv() {
            round.push(more);
        }
        // After every question of the round was put, so after all their writes.
        let asked = Instant::now();
        let views = panel.ask().await.views();
        for question in round {
            let age = asked.saturating_duration_since(question.since);
            let verdict = witness(
                question.primary,
                &question.uncovered,
                &views,
                panel.majority(),
                age,
            );
            // A lane that has gone away has no use for it.
            let _ = question.answer.send(verdict);
        }
    }
}
