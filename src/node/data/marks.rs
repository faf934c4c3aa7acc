//! The mark of this node's copy, and the login with which the server may copy. The rules are in
//! [`crate::protocol::copy`].
//!
//! A parked server can't copy: it has a login that no server accepts. So its data stays, whoever
//! sends it a `REPLICAOF` (a Sentinel or an operator), until its node has compared the copies and
//! gives it a valid login.

use std::time::Duration;

use redis::Value;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::access::{Secrets, User};
use crate::choosing::CHOSEN_PRIORITY;
use crate::client::{ClientError, ServerInfo, disconnect_clients, random_ids, set_mark};
use crate::closing::{accept_writes, write_reopening};
use crate::protocol::copy::{Completeness, DataCopy, Mark, Relation};

use super::super::machine::{MarkSummary, NextMark, OwnData, ServerState};
use super::DataNode;

/// Limit for writing a mark, or a quarter of the hang limit if that is longer. The command waits
/// while writes are paused.
const MARK_LIMIT: Duration = Duration::from_millis(300);

/// This node's copy, as far as the node knows it.
#[derive(Debug, Default)]
pub(super) struct OwnCopy {
    /// As last read; `None`: not read since the server was started.
    held: Option<DataCopy>,
    /// The copy of the last server when it ended.
    last: Option<DataCopy>,
    /// The copy on disk that this node's server can't read.
    on_disk: Option<DataCopy>,
    /// The copy that was set aside until a new one is complete; `None` also if unknown.
    aside: Option<DataCopy>,
    /// The mark that begins this node's term as primary, written or being written.
    term: Option<Mark>,
    /// It was read back.
    in_term: bool,
    /// The server's replication history, and whether it was primary when last read.
    history: String,
    was_primary: bool,
    /// Changes of the data by the server's count, now and at the last mark.
    changes: u64,
    changes_marked: u64,
    /// Its `replica-priority` is not 0.
    promotable: bool,
    /// An operator has chosen it.
    chosen: bool,
    /// A refused mark has been reported.
    refusal_reported: bool,
    /// The last note in the state folder, without its count.
    noted: Option<DataCopy>,
}

impl OwnCopy {
    /// What stays known when the server has ended.
    pub(super) fn of_ended_server(self) -> OwnCopy {
        OwnCopy {
            last: self
                .held
                .filter(|held| *held != DataCopy::Empty)
                .or(self.last),
            aside: self.aside,
            ..OwnCopy::default()
        }
    }

    /// The copy on the server.
    pub(super) fn held(&self) -> Option<&DataCopy> {
        self.held.as_ref()
    }

    /// The copy that the node can lose: that of its server, or, while that is empty, the one that
    /// was set aside.
    pub(super) fn at_stake(&self) -> Option<&DataCopy> {
        match &self.held {
            None => self.on_disk.as_ref(),
            Some(DataCopy::Empty) => self.aside.as_ref().or(self.held.as_ref()),
            held => held.as_ref(),
        }
    }

    pub(super) fn set_aside(&self) -> bool {
        self.held == Some(DataCopy::Empty) && self.aside.is_some()
    }

    /// The copy of the last server is set aside now, unless an older one still is.
    pub(super) fn note_aside(&mut self) {
        // A copy that was never read still counts as one.
        self.aside = (self.aside.take())
            .or(self.on_disk.take())
            .or(self.last.take())
            .or(Some(DataCopy::Unmarked));
    }

    /// Notes the copy on disk that this node's server can't read.
    pub(super) fn found_on_disk(&mut self, copy: Option<DataCopy>) {
        self.on_disk = copy;
    }

    /// The copy that was set aside was never read, so no other was compared with it.
    pub(super) fn aside_is_unread(&self) -> bool {
        self.aside == Some(DataCopy::Unmarked)
    }

    /// Nothing is set aside any more.
    pub(super) fn forget_aside(&mut self) {
        self.aside = None;
    }

    pub(super) fn in_term(&self) -> bool {
        self.in_term
    }

