//! The keeper: the connection that asks the primary what is confirmed, for all write connections.
//!
//! The keeper opens it as soon as discovery has a target; write connections are opened only after
//! that. So every write of the session is later than this connection, which a change of role or the
//! end of the server would close. The keeper first reads the list of members: whose confirmation
//! counts, and which Sentinels are asked. If the members are not those for which it was started, it
//! reports that and ends. Each round asks `ROLE` and `PUBLISH`, once for all batches in flight, and
//! waits for the other data nodes to pass the message on; if they do not, it also asks `WAIT` and
//! `ROLE`. While not every other data node confirms, it asks the Sentinels too. The rules are in
//! [`crate::protocol::ack`].

use std::net::SocketAddrV4;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, trace};

use crate::client::{Connector, RawConn, ServerInfo};
use crate::config::Node;
use crate::protocol::WriteError;
use crate::protocol::ack::{
    Coverage, NoWitness, Policy, UncoveredWrites, not_followed_beyond, replicated_up_to,
};
use crate::protocol::copy::{Completeness, MARK_KEY, Mark};
use crate::protocol::member_list::MEMBER_LIST_KEY;
use crate::protocol::vote::Elected;

use super::discovery::{Discovery, PrimaryStatus, WriteTarget};
use super::keeper_round::{Shown, ask};
use super::listener::listen;
use super::members::Membership;
use super::round::{parse_primary, random_channel, text_of};
use super::session::Session;
use super::witness::{Witness, WitnessQuestion};
use super::{REFUSED_PAUSE, Settings, SharedObserver};

/// Pause before the next round if a batch could not be acknowledged.
const PAUSE: Duration = Duration::from_millis(10);

/// The session in use, for the write connections.
pub type Sessions = watch::Receiver<Option<Arc<Session>>>;

/// Runs one session after the other.
#[derive(Debug)]
pub(super) struct Keeper {
    /// All data nodes; those that are not the target have to confirm.
    nodes: Vec<Node>,
    membership: Membership,
    policy: Policy,
    wait_ms: String,
    connector: Connector,
    discovery: Discovery,
    witness: Witness,
    observer: SharedObserver,
}

/// The keeper's side of one session.
struct KeeperSession {
    target: WriteTarget,
    conn: RawConn,
    session: Arc<Session>,
    coverage: Coverage,
    /// Number of batches that the last settled question covered, in either form.
    covered: u64,
    open: Option<Question>,
}

/// Batches that not every other data node has confirmed.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// The round in which it was first asked.
    round: u64,
    /// All of them are at or before this offset.
    offset: u64,
    /// Number of batches answered in this session, including these.
    answered: u64,
    /// When they were first known to be written and not confirmed.
    since: Instant,
}

/// Why a session ends.
#[derive(Debug)]
enum SessionEnd {
    /// Another node is primary, or this one was elected again.
    Superseded,
    /// A write connection was lost or refused.
    ByConnection,
    Failed(WriteError),
}

impl Keeper {
    pub(super) fn start(
        membership: &Membership,
        settings: &Settings,
        connector: Connector,
        (discovery, witness): (Discovery, Witness),
        observer: SharedObserver,
        tasks: &mut JoinSet<()>,
    ) {
        let lab = &membership.lab;
        let limit = settings.wait_limit(&connector);
        let keeper = Keeper {
            nodes: lab.data_nodes.clone(),
            membership: membership.clone(),
            policy: settings.policy,
            wait_ms: settings.wait_ms(),
            connector: connector.with_answer_limit(limit),
            discovery,
            witness,
            observer,
        };
        tasks.spawn(keeper.run());
    }

    async fn run(mut self) {
        // Targets of this round or an earlier one have failed.
        let mut failed_round = 0;
        while let Some(target) = self.discovery.target_after(failed_round).await {
            let end = match self.open(target).await {
                Ok(mut keeping) => {
                    self.membership
                        .sessions
                        .send_replace(Some(keeping.session.clone()));
                    let end = self.keep(&mut keeping).await;
                    keeping.session.end();
                    self.membership.sessions.send_replace(None);
                    end
                }
                Err(error) => SessionEnd::Failed(error),
            };
            debug!(primary = %target.address, reason = ?end, "the session has ended");
            failed_round = match end {
                SessionEnd::Superseded => target.round,
                SessionEnd::ByConnection | SessionEnd::Failed(_) => {
                    self.discovery.request_round();
                    self.discovery.now().map_or(target.round, |t| t.round)
                }
            };
            if let SessionEnd::Failed(error) = end
                && !error.wants_rediscovery()
            {
                self.observer.refused(&error.to_string());
                sleep(REFUSED_PAUSE).await;
            }
        }
    }

