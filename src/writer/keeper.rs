//! The connection on which the primary is asked what has been confirmed, for all lanes.
//!
//! The keeper opens it as soon as discovery has a target, and only then may lanes connect: so every
//! write of the session is younger than this connection, which a change of role or the end of the
//! server would close. Then it reads the roster: whose confirmation counts, and who is asked; where
//! that is another lab than it was started for, it says so and ends. Round after round asks `ROLE`,
//! `PUBLISH`, `WAIT`, `ROLE`, one for all batches that are on their way; while not every other data
//! node confirms, the Sentinels are asked too. The rules are in [`crate::protocol::ack`].

use std::net::SocketAddrV4;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, trace, warn};

use crate::access::User;
use crate::client::{Connector, ReplicationInfo, Role, RawConn, as_in_roster};
use crate::config::{Lab, Node};
use crate::protocol::WriteError;
use crate::protocol::ack::{
    Confirmed, Coverage, NoWitness, Policy, UncoveredWrites, replicated_up_to, uncovered,
};
use crate::protocol::copy::{Completeness, MARK_KEY, Mark};
use crate::protocol::roster::{ROSTER_KEY, Roster};
use crate::protocol::vote::Elected;

use super::discovery::{Discovery, Standing, Target};
use super::session::Session;
use super::witness::{About, Witness};
use super::{Options, REFUSED_PAUSE};

/// Channel of the messages that nobody reads: they give a connection that writes nothing a place in
/// the stream of replication, which `WAIT` waits for.
pub const ROUND_CHANNEL: &str = "halab:round";
/// Pause before asking again what was not acknowledged.
const PAUSE: Duration = Duration::from_millis(10);

/// The session in use, for each lane.
pub(super) type Sessions = watch::Receiver<Option<Arc<Session>>>;

/// Keeps one session after the other.
#[derive(Debug)]
pub(super) struct Keeper {
    /// All data nodes; whoever is not the target is to confirm.
    nodes: Vec<Node>,
    membership: Membership,
    policy: Policy,
    wait_ms: String,
    connector: Connector,
    discovery: Discovery,
    witness: Witness,
}

/// The members that a keeper was started for, and what it shares with the one that comes after it
/// when they have changed.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    /// As in `lab.toml`.
    pub(super) stated: Arc<Lab>,
    /// As the roster has it.
    pub(super) lab: Arc<Lab>,
    /// Whom the lanes hear.
    pub(super) sessions: watch::Sender<Option<Arc<Session>>>,
    /// Who hears that the members are others now.
    pub(super) changed: mpsc::Sender<Lab>,
}

/// The keeper's side of one session.
struct Link {
    target: Target,
    wire: RawConn,
    session: Arc<Session>,
    coverage: Coverage,
    /// So many batches had been answered at the last question that was settled, in whatever form.
    covered: u64,
    open: Option<Question>,
}

/// Batches that not every other data node has confirmed.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// All of them lie at or before this offset.
    offset: u64,
    /// How many have been answered in this session, these included.
    answered: u64,
    /// When they were known to be written and not confirmed.
    since: Instant,
}

/// Why a session is left.
#[derive(Debug)]
enum Left {
    /// Another node is primary, or this one anew.
    Superseded,
    /// A lane has lost its connection, or was refused.
    ByALane,
    Failed(WriteError),
}

impl Keeper {
    pub(super) fn start(
        membership: &Membership,
        options: &Options,
        discovery: Discovery,
        witness: Witness,
        tasks: &mut JoinSet<()>,
    ) {
        let lab = &membership.lab;
        let connector = Connector::new(lab, User::Writer);
        let limit = options.wait_limit(&connector);
        let keeper = Keeper {
            nodes: lab.data_nodes.clone(),
            membership: membership.clone(),
            policy: options.policy,
            wait_ms: options.wait_ms(),
            connector: connector.with_answer_limit(limit),
            discovery,
            witness,
        };
        tasks.spawn(keeper.run());
    }

    async fn run(mut self) {
        // Round of the last target that was no good.
        let mut bad_round = 0;
        while let Some(target) = self.discovery.target_after(bad_round).await {
            let left = match self.open(target).await {
                Ok(mut link) => {
                    self.membership
                        .sessions
                        .send_replace(Some(link.session.clone()));
                    let left = self.keep(&mut link).await;
                    link.session.end();
                    self.membership.sessions.send_replace(None);
                    left
                }
                Err(error) => Left::Failed(error),
            };
            debug!(primary = %target.address, ?left, "left");
            bad_round = match left {
                Left::Superseded => target.round,
                Left::ByALane | Left::Failed(_) => {
                    self.discovery.report();
                    self.discovery.now().map_or(target.round, |t| t.round)
                }
            };
            if let Left::Failed(error) = left
                && !error.wants_rediscovery()
            {
                warn!(%error, "the primary refuses to say what is confirmed; trying again");
                sleep(REFUSED_PAUSE).await;
            }
        }
    }

