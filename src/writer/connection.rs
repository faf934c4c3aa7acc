//! One write connection to the primary, with some batches in flight.
//!
//! A batch is sent again until it is acknowledged ([`crate::protocol::ack`]). The connection sends
//! its records by `MSET`, followed by `ROLE`, and continues with the next batch. The session
//! reports what is acknowledged. The connection is closed when the session ends, because a hung
//! primary would never close it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client::{Connector, RawConn};
use crate::confirmation::{Observer, REFUSED_PAUSE, Session, Sessions};
use crate::ledger::{self, RecordOutcome};
use crate::protocol::WriteError;
use crate::protocol::ack::{Coverage, Policy};
use crate::record::{Batch, Timestamp};

use super::WriteOptions;
use super::in_flight::{InFlight, PendingBatch, RefusedWrites};
use super::journal::Journal;
use super::live::RefusedConnection;
use super::work::{Job, Work};

/// Maximum batches without their answers: one that the primary executes, and the next one, so that
/// the primary does not wait. More would only fill its buffers.
const MAX_UNANSWERED: usize = 2;
/// Records written by one command. It costs the server about half as much as the same number of
/// `SET`s. Larger commands would delay other clients longer without a gain.
const RECORDS_A_COMMAND: u64 = 128;
/// Period of the check for overdue answers.
const CHECK_PERIOD: Duration = Duration::from_millis(500);
/// Time without a connection in one session after which the reason is reported. A failover ends the
/// session before.
const REPORTED_AFTER: Duration = Duration::from_secs(1);

/// A task that writes over one connection at a time.
#[derive(Debug)]
pub(super) struct WriteConnection {
    connector: Connector,
    policy: Policy,
    max_in_flight: usize,
    wait_ms: Vec<u8>,
    /// Time limit of the answers to a batch; beyond it the connection counts as lost.
    limit: Duration,
    sessions: Sessions,
    journal: Arc<Journal>,
    work: Arc<Work>,
    end: CancellationToken,
    records: Batch,
    /// To be sent before new batches.
    queue: VecDeque<PendingBatch>,
    /// There is no more work beyond the batches in the queue and in flight.
    last_taken: bool,
    refusals: Refusals,
}

/// The attempts to connect that the primary has not accepted, since the last answer in this
/// session.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    counted: Option<RefusedConnection>,
    is_reported: bool,
}

impl Refusals {
    /// Notes one more. It is reported when there has been no connection for some time: once, and
    /// again while no connection gets acknowledgements.
    fn note(&mut self, error: &str, journal: &Journal) {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.counted
            .get_or_insert_with(|| journal.live_metrics().connection_refused());
        let is_due = !self.is_reported || journal.quiet_for() >= REPORTED_AFTER;
        if since.elapsed() >= REPORTED_AFTER && is_due {
            journal.refused(error);
            self.is_reported = true;
        }
    }
}

/// The current connection.
struct OpenConnection<'a> {
    session: &'a Session,
    conn: RawConn,
    /// The server has answered.
    is_accepted: bool,
    /// The first round that began after the connection was opened.
    first_round: u64,
    in_flight: VecDeque<InFlight>,
    /// The first `answered` batches in flight have all their answers.
    answered: usize,
    /// Nothing is sent before this time, after a refusal that would be the same on another
    /// primary.
    paused_until: Option<Instant>,
}

/// Why a connection ends.
#[derive(Debug)]
enum Disconnect {
    /// All work is done, or the run ends.
    Done,
    /// The session has ended.
    SessionEnded,
    /// The server has closed the connection before its first answer, or refused it.
    NotAccepted(WriteError),
    Failed(WriteError),
}

impl WriteConnection {
    pub(super) fn new(
        connector: Connector,
        options: &WriteOptions,
        sessions: Sessions,
        journal: Arc<Journal>,
        work: Arc<Work>,
        end: CancellationToken,
    ) -> Self {
        let confirmation = options.confirmation();
        WriteConnection {
            limit: confirmation.wait_limit(&connector),
            connector,
            policy: options.policy,
            max_in_flight: options.in_flight,
            wait_ms: confirmation.wait_ms().into_bytes(),
            sessions,
            records: Batch::new(journal.run(), Timestamp::default()),
            journal,
            work,
            end,
            queue: VecDeque::new(),
            last_taken: false,
            refusals: Refusals::default(),
        }
    }