    /// Connects, and finds out which data nodes are online: a `WAIT` for none would only take time.
    async fn open(&self, target: WriteTarget) -> Result<KeeperSession, WriteError> {
        let mut conn = match self.connector.open_raw(target.address).await {
            Ok(conn) => conn,
            Err(error) => {
                debug!(%error, "cannot connect to the primary");
                return Err(WriteError::Refused);
            }
        };
        conn.push(&[b"ROLE"]);
        conn.push(&[b"GET", MEMBER_LIST_KEY.as_bytes()]);
        conn.push(&[b"INFO"]);
        let channel = random_channel();
        conn.push(&[b"PUBLISH", channel.as_bytes(), b""]);
        let answers = conn.exchange(4).await?;
        let (_, confirmed) = parse_primary(answers.first())?;
        self.check_members(target.address, answers.get(1)).await?;
        let is_other = |node: &SocketAddrV4| *node != target.address;
        let others = self
            .nodes
            .iter()
            .map(Node::socket)
            .filter(is_other)
            .collect();
        let info = ServerInfo::parse(&text_of(answers.get(2))?);
        let channel = match answers.get(3) {
            Some(Value::ServerError(error)) if error.code() == "NOPERM" => None,
            _ => Some(channel),
        };
        let session = Session::new(target.address, others, &info, channel);
        session.set_online(&confirmed);
        Ok(KeeperSession {
            target,
            conn,
            session: Arc::new(session),
            coverage: Coverage::default(),
            covered: 0,
            open: None,
        })
    }

    /// Ends this keeper if the primary's list has other members; another one is started for those.
    async fn check_members(
        &self,
        primary: SocketAddrV4,
        answer: Option<&Value>,
    ) -> Result<(), WriteError> {
        let Some(lab) = self.membership.changed_by(primary, answer)? else {
            return Ok(());
        };
        // This task is ended while it waits.
        if self.membership.changed.send(lab).await.is_ok() {
            std::future::pending::<()>().await;
        }
        Err(WriteError::Refused)
    }

    /// Confirms the batches of the write connections until the session ends.
    async fn keep(&mut self, keeping: &mut KeeperSession) -> SessionEnd {
        let session = keeping.session.clone();
        let mut discovery = self.discovery.clone();
        let target = keeping.target;
        let _listening = listen(&session, &self.connector);
        tokio::select! {
            biased;
            () = discovery.superseded(target) => SessionEnd::Superseded,
            () = session.ended() => SessionEnd::ByConnection,
            Err(error) = self.confirm(keeping) => SessionEnd::Failed(error),
        }
    }

    async fn confirm(&self, keeping: &mut KeeperSession) -> Result<(), WriteError> {
        let session = keeping.session.clone();
        loop {
            let round_needed = async {
                match self.policy {
                    Policy::None => std::future::pending().await,
                    // No other node has the writes: nothing to ask before they are answered.
                    Policy::Available if session.online() == 0 => {
                        session.more_answered(keeping.covered).await;
                    }
                    Policy::Available | Policy::Replicated => session.pending().await,
                }
            };
            tokio::select! {
                biased;
                () = round_needed => {}
                // No answer is outstanding, so this can only be the end of the connection.
                ended = keeping.conn.receive() => {
                    return Err(ended.err().unwrap_or(WriteError::NotRedis));
                }
            }
            if self.round(keeping).await?.is_break() {
                sleep(PAUSE).await;
            }
        }
    }