    /// Connects, and looks who would confirm: a `WAIT` for nobody would only take time.
    async fn open(&self, target: Target) -> Result<Link, WriteError> {
        let mut wire = match self.connector.open_raw(target.address).await {
            Ok(wire) => wire,
            Err(error) => {
                debug!(%error, "cannot connect to the primary");
                return Err(WriteError::Refused);
            }
        };
        wire.push(&[b"ROLE"]);
        wire.push(&[b"GET", ROSTER_KEY.as_bytes()]);
        let answers = wire.exchange(2).await?;
        let (_, confirmed) = primary(answers.first())?;
        self.check_members(target.address, answers.get(1)).await?;
        let is_other = |node: &SocketAddrV4| *node != target.address;
        let others = self
            .nodes
            .iter()
            .map(Node::socket)
            .filter(is_other)
            .collect();
        let session = Session::new(target.address, others);
        session.set_online(&confirmed);
        Ok(Link {
            target,
            wire,
            session: Arc::new(session),
            coverage: Coverage::default(),
            covered: 0,
            open: None,
        })
    }

    /// Ends here where the lab has other members than this keeper knows: another one is started for
    /// those.
    async fn check_members(
        &self,
        primary: SocketAddrV4,
        answer: Option<&Value>,
    ) -> Result<(), WriteError> {
        let text = match answer {
            Some(Value::BulkString(text)) => String::from_utf8_lossy(text).into_owned(),
            Some(Value::VerbatimString { text, .. }) => text.clone(),
            // A node of an earlier version lets nobody ask.
            Some(Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                return Err(WriteError::MembersUnknown);
            }
            Some(Value::ServerError(error)) if error.code() != "NOPERM" => {
                return Err(WriteError::from_code(error.code()));
            }
            _ => return Ok(()),
        };
        // Of a later version, or not brought up to date yet after the lab has moved: whom to ask is
        // not known.
        let roster = Roster::from_text(&text)
            .filter(|roster| roster.data.iter().any(|member| member.address == primary))
            .ok_or(WriteError::MembersUnknown)?;
        let now = as_in_roster(&self.membership.stated, &roster);
        if now == *self.membership.lab {
            return Ok(());
        }
        let names: Vec<&str> = now.nodes().map(|n| n.name.as_str()).collect();
        info!(version = roster.version, members = %names.join(" "), "the members of the lab are others now");
        // This task ends while it waits.
        if self.membership.changed.send(now).await.is_ok() {
            std::future::pending::<()>().await;
        }
        Err(WriteError::Refused)
    }

    /// Confirms what the lanes send, until there is a reason to leave.
    async fn keep(&mut self, link: &mut Link) -> Left {
        let session = link.session.clone();
        let mut discovery = self.discovery.clone();
        let target = link.target;
        tokio::select! {
            biased;
            () = discovery.superseded(target) => Left::Superseded,
            () = session.ended() => Left::ByALane,
            Err(error) = self.confirm(link) => Left::Failed(error),
        }
    }

    async fn confirm(&self, link: &mut Link) -> Result<(), WriteError> {
        let session = link.session.clone();
        loop {
            let needed = async {
                match self.policy {
                    Policy::None => std::future::pending().await,
                    // Nobody else has the writes; until they are answered there is nothing to ask.
                    Policy::Available if session.online() == 0 => {
                        session.more_answered(link.covered).await;
                    }
                    Policy::Available | Policy::Replicated => session.pending().await,
                }
            };
            tokio::select! {
                biased;
                () = needed => {}
                // Nothing was asked, so all that can come is the end of the connection.
                ended = link.wire.receive() => return Err(ended.err().unwrap_or(WriteError::NotRedis)),
            }
            if self.round(link).await?.is_break() {
                sleep(PAUSE).await;
            }
        }
    }

    /// One round of questions. `Break` when there is no point in asking again at once.
    async fn round(&self, link: &mut Link) -> Result<ControlFlow<()>, WriteError> {
        let (round, answered) = link.session.begin_round();
        link.wire.push(&[b"ROLE"]);
        let online = link.session.online();
        let mut questions = 1;
        if online > 0 {
            // A WAIT is for what its own connection wrote last (before Redis 7.2: for all before
            // its last command). A message goes to the replicas as a write does, and
            // neither to the keys nor to the disk.
            link.wire.push(&[b"PUBLISH", ROUND_CHANNEL.as_bytes(), b""]);
            let online = online.to_string();
            let wait: [&[u8]; 3] = [b"WAIT", online.as_bytes(), self.wait_ms.as_bytes()];
            link.wire.push(&wait);
            link.wire.push(&[b"ROLE"]);
            questions = 4;
        }
        let answers = link.wire.exchange(questions).await?;
        for answer in &answers {
            if let Value::ServerError(error) = answer {
                return Err(WriteError::from_code(error.code()));
            }
        }
        let (offset, _) = primary(answers.first())?;
        let (_, confirmed) = primary(answers.last())?;

        link.session.set_online(&confirmed);
        link.coverage.round = round;
        let replicated = replicated_up_to(link.session.others(), &confirmed);
        link.coverage.replicated = link.coverage.replicated.max(replicated);
        link.session.publish(link.coverage);

        // A question stays until it is answered: evidence has to be later than the writes by some
        // time.
        let question = *link.open.get_or_insert_with(|| Question {
            offset,
            answered,
            since: Instant::now(),
        });
        let missing = uncovered(link.session.others(), question.offset, &confirmed);
        let verdict = if missing.is_empty() {
            Ok(())
        } else if question.answered == link.covered {
            link.open = None;
            return Ok(ControlFlow::Continue(()));
        } else if self.policy == Policy::Available {
            let verdict = match self.mark_of(link, &missing).await? {
                Some(mark) => self.ask_witness(link, question, missing, mark).await,
                None => Err(NoWitness::TermNotMarked),
            };
            if verdict.is_ok() {
                // The testimony was about the primary at the other end: it has to be one still.
                link.wire.push(&[b"ROLE"]);
                primary(link.wire.exchange(1).await?.first())?;
                link.coverage.witnessed = question.answered;
                link.session.publish(link.coverage);
            }
            verdict
        } else {
            Err(NoWitness::TooFewAnswers)
        };
        match verdict {
            Ok(()) => {
                link.covered = question.answered;
                link.open = None;
                Ok(ControlFlow::Continue(()))
            }
            Err(NoWitness::OtherPrimary) => Err(WriteError::Unblocked),
            Err(why) => {
                trace!(?why, "not acknowledged");
                Ok(ControlFlow::Break(()))
            }
        }
    }

