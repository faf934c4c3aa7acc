//! The mark of the own copy, and who may be copied from. The rules are in
//! [`crate::protocol::copy`].
//!
//! A parked server can't copy from anybody: it has a login that nobody knows. So whoever sends it a
//! `REPLICAOF`, a Sentinel or an operator, its data stays until its node has compared the copies
//! and lets it in.

use std::time::Duration;

use redis::Value;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::access::{Secrets, User};
use crate::choosing::CHOSEN;
use crate::client::{ClientError, ReplicationInfo, drawn, set_mark};
use crate::closing::{accept_writes, write_reopening};
use crate::protocol::copy::{Completeness, Copy, Mark, Relation};

use super::super::machine::{MarkSummary, NextMark, OwnData, ServerState};
use super::DataNode;

/// How long the writing of a mark may hold the node up, or a quarter of the hang limit. It waits
/// while writes are paused.
const MARK_LIMIT: Duration = Duration::from_millis(300);

/// What the node knows of its own copy.
#[derive(Debug, Default)]
pub(super) struct OwnCopy {
    /// As last read; `None`: not read since the server was started.
    held: Option<Copy>,
    /// What the last server held when it ended.
    last: Option<Copy>,
    /// What lies on disk that the own server can't read.
    on_disk: Option<Copy>,
    /// What was set aside for a copy that is not complete yet; `None` also where that is not
    /// known.
    aside: Option<Copy>,
    /// The mark that begins the term in which this node is primary; it is written, or is being
    /// written.
    term: Option<Mark>,
    /// It was read back.
    in_term: bool,
    /// The server's history of replication, and whether it was primary in it when last read.
    history: String,
    was_primary: bool,
    /// Changes of the data that the server counts, now and at the last mark.
    changes: u64,
    changes_marked: u64,
    /// Its `replica-priority` is not 0.
    promotable: bool,
    /// An operator has chosen it.
    chosen: bool,
    /// That a mark was refused has been said.
    refusal_reported: bool,
    /// What was noted in the state folder last, without its count.
    noted: Option<Copy>,
}

impl OwnCopy {
    /// What is known when the server has ended.
    pub(super) fn of_ended_server(self) -> OwnCopy {
        OwnCopy {
            last: self.held.filter(|held| *held != Copy::Empty).or(self.last),
            aside: self.aside,
            ..OwnCopy::default()
        }
    }

    /// What the server holds.
    pub(super) fn held(&self) -> Option<&Copy> {
        self.held.as_ref()
    }

    /// What the node can lose: what its server holds, or, while that is nothing, what was set aside
    /// for it.
    pub(super) fn at_stake(&self) -> Option<&Copy> {
        match &self.held {
            None => self.on_disk.as_ref(),
            Some(Copy::Empty) => self.aside.as_ref().or(self.held.as_ref()),
            held => held.as_ref(),
        }
    }

    pub(super) fn set_aside(&self) -> bool {
        self.held == Some(Copy::Empty) && self.aside.is_some()
    }

    /// What the last server held is set aside now, or what was set aside before is so still.
    pub(super) fn note_aside(&mut self) {
        // One that was never read is worth more than none.
        self.aside = (self.aside.take())
            .or(self.on_disk.take())
            .or(self.last.take())
            .or(Some(Copy::Unmarked));
    }

    /// What was found on disk that the own server can't read.
    pub(super) fn found_on_disk(&mut self, copy: Option<Copy>) {
        self.on_disk = copy;
    }

    /// What was set aside was never read, so nothing else has been compared with it.
    pub(super) fn aside_is_unread(&self) -> bool {
        self.aside == Some(Copy::Unmarked)
    }

    /// Nothing is set aside any more.
    pub(super) fn forget_aside(&mut self) {
        self.aside = None;
    }

    pub(super) fn in_term(&self) -> bool {
        self.in_term
    }

    pub(super) fn confirmed(&self) -> bool {
        let mark = self.held.as_ref().and_then(Copy::mark);
        mark.is_some_and(|mark| mark.confirmed)
    }

    pub(super) fn written(&self) -> bool {
        self.changes != self.changes_marked
    }

    pub(super) fn promotable(&self) -> bool {
        self.promotable
    }

    pub(super) fn chosen(&self) -> bool {
        self.chosen
    }

    /// What the server has just said.
    pub(super) fn read(&mut self, seen: ServerState, info: &ReplicationInfo, copy: Option<Copy>) {
        self.held = copy;
        self.changes = info.changes;
        self.promotable = info.priority > 0;
        self.chosen = match seen {
            ServerState::Parked
            | ServerState::Replica {
                link_down_for: Some(_),
                ..
            } => info.priority == CHOSEN,
            ServerState::Primary { .. } => self.chosen && !self.in_term,
            _ => false,
        };
        let is_primary = matches!(seen, ServerState::Primary { .. });
        // Another history while it is primary: it was promoted anew, unseen.
        if !is_primary || (self.was_primary && self.history != info.replication_id) {
            self.term = None;
            self.in_term = false;
        }
        self.was_primary = is_primary;
        self.history.clone_from(&info.replication_id);
        let mark = self.held.as_ref().and_then(Copy::mark);
        // A closed lab goes on by `halab close --reopen`: it began the next term for this node.
        if let (Some(term), Some(mark)) = (&self.term, mark)
            && mark.term.number >= term.term.number
            && mark.term.id != term.term.id
            && mark.term.by == term.term.by
            && mark.history == self.history
        {
            self.term = Some(mark.clone());
        }
        self.in_term = match (&self.term, mark) {
            (Some(term), Some(mark)) => self.in_term || mark.term == term.term,
            (Some(_), None) => self.in_term,
            (None, _) => false,
        };
    }