    pub(super) fn confirmed(&self) -> bool {
        let mark = self.held.as_ref().and_then(DataCopy::mark);
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

    /// Takes over the last answer of the server.
    pub(super) fn read(&mut self, seen: ServerState, info: &ServerInfo, copy: Option<DataCopy>) {
        self.held = copy;
        self.changes = info.changes;
        self.promotable = info.priority > 0;
        self.chosen = match seen {
            ServerState::Parked
            | ServerState::Replica {
                link_down_for: Some(_),
                ..
            } => info.priority == CHOSEN_PRIORITY,
            ServerState::Primary { .. } => self.chosen && !self.in_term,
            _ => false,
        };
        let is_primary = matches!(seen, ServerState::Primary { .. });
        // Another history while it is primary: it was promoted again between two observations.
        if !is_primary || (self.was_primary && self.history != info.replication_id) {
            self.term = None;
            self.in_term = false;
        }
        self.was_primary = is_primary;
        self.history.clone_from(&info.replication_id);
        let mark = self.held.as_ref().and_then(DataCopy::mark);
        // `halab close --reopen` began the next term for this node.
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

    /// The note for the state folder, if more than the count of the copy has changed.
    pub(super) fn take_note(&mut self) -> Option<String> {
        let held = self.at_stake()?.clone();
        let but_count = |copy: &DataCopy| match copy {
            DataCopy::Marked(mark) => DataCopy::Marked(Box::new(Mark {
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
            DataCopy::Marked(mark) => mark.or_later(),
            other => other.to_string(),
        })
    }

    /// For the state machine.
    pub(super) fn own(&self, me: &str) -> OwnData {
        match self.at_stake() {
            None => OwnData::Unread,
            Some(DataCopy::Empty) => OwnData::Empty,
            Some(DataCopy::Unmarked) => OwnData::Data(MarkSummary::NONE),
            Some(DataCopy::Marked(mark)) => OwnData::Data(MarkSummary {
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
    /// The mark that begins this node's term as primary. `decided`: the node took the role itself.
    fn first_mark(&mut self, decided: bool) -> Mark {
        if let Some(mark) = &self.copy.term {
            return mark.clone();
        }
        let last = self.copy.held().and_then(DataCopy::mark);
        let mut mark = Mark::begin(last, &self.node.name, random_ids());
        mark.epoch = self.named_epoch();
        // A role taken by the node itself counts when the Sentinels confirm it.
        mark.confirmed = !decided && mark.epoch.is_some();
        if self.copy.chosen() {
            mark = mark.forced();
            let mine = self.copy.held().cloned().unwrap_or(DataCopy::Empty);
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

    /// Keeps the copy that was set aside for good, so that it does not replace the one in use.
    fn keep_set_aside(&mut self) {
        self.copy.forget_aside();
        if let Err(error) = self.state.keep_set_aside() {
            warn!(node = %self.node.name, %error, "data that was set aside could not be moved, and comes back at the next start");
        }
    }

    /// Marks the begin of this node's term as primary, and gives its server a login to copy with
    /// later.
    pub(super) async fn begin_term(&mut self) {
        self.keep_set_aside();
        self.admit().await;
        let mark = self.first_mark(false);
        // It may have been closed as a primary before.
        if self.write_mark(&mark, &[accept_writes(true)]).await {
            info!(node = %self.node.name, term = mark.term.number, "the term is marked");
        }
    }

    /// Becomes primary and begins the term in one transaction, with no write in between.
    pub(super) async fn promote(&mut self) {
        self.keep_set_aside();
        self.admit().await;
        let mark = self.first_mark(true);
        let mut promote = redis::cmd("REPLICAOF");
        promote.arg("NO").arg("ONE");
        // As a Sentinel does: no connection goes on from one term to the next.
        let first = [accept_writes(true), promote, disconnect_clients()];
        if self.write_mark(&mark, &first).await {
            info!(node = %self.node.name, term = mark.term.number, "the term is marked");
        }
    }

    /// Writes the next mark of the term.
    pub(super) async fn mark(&mut self, marking: NextMark) {
        if marking.state == Completeness::Sole && self.sync_always != Some(true) {
            // The mark promises that every write is on disk before its answer.
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

    /// Reopens a closed lab, in a new term.
    pub(super) async fn reopen(&mut self) {
        let Some(closed) = self.copy.held().and_then(DataCopy::mark) else {
            return;
        };
        let mark = closed.reopen(&self.copy.history, random_ids());
        let written = async { write_reopening(self.own_conn().await?, &mark).await }.await;
        match written {
            Ok(()) => {
                info!(node = %self.node.name, "the lab was closed but not stopped, so writes are accepted again")
            }
            // Tried again at the next step.
            Err(error) => {
                warn!(node = %self.node.name, %error, "the closed lab cannot be reopened yet")
            }
        }
    }

    fn next_mark(&self, epoch: Option<u64>, state: Completeness) -> Option<Mark> {
        let term = self.copy.term.as_ref()?;
        let held = self.copy.held().and_then(DataCopy::mark);
        // The mark on the server, unless it was removed.
        let last = held.filter(|mark| mark.term == term.term).unwrap_or(term);
        Some(last.next(epoch, state))
    }

    /// Writes a mark after the commands `first`. Returns whether it is written; if not, the state
    /// machine decides again at the next step.
    async fn write_mark(&mut self, mark: &Mark, first: &[redis::Cmd]) -> bool {
        let mark = &Mark {
            // Not known yet if `first` promotes the server; the next mark has it.
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
            // Writes are paused, or the disk is slow. Dropping the connection drops the command.
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
                warn!(node = %self.node.name, error, "cannot mark the copy yet, so writes are acknowledged only \
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
                    changes = ServerInfo::parse(&String::from_utf8_lossy(&text)).changes;
                }
                Value::VerbatimString { text, .. } => {
                    changes = ServerInfo::parse(&text).changes;
                }
                _ => {}
            }
        }
        Ok(changes)
    }

    /// Gives this node's server the login with which it can copy from another.
    pub(super) async fn admit(&mut self) {
        self.watch.admitted = false;
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
            // The password may have been changed between reading and setting it.
            login = self.replication_login();
            let secret =
                |login: &Option<SecretString>| login.as_ref().map(|p| p.expose_secret().to_owned());
            if login.as_ref().map(&secret) == Some(secret(&password)) {
                self.watch.admitted = true;
                return;
            }
        }
    }

    /// The password with which this node's server copies. The outer `None`: it can't be read; the
    /// inner one: the lab has no users.
    fn replication_login(&self) -> Option<Option<SecretString>> {
        let login = Secrets::load_or_generate(&self.lab).and_then(|secrets| {
            secrets
                .map(|secrets| secrets.password(User::Replication))
                .transpose()
        });
        login
            .inspect_err(|error| warn!(node = %self.node.name, %error, "the password for replication cannot be read"))
            .ok()
    }

    /// The copies of all data nodes in one line, as far as known.
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