    /// Writes batches until there is no more work.
    ///
    /// # Errors
    /// If the ledger can't be written.
    pub(super) async fn run(mut self) -> Result<(), ledger::Error> {
        let (end, work) = (self.end.clone(), self.work.clone());
        loop {
            // Before there is a session, so that records in flight show the stall.
            if self.queue.is_empty() && !self.last_taken {
                tokio::select! {
                    biased;
                    () = end.cancelled() => break,
                    job = work.next() => self.take(job?),
                }
            }
            if self.queue.is_empty() {
                break;
            }
            let session = tokio::select! {
                biased;
                () = end.cancelled() => break,
                session = self.session() => session,
            };
            let Some(session) = session else { break };
            match self.serve(&session).await? {
                Disconnect::Done => break,
                Disconnect::SessionEnded => self.refusals = Refusals::default(),
                // The session stays valid: the keeper's connection shows whether the primary works,
                // and the other connections keep their places on a full server.
                Disconnect::NotAccepted(error) => {
                    debug!(%error, "the primary has not accepted a connection");
                    self.refusals.note(&error.to_string(), &self.journal);
                }
                Disconnect::Failed(error) => {
                    debug!(%error, "lost a connection to the primary");
                    if !error.wants_rediscovery() {
                        self.journal.refused(&error.to_string());
                    }
                    session.end();
                    self.refusals = Refusals::default();
                }
            }
        }
        for pending in self.queue {
            // A batch that is not settled in the ledger is unknown.
            if !pending.job.in_doubt {
                let sent = pending.first_sent.unwrap_or_else(Instant::now);
                self.journal
                    .settled(pending.job.batch.seqs, RecordOutcome::Failed, sent)?;
            }
        }
        Ok(())
    }

    /// Waits for a session that has not ended.
    async fn session(&mut self) -> Option<Arc<Session>> {
        let is_active = |s: &Option<Arc<Session>>| s.as_ref().is_some_and(|s| !s.is_over());
        self.sessions.wait_for(is_active).await.ok()?.clone()
    }

    /// Writes over one connection until it ends. Then the batches in flight go back to the queue.
    async fn serve(&mut self, session: &Session) -> Result<Disconnect, ledger::Error> {
        let conn = loop {
            let opened = tokio::select! {
                biased;
                () = self.end.cancelled() => return Ok(Disconnect::Done),
                () = session.ended() => return Ok(Disconnect::SessionEnded),
                opened = self.connector.open_raw(session.primary) => opened,
            };
            match opened {
                Ok(conn) => break conn,
                // Nothing was sent, so the session stays valid. Ending it would make the other
                // connections reconnect too.
                Err(error) => {
                    debug!(%error, "cannot connect to the primary");
                    self.refusals.note(&error.to_string(), &self.journal);
                }
            }
        };
        let mut open = OpenConnection {
            session,
            conn,
            is_accepted: false,
            first_round: session.next_round(),
            in_flight: VecDeque::with_capacity(self.max_in_flight),
            answered: 0,
            paused_until: None,
        };
        let end = self.drive(&mut open).await;
        let is_accepted = open.is_accepted;
        let end = end.map(|end| match end {
            Disconnect::Failed(error) if !is_accepted && is_refusal(&error) => {
                Disconnect::NotAccepted(error)
            }
            end => end,
        });
        // A full server reads nothing. One that refuses a password may execute what follows it, by
        // the rights of its default user.
        let not_executed = matches!(
            &end,
            Ok(Disconnect::NotAccepted(WriteError::TooManyClients))
        );
        for batch in open.in_flight.into_iter().rev() {
            self.queue.push_front(if not_executed {
                batch.not_executed(session)
            } else {
                batch.end(session)
            });
        }
        end
    }

    async fn drive(&mut self, open: &mut OpenConnection<'_>) -> Result<Disconnect, ledger::Error> {
        let mut coverage = open.session.coverage();
        let mut overdue_check = interval(CHECK_PERIOD);
        let (end, work) = (self.end.clone(), self.work.clone());
        loop {
            self.fill(open)?;
            if open.in_flight.is_empty() && self.queue.is_empty() && self.last_taken {
                return Ok(Disconnect::Done);
            }
            if open.conn.has_commands() {
                tokio::select! {
                    biased;
                    () = end.cancelled() => return Ok(Disconnect::Done),
                    () = open.session.ended() => return Ok(Disconnect::SessionEnded),
                    sent = open.conn.send() => if let Err(error) = sent {
                        return Ok(Disconnect::Failed(error));
                    },
                }
            }
            let room = self.has_room(open);
            let paused_until = open.paused_until;
            tokio::select! {
                biased;
                () = end.cancelled() => return Ok(Disconnect::Done),
                () = open.session.ended() => return Ok(Disconnect::SessionEnded),
                received = open.conn.receive() => {
                    if received.is_ok() && !open.is_accepted {
                        open.is_accepted = true;
                        self.refusals = Refusals::default();
                    }
                    let read = received.and_then(|()| self.read_answers(open));
                    if let Err(error) = read {
                        return Ok(Disconnect::Failed(error));
                    }
                    let now = *coverage.borrow_and_update();
                    self.settle(open, now)?;
                }
                changed = coverage.changed() => {
                    if changed.is_err() {
                        return Ok(Disconnect::SessionEnded);
                    }
                    let now = *coverage.borrow_and_update();
                    self.settle(open, now)?;
                }
                job = work.next(), if room && self.queue.is_empty() && !self.last_taken => {
                    self.take(job?);
                }
                () = sleep_until(paused_until.unwrap_or_else(Instant::now)),
                    if paused_until.is_some() => open.paused_until = None,
                _ = overdue_check.tick() => {
                    let oldest = open.in_flight.get(open.answered);
                    if oldest.is_some_and(|f| f.sent.elapsed() > self.limit) {
                        return Ok(Disconnect::Failed(WriteError::Timeout));
                    }
                }
            }
        }
    }