    /// The primary's mark, if it has marked the time in which it is primary and, where no other
    /// data node has the writes, that it is the only copy. What is witnessed before could not
    /// be told, later, from what an older copy lacks; and a primary writes everything to disk
    /// before it marks that it is the only copy, and each write before the answer from then on.
    async fn mark_of(
        &self,
        link: &mut Link,
        missing: &[SocketAddrV4],
    ) -> Result<Option<Mark>, WriteError> {
        link.wire.push(&[b"INFO", b"replication"]);
        link.wire.push(&[b"GET", MARK_KEY.as_bytes()]);
        let mut texts = Vec::new();
        for answer in link.wire.exchange(2).await? {
            texts.push(match answer {
                Value::ServerError(error) => return Err(WriteError::from_code(error.code())),
                Value::BulkString(text) => String::from_utf8_lossy(&text).into_owned(),
                Value::VerbatimString { text, .. } => text,
                _ => String::new(),
            });
        }
        let [info, mark] = &texts[..] else {
            return Err(WriteError::NotRedis);
        };
        let history = ReplicationInfo::parse(info).replication_id;
        let is = |node: &&Node| node.socket() == link.target.address;
        let Some(node) = self.nodes.iter().find(is) else {
            return Ok(None);
        };
        let alone = missing.len() == link.session.others().len();
        Ok(Mark::from_text(mark).filter(|mark| {
            let says = match mark.state {
                Completeness::Sole => true,
                Completeness::Open => !alone,
                // Whoever has that mark takes itself for complete.
                Completeness::Closed => false,
            };
            says && mark.counts_for(&node.name, &history)
        }))
    }

    async fn ask_witness(
        &self,
        link: &mut Link,
        question: Question,
        missing: Vec<SocketAddrV4>,
        mark: Mark,
    ) -> Result<(), NoWitness> {
        let mut discovery = self.discovery.clone();
        loop {
            // Announced meanwhile, perhaps; the connection is to the same node.
            if let Some(now) = discovery.now()
                && now.address == link.target.address
            {
                link.target = now;
            }
            let about = about(link.target, missing.clone(), &mark)?;
            tokio::select! {
                biased;
                // Then what is asked is another thing, and may have its answer at once.
                () = discovery.announced(link.target) => {}
                verdict = self.witness.ask(&about, question.since) => return verdict,
            }
        }
    }
}

/// What the witnesses are asked about writes to `target`.
fn about(target: Target, uncovered: Vec<SocketAddrV4>, mark: &Mark) -> Result<About, NoWitness> {
    match target.standing {
        Standing::Elected(epoch) => {
            let primary = Elected {
                address: target.address,
                epoch,
            };
            Ok(About::Elected(UncoveredWrites { primary, uncovered }))
        }
        Standing::Promoted { over } if uncovered == [over.address] => Ok(About::Promoted {
            old: over,
            new: target.address,
            mark: Box::new(mark.clone()),
        }),
        // A node that is neither could be promoted as well as this one was.
        Standing::Promoted { over } => Err(NoWitness::Promotable(over.address)),
    }
}

/// The offset and the online replicas in an answer to `ROLE`; an error when it is not a primary's.
pub(super) fn primary(answer: Option<&Value>) -> Result<(u64, Vec<Confirmed>), WriteError> {
    match answer {
        Some(Value::ServerError(error)) => Err(WriteError::from_code(error.code())),
        Some(value) => match Role::from_value(value) {
            Ok(Role::Primary { offset, replicas }) => Ok((offset, replicas)),
            Ok(_) => Err(WriteError::Unblocked),
            Err(_) => Err(WriteError::NotRedis),
        },
        None => Err(WriteError::NotRedis),
    }
}