    /// What is to be noted in the state folder: the copy, when more has changed than its count.
    pub(super) fn take_note(&mut self) -> Option<String> {
        let held = self.at_stake()?.clone();
        let but_count = |copy: &Copy| match copy {
            Copy::Marked(mark) => Copy::Marked(Box::new(Mark {
                count: 0,
                ..(**mark).clone()
            })),
            other => other.clone(),
        };
        let now = Some(but_count(&held));
        if self.noted == now {
            return None;
        }
        self.noted = now;
        Some(match &held {
            Copy::Marked(mark) => mark.or_later(),
            other => other.to_string(),
        })
    }

    /// For the state machine.
    pub(super) fn own(&self, me: &str) -> OwnData {
        match self.at_stake() {
            None => OwnData::Unread,
            Some(Copy::Empty) => OwnData::Empty,
            Some(Copy::Unmarked) => OwnData::Data(MarkSummary::NONE),
            Some(Copy::Marked(mark)) => OwnData::Data(MarkSummary {
                state: Some(mark.state),
                epoch: mark.epoch,
                mine: mark.term.by == me,
                confirmed: mark.confirmed,
                current: mark.history == self.history,
            }),
        }
    }
}

impl DataNode {
    /// The mark that begins the term of this node as primary. `decided`: by this node itself.
    fn first_mark(&mut self, decided: bool) -> Mark {
        if let Some(mark) = &self.copy.term {
            return mark.clone();
        }
        let last = self.copy.held().and_then(Copy::mark);
        let mut mark = Mark::begin(last, &self.node.name, drawn());
        mark.epoch = self.named_epoch();
        // By its own decision, it waits until the Sentinels see it.
        mark.confirmed = !decided && mark.epoch.is_some();
        if self.copy.chosen() {
            mark = mark.forced();
            let mine = self.copy.held().cloned().unwrap_or(Copy::Empty);
            let others = self.observers.copies().into_iter();
            let me = &self.node.name;
            let given_up = others
                .filter_map(|(name, copy)| Some((name, copy?)))
                .filter(|(name, copy)| {
                    let relation = mine.against_that_of(me, copy, name, false);
                    matches!(relation, Relation::More | Relation::Apart)
                });
            mark.over
                .extend(given_up.filter_map(|(_, copy)| copy.mark().map(Mark::place)));
        }
        self.copy.term = Some(mark.clone());
        mark
    }

    /// The epoch at which a majority of the Sentinels names this node.
    pub(super) fn named_epoch(&self) -> Option<u64> {
        let vote = self.observers.vote()?;
        (vote.primary == self.node.socket()).then_some(vote.epoch)
    }

    /// What was set aside for a copy that this node now serves with is not to come back in its
    /// place.
    fn keep_set_aside(&mut self) {
        self.copy.forget_aside();
        if let Err(error) = self.state.keep_set_aside() {
            warn!(node = %self.node.name, %error, "old data is still set aside");
        }
    }

    /// Marks the begin of the term in which this node is primary, and lets its server copy from
    /// others again later.
    pub(super) async fn begin_term(&mut self) {
        self.keep_set_aside();
        self.admit().await;
        let mark = self.first_mark(false);
        // As a primary before, it may have been closed.
        if self.write_mark(&mark, &[accept_writes(true)]).await {
            info!(node = %self.node.name, term = mark.term.number, "the term is marked");
        }
    }

    /// Becomes primary and begins the term, in one go: no write comes in between.
    pub(super) async fn promote(&mut self) {
        self.keep_set_aside();
        self.admit().await;
        let mark = self.first_mark(true);
        let mut promote = redis::cmd("REPLICAOF");
        promote.arg("NO").arg("ONE");
        if self
            .write_mark(&mark, &[accept_writes(true), promote])
            .await
        {
            info!(node = %self.node.name, term = mark.term.number, "the term is marked");
        }
    }

    /// Writes the next mark of the term.
    pub(super) async fn mark(&mut self, marking: NextMark) {
        if marking.state == Completeness::Sole && self.sync_always != Some(true) {
            // The mark says that everything is on disk before it is answered.
            return;
        }
        if let Some(mark) = self.next_mark(marking.epoch, marking.state) {
            let mark = Mark {
                confirmed: marking.confirmed,
                ..mark
            };
            self.write_mark(&mark, &[]).await;
        }
    }

