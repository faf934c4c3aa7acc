//! One connection to the primary, with some batches in flight.
//!
//! A batch is sent, and sent again, until it is acknowledged; see [`crate::protocol::ack`] for what
//! that means. The lane sends the records by `MSET` and a `ROLE`, and goes on with the next batch;
//! that the batch is acknowledged it learns from its session. It leaves its connection when the
//! session ends: a primary that hangs would never break it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client::{Connector, RawConn};
use crate::ledger::{self, RecordOutcome};
use crate::protocol::WriteError;
use crate::protocol::ack::{Coverage, Policy};
use crate::record::{Batch, Timestamp};

use super::flight::{Flight, Parcel, Refused};
use super::journal::Journal;
use super::keeper::Sessions;
use super::session::Session;
use super::work::{Job, Work};
use super::{Options, REFUSED_PAUSE};

/// Batches sent and not answered: one that the primary executes, and the next one, so that it does
/// not wait for it. More would lie in its buffers.
const UNANSWERED: usize = 2;
/// Records written by one command. One command costs the server about half of what as many `SET`s
/// do; more in one would keep it longer from everybody else, and gain nothing.
const RECORDS_A_COMMAND: u64 = 128;
/// Between two looks whether an answer is overdue.
const CLOCK: Duration = Duration::from_millis(500);

/// One of the writer's connections.
#[derive(Debug)]
pub(super) struct Lane {
    connector: Connector,
    policy: Policy,
    in_flight: usize,
    wait_ms: Vec<u8>,
    /// How long a batch may stay without its answers before the connection counts as lost.
    limit: Duration,
    sessions: Sessions,
    journal: Arc<Journal>,
    work: Arc<Work>,
    end: CancellationToken,
    records: Batch,
    /// To be sent before anything new.
    queue: VecDeque<Parcel>,
    /// There is no more work than what is in the queue and in flight.
    last_taken: bool,
}

/// The connection in use.
struct Link<'a> {
    session: &'a Session,
    wire: RawConn,
    /// The first round of questions put after the connection was made.
    first_round: u64,
    flights: VecDeque<Flight>,
    /// So many of the flights, the first ones, have all their answers.
    answered: usize,
    /// Nothing is sent before that time: the primary refused a write, and another would not cure
    /// it.
    hold: Option<Instant>,
}

/// Why a connection is left.
#[derive(Debug)]
enum Left {
    /// All work is done, or the run is ended.
    Done,
    /// The session is over.
    SessionEnded,
    Failed(WriteError),
}

impl Lane {
    pub(super) fn new(
        connector: Connector,
        options: &Options,
        sessions: Sessions,
        journal: Arc<Journal>,
        work: Arc<Work>,
        end: CancellationToken,
    ) -> Self {
        Lane {
            limit: options.wait_limit(&connector),
            connector,
            policy: options.policy,
            in_flight: options.in_flight,
            wait_ms: options.wait_ms().into_bytes(),
            sessions,
            records: Batch::new(journal.run(), Timestamp::default()),
            journal,
            work,
            end,
            queue: VecDeque::new(),
            last_taken: false,
        }
    }