    /// Whether another batch may be sent.
    fn has_room(&self, open: &OpenConnection<'_>) -> bool {
        let unanswered = open.in_flight.len() - open.answered;
        open.paused_until.is_none()
            && open.in_flight.len() < self.max_in_flight
            && unanswered < MAX_UNANSWERED
    }

    fn take(&mut self, job: Option<Job>) {
        match job {
            Some(job) => self.queue.push_back(PendingBatch::new(job)),
            None => self.last_taken = true,
        }
    }

    /// Fills the connection with batches that are due, up to the maximum in flight.
    fn fill(&mut self, open: &mut OpenConnection<'_>) -> Result<(), ledger::Error> {
        while self.has_room(open) {
            if self.queue.is_empty() && !self.last_taken {
                match self.work.clone().next().now_or_never() {
                    Some(job) => self.take(job?),
                    None => return Ok(()),
                }
            }
            let Some(pending) = self.queue.pop_front() else {
                return Ok(());
            };
            self.put(open, pending);
        }
        Ok(())
    }

    fn put(&mut self, open: &mut OpenConnection<'_>, pending: PendingBatch) {
        let batch = pending.job.batch;
        if pending.attempts == 1 {
            self.journal.sent_again(batch.seqs.len());
        }
        self.records.at(batch.created);
        let mut key = Vec::with_capacity(64);
        let mut writes = 0;
        for records in batch.seqs.chunks(RECORDS_A_COMMAND) {
            open.conn.push_with(|command| {
                command.arg("MSET");
                for seq in records.iter() {
                    key.clear();
                    self.records.push_key(seq, &mut key);
                    command.arg(&key).arg(&self.records.value(seq)[..]);
                }
            });
            writes += 1;
        }
        // With one batch in flight, a WAIT on this connection delays no other and saves a round
        // trip.
        let online = match self.max_in_flight {
            1 => open.session.online(),
            _ => 0,
        };
        let questions = match (self.policy, online) {
            (Policy::None, _) => 0,
            (_, 0) => 1,
            _ => 3,
        };
        if questions > 0 {
            open.conn.push(&[b"ROLE"]);
        }
        if questions > 1 {
            let online = online.to_string();
            open.conn.push(&[b"WAIT", online.as_bytes(), &self.wait_ms]);
            open.conn.push(&[b"ROLE"]);
        }
        let batch = InFlight::new(pending, writes, questions, open.session);
        open.in_flight.push_back(batch);
    }

    /// Assigns the received answers to their batches.
    fn read_answers(&mut self, open: &mut OpenConnection<'_>) -> Result<(), WriteError> {
        while let Some(answer) = open.conn.answer()? {
            let Some(batch) = open.in_flight.get_mut(open.answered) else {
                return Err(WriteError::NotRedis);
            };
            batch.read(answer, open.session, open.first_round)?;
            if !batch.is_answered() {
                continue;
            }
            match batch.refused.take() {
                None => open.answered += 1,
                Some(refused) => self.refused(open, refused)?,
            }
        }
        Ok(())
    }

    /// Handles the refusal of writes of the batch whose answers were read last.
    fn refused(
        &mut self,
        open: &mut OpenConnection<'_>,
        refused: RefusedWrites,
    ) -> Result<(), WriteError> {
        if let Some(batch) = open.in_flight.get_mut(open.answered)
            && refused.count == batch.writes
        {
            batch.pending.job.in_doubt = batch.was_in_doubt;
        }
        if refused.first.wants_rediscovery() {
            return Err(refused.first);
        }
        if let Some(batch) = open.in_flight.remove(open.answered) {
            let records = &batch.pending.job.batch.seqs;
            debug!(error = %refused.first, %records, "the primary refused a batch");
            self.queue.push_back(batch.end(open.session));
            open.paused_until = Some(Instant::now() + REFUSED_PAUSE);
            self.journal.refused(&refused.first.to_string());
        }
        Ok(())
    }

    /// Notes the acknowledged batches, in their order.
    fn settle(
        &mut self,
        open: &mut OpenConnection<'_>,
        coverage: Coverage,
    ) -> Result<(), ledger::Error> {
        while open.answered > 0
            && let Some(batch) = open.in_flight.front()
        {
            let Some(outcome) = batch.outcome(self.policy, coverage) else {
                return Ok(());
            };
            let sent = batch.pending.first_sent.unwrap_or(batch.sent);
            self.journal
                .settled(batch.pending.job.batch.seqs, outcome, sent)?;
            open.answered -= 1;
            if let Some(batch) = open.in_flight.pop_front() {
                batch.end(open.session);
            }
        }
        Ok(())
    }
}

/// Whether an error on a connection without any answer is that of a server that does not accept it.
fn is_refusal(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::TooManyClients | WriteError::NotPermitted | WriteError::ConnectionLost
    )
}