    /// One round of questions. `Break` if the next round would have the same result now.
    async fn round(&self, keeping: &mut KeeperSession) -> Result<ControlFlow<()>, WriteError> {
        let (round, answered) = keeping.session.begin_round();
        let Shown {
            offset,
            listed,
            confirmed,
        } = ask(&mut keeping.conn, &keeping.session, round, &self.wait_ms).await?;

        keeping.session.set_online(&listed);
        keeping.coverage.round = round;
        let others = keeping.session.others();
        let replicated = replicated_up_to(others, &confirmed);
        keeping.coverage.replicated = keeping.coverage.replicated.max(replicated);
        let is_followed = not_followed_beyond(others, offset, &confirmed).is_empty();
        if is_followed {
            keeping.coverage.through = round;
        }
        keeping.session.set_followed(is_followed);
        keeping.session.round_answered(round, offset);
        keeping.session.publish(keeping.coverage);

        // A question stays open until it is answered: its evidence has to be later than the writes
        // by some time.
        let question = *keeping.open.get_or_insert_with(|| Question {
            round,
            offset,
            answered,
            since: Instant::now(),
        });
        // Not only those that lack the writes: the question is also whether this is the primary.
        let missing = not_followed_beyond(others, question.offset, &confirmed);
        let verdict = if missing.is_empty() {
            keeping.coverage.through = keeping.coverage.through.max(question.round);
            keeping.session.publish(keeping.coverage);
            Ok(())
        } else if question.answered == keeping.covered {
            keeping.open = None;
            return Ok(ControlFlow::Continue(()));
        } else if self.policy == Policy::Available {
            let verdict = match self.mark_of(keeping, &missing).await? {
                Some(mark) => self.ask_witness(keeping, question, missing, mark).await,
                None => Err(NoWitness::TermNotMarked),
            };
            if verdict.is_ok() {
                // The witnesses testified about this primary: it must still be primary.
                keeping.conn.push(&[b"ROLE"]);
                parse_primary(keeping.conn.exchange(1).await?.first())?;
                keeping.coverage.witnessed = question.answered;
                keeping.coverage.through = keeping.coverage.through.max(question.round);
                keeping.session.publish(keeping.coverage);
            }
            verdict
        } else {
            Err(NoWitness::TooFewAnswers)
        };
        match verdict {
            Ok(()) => {
                keeping.covered = question.answered;
                keeping.open = None;
                Ok(ControlFlow::Continue(()))
            }
            Err(NoWitness::OtherPrimary) => Err(WriteError::Unblocked),
            Err(why) => {
                trace!(?why, "not acknowledged");
                Ok(ControlFlow::Break(()))
            }
        }
    }

    /// The primary's mark, if it marks the current term and, when no other data node has the
    /// writes, states that this is the only copy. Otherwise witnessed writes could not be
    /// distinguished later from those that an older copy lacks. Before a primary marks its copy as
    /// the only one, it writes everything to disk, and from then on each write before its answer.
    async fn mark_of(
        &self,
        keeping: &mut KeeperSession,
        missing: &[SocketAddrV4],
    ) -> Result<Option<Mark>, WriteError> {
        keeping.conn.push(&[b"INFO", b"replication"]);
        keeping.conn.push(&[b"GET", MARK_KEY.as_bytes()]);
        let answers = keeping.conn.exchange(2).await?;
        let info = text_of(answers.first())?;
        let mark = text_of(answers.get(1))?;
        let history = ServerInfo::parse(&info).replication_id;
        let is = |node: &&Node| node.socket() == keeping.target.address;
        let Some(node) = self.nodes.iter().find(is) else {
            return Ok(None);
        };
        let alone = missing.len() == keeping.session.others().len();
        Ok(Mark::from_text(&mark).filter(|mark| {
            let state_fits = match mark.state {
                Completeness::Sole => true,
                Completeness::Open => !alone,
                // A node with this mark counts as complete.
                Completeness::Closed => false,
            };
            state_fits && mark.counts_for(&node.name, &history)
        }))
    }

    async fn ask_witness(
        &self,
        keeping: &mut KeeperSession,
        question: Question,
        missing: Vec<SocketAddrV4>,
        mark: Mark,
    ) -> Result<(), NoWitness> {
        let mut discovery = self.discovery.clone();
        loop {
            // The primary may have been announced meanwhile; the connection is to the same node.
            if let Some(now) = discovery.now()
                && now.address == keeping.target.address
            {
                keeping.target = now;
            }
            let about = witness_question(keeping.target, missing.clone(), &mark)?;
            tokio::select! {
                biased;
                // Then the question changes, and may be answered at once.
                () = discovery.announced(keeping.target) => {}
                verdict = self.witness.ask(&about, question.since) => return verdict,
            }
        }
    }
}

/// The question to the witnesses about writes to `target`.
fn witness_question(
    target: WriteTarget,
    uncovered: Vec<SocketAddrV4>,
    mark: &Mark,
) -> Result<WitnessQuestion, NoWitness> {
    match target.status {
        PrimaryStatus::Elected(epoch) => {
            let primary = Elected {
                address: target.address,
                epoch,
            };
            Ok(WitnessQuestion::Elected(UncoveredWrites {
                primary,
                uncovered,
            }))
        }
        PrimaryStatus::Promoted { over } if uncovered == [over.address] => {
            Ok(WitnessQuestion::Promoted {
                old: over,
                new: target.address,
                mark: Box::new(mark.clone()),
            })
        }
        // Another node that has not confirmed could be promoted too.
        PrimaryStatus::Promoted { over } => Err(NoWitness::Promotable(over.address)),
    }
}