    /// Writes batch after batch until there is no more work.
    ///
    /// # Errors
    /// The ledger can't be written.
    pub(super) async fn run(mut self) -> Result<(), ledger::Error> {
        let (end, work) = (self.end.clone(), self.work.clone());
        loop {
            // Before there is anybody to write to, so that a stall shows as records that wait.
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
                Left::Done => break,
                Left::SessionEnded => {}
                Left::Failed(error) => {
                    debug!(%error, "a connection to the primary is lost");
                    session.end();
                }
            }
        }
        for parcel in self.queue {
            // Unknown is what has no end in the ledger.
            if !parcel.job.in_doubt {
                let sent = parcel.first_sent.unwrap_or_else(Instant::now);
                self.journal
                    .settled(parcel.job.batch.seqs, RecordOutcome::Failed, sent)?;
            }
        }
        Ok(())
    }

    /// The next session that is not over.
    async fn session(&mut self) -> Option<Arc<Session>> {
        let open = |s: &Option<Arc<Session>>| s.as_ref().is_some_and(|s| !s.is_over());
        self.sessions.wait_for(open).await.ok()?.clone()
    }

    /// Writes over one connection, until there is a reason to leave it. What was in flight then is
    /// in the queue again.
    async fn serve(&mut self, session: &Session) -> Result<Left, ledger::Error> {
        let wire = loop {
            let opened = tokio::select! {
                biased;
                () = self.end.cancelled() => return Ok(Left::Done),
                () = session.ended() => return Ok(Left::SessionEnded),
                opened = self.connector.open_raw(session.primary) => opened,
            };
            match opened {
                Ok(wire) => break wire,
                // Nothing was sent, so the session is as good as before; the others would have to
                // connect anew, too.
                Err(error) => debug!(%error, "cannot connect to the primary"),
            }
        };
        let mut link = Link {
            session,
            wire,
            first_round: session.next_round(),
            flights: VecDeque::with_capacity(self.in_flight),
            answered: 0,
            hold: None,
        };
        let left = self.drive(&mut link).await;
        for flight in link.flights.into_iter().rev() {
            self.queue.push_front(flight.end(session));
        }
        left
    }

    async fn drive(&mut self, link: &mut Link<'_>) -> Result<Left, ledger::Error> {
        let mut coverage = link.session.coverage();
        let mut clock = interval(CLOCK);
        let (end, work) = (self.end.clone(), self.work.clone());
        loop {
            self.fill(link)?;
            if link.flights.is_empty() && self.queue.is_empty() && self.last_taken {
                return Ok(Left::Done);
            }
            if link.wire.has_commands() {
                tokio::select! {
                    biased;
                    () = end.cancelled() => return Ok(Left::Done),
                    () = link.session.ended() => return Ok(Left::SessionEnded),
                    sent = link.wire.send() => if let Err(error) = sent {
                        return Ok(Left::Failed(error));
                    },
                }
            }
            let room = self.has_room(link);
            let hold = link.hold;
            tokio::select! {
                biased;
                () = end.cancelled() => return Ok(Left::Done),
                () = link.session.ended() => return Ok(Left::SessionEnded),
                received = link.wire.receive() => {
                    let read = received.and_then(|()| self.read_answers(link));
                    if let Err(error) = read {
                        return Ok(Left::Failed(error));
                    }
                    let now = *coverage.borrow_and_update();
                    self.settle(link, now)?;
                }
                changed = coverage.changed() => {
                    if changed.is_err() {
                        return Ok(Left::SessionEnded);
                    }
                    let now = *coverage.borrow_and_update();
                    self.settle(link, now)?;
                }
                job = work.next(), if room && self.queue.is_empty() && !self.last_taken => {
                    self.take(job?);
                }
                () = sleep_until(hold.unwrap_or_else(Instant::now)), if hold.is_some() => link.hold = None,
                _ = clock.tick() => {
                    let oldest = link.flights.get(link.answered);
                    if oldest.is_some_and(|f| f.sent.elapsed() > self.limit) {
                        return Ok(Left::Failed(WriteError::Timeout));
                    }
                }
            }
        }
    }

    /// Whether another batch may be sent.
    fn has_room(&self, link: &Link<'_>) -> bool {
        let unanswered = link.flights.len() - link.answered;
        link.hold.is_none() && link.flights.len() < self.in_flight && unanswered < UNANSWERED
    }

    fn take(&mut self, job: Option<Job>) {
        match job {
            Some(job) => self.queue.push_back(Parcel::new(job)),
            None => self.last_taken = true,
        }
    }

    /// Puts as many batches into the connection as may be in flight and are due.
    fn fill(&mut self, link: &mut Link<'_>) -> Result<(), ledger::Error> {
        while self.has_room(link) {
            if self.queue.is_empty() && !self.last_taken {
                match self.work.clone().next().now_or_never() {
                    Some(job) => self.take(job?),
                    None => return Ok(()),
                }
            }
            let Some(parcel) = self.queue.pop_front() else {
                return Ok(());
            };
            self.put(link, parcel);
        }
        Ok(())
    }

    fn put(&mut self, link: &mut Link<'_>, parcel: Parcel) {
        let batch = parcel.job.batch;
        if parcel.attempts == 1 {
            self.journal.sent_again(batch.seqs.len());
        }
        self.records.at(batch.created);
        let mut key = Vec::with_capacity(64);
        let mut writes = 0;
        for records in batch.seqs.chunks(RECORDS_A_COMMAND) {
            link.wire.push_with(|command| {
                command.arg("MSET");
                for seq in records.iter() {
                    key.clear();
                    self.records.push_key(seq, &mut key);
                    command.arg(&key).arg(&self.records.value(seq)[..]);
                }
            });
            writes += 1;
        }
        // One batch at a time: then a WAIT on its own connection holds up nobody and spares a round
        // trip.
        let online = match self.in_flight {
            1 => link.session.online(),
            _ => 0,
        };
        let questions = match (self.policy, online) {
            (Policy::None, _) => 0,
            (_, 0) => 1,
            _ => 3,
        };
        if questions > 0 {
            link.wire.push(&[b"ROLE"]);
        }
        if questions > 1 {
            let online = online.to_string();
            link.wire.push(&[b"WAIT", online.as_bytes(), &self.wait_ms]);
            link.wire.push(&[b"ROLE"]);
        }
        let flight = Flight::depart(parcel, writes, questions, link.session);
        link.flights.push_back(flight);
    }

    /// Gives the answers that have come in to the batches they are for.
    fn read_answers(&mut self, link: &mut Link<'_>) -> Result<(), WriteError> {
        while let Some(answer) = link.wire.answer()? {
            let Some(flight) = link.flights.get_mut(link.answered) else {
                return Err(WriteError::NotRedis);
            };
            flight.read(answer, link.session, link.first_round)?;
            if !flight.is_answered() {
                continue;
            }
            match flight.refused.take() {
                None => link.answered += 1,
                Some(refused) => self.refused(link, refused)?,
            }
        }
        Ok(())
    }

    /// The primary said no to writes of the batch whose answers were read last.
    fn refused(&mut self, link: &mut Link<'_>, refused: Refused) -> Result<(), WriteError> {
        if let Some(flight) = link.flights.get_mut(link.answered)
            && refused.count == flight.writes
        {
            flight.parcel.job.in_doubt = flight.doubted;
        }
        if refused.first.wants_rediscovery() {
            return Err(refused.first);
        }
        if let Some(flight) = link.flights.remove(link.answered) {
            debug!(error = %refused.first, records = %flight.parcel.job.batch.seqs, "refused");
            self.queue.push_back(flight.end(link.session));
            link.hold = Some(Instant::now() + REFUSED_PAUSE);
            self.journal.refused(refused.first);
        }
        Ok(())
    }

    /// Notes the batches that are acknowledged, in their order.
    fn settle(&mut self, link: &mut Link<'_>, coverage: Coverage) -> Result<(), ledger::Error> {
        while link.answered > 0
            && let Some(flight) = link.flights.front()
        {
            let Some(outcome) = flight.outcome(self.policy, coverage) else {
                return Ok(());
            };
            let sent = flight.parcel.first_sent.unwrap_or(flight.sent);
            self.journal
                .settled(flight.parcel.job.batch.seqs, outcome, sent)?;
            link.answered -= 1;
            if let Some(flight) = link.flights.pop_front() {
                flight.end(link.session);
            }
        }
        Ok(())
    }
}