    /// A closed lab goes on, in another term.
    pub(super) async fn reopen(&mut self) {
        let Some(closed) = self.copy.held().and_then(Copy::mark) else {
            return;
        };
        let mark = closed.reopen(&self.copy.history, drawn());
        let written = async { write_reopening(self.own_conn().await?, &mark).await }.await;
        match written {
            Ok(()) => {
                info!(node = %self.node.name, "the lab was closed and not stopped: writes go on")
            }
            // Again at the next look.
            Err(error) => warn!(node = %self.node.name, %error, "a closed lab cannot go on yet"),
        }
    }

    fn next_mark(&self, epoch: Option<u64>, state: Completeness) -> Option<Mark> {
        let term = self.copy.term.as_ref()?;
        let held = self.copy.held().and_then(Copy::mark);
        // The one that is there, unless it was removed.
        let last = held.filter(|mark| mark.term == term.term).unwrap_or(term);
        Some(last.next(epoch, state))
    }

    /// Writes a mark, after `first`. Says whether it is written; if not, the machine sees that at
    /// the next look.
    async fn write_mark(&mut self, mark: &Mark, first: &[redis::Cmd]) -> bool {
        let mark = &Mark {
            // Not known yet where it is promoted by `first`: the next mark has it.
            history: self.copy.history.clone(),
            ..mark.clone()
        };
        let mut pipe = redis::pipe();
        for cmd in first {
            pipe.add_command(cmd.clone());
        }
        pipe.add_command(set_mark(mark));
        pipe.cmd("INFO").arg("persistence");
        let limit = MARK_LIMIT.max(self.lab.timing.hang_timeout / 4);
        let written = match timeout(limit, self.send_mark(&pipe)).await {
            Ok(Ok(changes)) => {
                self.copy.changes_marked = changes;
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            // Writes are paused, or the disk is slow. The command goes with its connection.
            Err(_) => {
                self.conn = None;
                Err(format!("no answer within {limit:?}"))
            }
        };
        match written {
            Ok(()) => {
                if self.copy.term.as_ref().is_some_and(|t| t.term == mark.term) {
                    self.copy.term = Some(mark.clone());
                }
                self.copy.refusal_reported = false;
                true
            }
            Err(error) if self.copy.refusal_reported => {
                debug!(node = %self.node.name, error, "cannot mark the copy yet");
                false
            }
            Err(error) => {
                self.copy.refusal_reported = true;
                warn!(node = %self.node.name, error, "cannot mark the copy yet; until then writes are acknowledged only \
                    when every data node has them");
                false
            }
        }
    }

    async fn send_mark(&mut self, pipe: &redis::Pipeline) -> Result<u64, ClientError> {
        let mut changes = 0;
        for answer in self.own_conn().await?.all(pipe).await? {
            match answer {
                Value::BulkString(text) => {
                    changes = ReplicationInfo::parse(&String::from_utf8_lossy(&text)).changes;
                }
                Value::VerbatimString { text, .. } => {
                    changes = ReplicationInfo::parse(&text).changes;
                }
                _ => {}
            }
        }
        Ok(changes)
    }

    /// Lets the own server log in at others, and so copy from one.
    pub(super) async fn admit(&mut self) {
        self.admitted = false;
        let mut login = self.replication_login();
        while let Some(password) = login {
            let mut cmd = redis::cmd("CONFIG");
            cmd.arg("SET");
            match &password {
                Some(password) => {
                    cmd.arg("masteruser").arg(User::Replication.name());
                    cmd.arg("masterauth").arg(password.expose_secret());
                }
                None => {
                    cmd.arg("masteruser").arg("").arg("masterauth").arg("");
                }
            }
            if !self.send(&cmd).await {
                return;
            }
            // A new one may have been given to the server between the reading of this one and its
            // setting.
            login = self.replication_login();
            let secret =
                |login: &Option<SecretString>| login.as_ref().map(|p| p.expose_secret().to_owned());
            if login.as_ref().map(&secret) == Some(secret(&password)) {
                self.admitted = true;
                return;
            }
        }
    }

    /// The password with which the own server copies from another; the inner `None` where there are
    /// no users, the outer one where it can't be read.
    fn replication_login(&self) -> Option<Option<SecretString>> {
        let login = Secrets::of_lab(&self.lab).and_then(|secrets| {
            secrets
                .map(|secrets| secrets.password(User::Replication))
                .transpose()
        });
        login
            .inspect_err(|error| warn!(node = %self.node.name, %error, "no password to copy with"))
            .ok()
    }

    /// What every data node holds, as far as it is known, in one line.
    pub(super) fn describe_copies(&self) -> String {
        let own = (self.node.name.clone(), self.copy.at_stake().cloned());
        let all = std::iter::once(own).chain(self.observers.copies());
        all.map(|(name, copy)| match copy {
            Some(copy) => format!("{name}: {copy}"),
            None => format!("{name}: not known"),
        })
        .collect::<Vec<_>>()
        .join("; ")
    }
}
