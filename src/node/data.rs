//! A data node: observes, asks the state machine what to do, and does it; how it ends is in
//! `leave`, what it says of its copy in `marks`, how it becomes promotable in `raise`, whether it
//! may in `roster`, how what it has comes to the disk in `syncing`.

mod following;
mod leave;
mod marks;
mod pacing;
mod raise;
mod renewal;
mod roster;
mod syncing;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use crate::access::User;
use crate::client::{ClientError, Conn, Connector, Held, ReplicationInfo};
use crate::config::{Lab, Node, NodeKind};
use crate::handover::demote;
use crate::protocol::copy::Copy;
use crate::protocol::format::Version;
use crate::report::Cause;
use crate::sentinel::Panel;

use super::binary::ServerBinary;
use super::certificate::Certificate;
use super::held::OnDisk;
use super::machine::{Action, Identity, Machine, Observation, Server as Seen};
use super::metrics::DataMetrics;
use super::observe::{CALM, Observers, URGENT};
use super::server::Server;
use super::state::StateDir;
use super::state::config_file::{PARKED_LOGIN, parked_at};
use super::statement::Statement;
use super::{NodeError, Shutdown, version};

use following::Following;
use marks::OwnCopy;
use pacing::Pacing;
use raise::Raising;
use roster::Listed;
use syncing::Syncing;

/// Limit for a connect or an answer of another node: several round trips between sites that are far
/// apart.
const OTHERS_LIMIT: Duration = Duration::from_secs(1);
/// How long writes are paused at a time while this primary may be isolated; repeated before it
/// ends.
const FENCE_MS: u64 = 1000;
/// Questions without an answer before the server's silence counts: one is lost when this process
/// was stopped between asking and hearing. Each may take a third of the hang limit.
const HANG_QUESTIONS: u32 = 3;
/// How long the server may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What is the node's own, whatever the lab.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) state: StateDir,
    pub(super) binary: ServerBinary,
    pub(super) metrics: DataMetrics,
    pub(super) certificate: Option<Certificate>,
    pub(super) statement: Statement,
}

/// Everything that a data node works with.
#[derive(Debug)]
pub(super) struct DataNode {
    lab: Lab,
    node: Node,
    state: StateDir,
    conf: PathBuf,
    binary: ServerBinary,
    panel: Arc<Panel>,
    /// To the own server.
    connector: Connector,
    /// To the other nodes.
    others: Connector,
    observers: Observers,
    raising: Raising,
    following: Following,
    pacing: Pacing,
    syncing: Syncing,
    /// The server has been told to sync by itself, for this node can't.
    server_syncs: bool,
    machine: Machine,
    metrics: DataMetrics,
    certificate: Option<Certificate>,
    statement: Statement,
    started: Instant,
    server: Option<Server>,
    conn: Option<Conn>,
    last_answer: Option<Instant>,
    /// Questions since then.
    unanswered: u32,
    link_down_since: Option<Instant>,
    /// The server has its data in memory.
    loaded: bool,
    /// What it holds.
    copy: OwnCopy,
    /// Its copy of the roster, and what that says of this node.
    roster: Option<Held>,
    listed: Listed,
    /// From where an operator has moved nodes: names and addresses of before.
    moved_from: Vec<(String, SocketAddrV4)>,
    /// Nodes that were moved, and answer where they were.
    answer_elsewhere: Vec<String>,
    /// It has a login with which it can copy from another.
    admitted: bool,
    /// How often it writes to disk, as it has confirmed.
    sync_always: Option<bool>,
    /// What the server said of its disk last.
    disk_refuses: bool,
    /// It took no further connection then.
    crowded: bool,
    /// That it serves with its files is noted beside them.
    noted: bool,
    /// Who wrote what is on disk, while no server runs and the one that is there can't read it.
    written_by: Option<String>,
    compared: version::Compared,
    /// What that holds.
    on_disk: OnDisk,
}

/// Why the loop ended.
enum End {
    Stopped,
    GaveUp,
}

impl DataNode {
    pub(super) fn new(lab: Lab, node: Node, own: Own) -> Result<Self, NodeError> {
        let Own {
            state,
            binary,
            metrics,
            certificate,
            statement,
        } = own;
        metrics.certificate_ends(certificate.as_ref().map_or(0, Certificate::end));
        // Answers are waited for shorter than the hang limit, so that one lost answer is not a
        // hang.
        let limit = (lab.timing.hang_timeout / HANG_QUESTIONS).max(CALM);
        let connector = || Connector::new(&lab, User::Node).from_source(lab.listens(&node));
        let others = connector().patient(OTHERS_LIMIT.max(lab.timing.raise_limit));
        let connector = connector().within(limit);
        let panel = Arc::new(Panel::new(&lab, others.clone()));
        let observers = Observers::start(&lab, &node, &panel, &others);
        let seed = lab
            .node(&lab.seed_primary)
            .map_or(node.socket(), Node::socket);
        let machine = Machine::new(Identity {
            me: node.socket(),
            seed,
            has_state: !state.first_start(),
            hang_timeout: lab.timing.hang_timeout,
            down_after: lab.timing.down_after,
        });
        let conf = state.apply(&lab, &node)?;
        let moved_from = state.moved_from(&node);
        metrics.removed_unfinished(state.take_unfinished());
        let syncing = Syncing::start(state.files());
        Ok(DataNode {
            syncing,
            server_syncs: false,
            lab,
            node,
            state,
            conf,
            binary,
            panel,
            connector,
            others,
            observers,
            raising: Raising::default(),
            following: Following::default(),
            pacing: Pacing::default(),
            machine,
            metrics,
            certificate,
            statement,
            started: Instant::now(),
            server: None,
            conn: None,
            last_answer: None,
            unanswered: 0,
            link_down_since: None,
            loaded: false,
            copy: OwnCopy::default(),
            roster: None,
            listed: Listed::default(),
            moved_from,
            answer_elsewhere: Vec::new(),
            admitted: false,
            sync_always: None,
            disk_refuses: false,
            crowded: false,
            noted: false,
            written_by: None,
            compared: version::Compared::default(),
            on_disk: OnDisk::default(),
        })
    }

    /// Runs until a signal comes or the server ends too often. Returns the server's status.
    pub(super) async fn run(
        mut self,
        shutdown: &Shutdown,
    ) -> Result<Option<ExitStatus>, NodeError> {
        match self.serve(shutdown).await? {
            End::GaveUp => Err(NodeError::CrashLoop {
                node: self.node.name.clone(),
                said: self.statement.said().map(|said| said.line),
            }),
            End::Stopped => {
                info!(node = %self.node.name, "stopping");
                self.metrics.stopping();
                Ok(self.leave().await)
            }
        }
    }

    async fn serve(&mut self, shutdown: &Shutdown) -> Result<End, NodeError> {
        loop {
            if shutdown.requested() {
                return Ok(End::Stopped);
            }
            if let Some(why) = self.observers.ended() {
                return Err(NodeError::Observer(why));
            }
            let server = self.look().await?;
            self.watch_syncs().await;
            let server = self.apply_roster(server).await;
            self.assure(server).await;
            if matches!(server, Seen::Primary { .. } | Seen::Replica { .. }) {
                self.renew_certificate().await;
            }
            // A term that is not marked yet, or does not count, holds up who writes.
            let settled = self.copy.in_term() && self.copy.confirmed();
            let calm = matches!(server, Seen::Primary { .. } if settled)
                || matches!(
                    server,
                    Seen::Replica {
                        link_down_for: None,
                        promotable,
                        ..
                    } if promotable || !self.listed.may_be_promotable()
                );
            self.observers.set_pace(if calm { CALM } else { URGENT });
            let seen = Observation {
                now: self.started.elapsed(),
                server,
                disk_refuses: match server {
                    Seen::Gone => self.state.no_room().is_some(),
                    _ => self.disk_refuses,
                },
                unreadable: self.written_by.is_some(),
                sync_always: self.sync_always,
                own: self.copy.own(&self.node.name),
                set_aside: self.copy.set_aside(),
                in_term: self.copy.in_term(),
                written: self.copy.written(),
                chosen: self.copy.chosen(),
                vote: self.observers.vote(),
                peers: self.observers.peers(self.copy.at_stake(), self.version()),
            };
            self.metrics.observed(&seen);
            self.statement.observed(&seen);
            self.statement
                .foreign_primary(self.observers.foreign_primary());
            for action in self.machine.step(&seen) {
                self.metrics.decided(&action);
                self.statement.decided(&action);
                debug!(node = %self.node.name, ?action, ?seen, "decided");
                if action == Action::GiveUp {
                    return Ok(End::GaveUp);
                }
                self.act(action).await?;
            }
            let copied = self.pace(server).await;
            let ended = async {
                match &mut self.server {
                    Some(server) => drop(server.wait().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep(if calm && !copied { CALM } else { URGENT }) => {}
                () = ended => {}
                () = shutdown.wait() => return Ok(End::Stopped),
            }
        }
    }

    /// Looks at the own server.
    async fn look(&mut self) -> Result<Seen, NodeError> {
        let Some(server) = &mut self.server else {
            self.compare_versions();
            return Ok(Seen::Gone);
        };
        if let Some(status) = server.try_wait() {
            warn!(node = %self.node.name, %status, "the server has ended");
            self.statement
                .update(|report| report.last_end = Some(status.to_string()));
            if !self.loaded && status.code().is_some_and(|code| code != 0) {
                // It has served nobody, so nobody waits for what this node does next.
                server.all_heard().await;
                self.tell_failed_start()?;
            }
            self.metrics.exited();
            self.forget_server();
            self.compare_versions();
            return Ok(Seen::Gone);
        }
        if self.conn.is_none() && self.connector.pauses(self.node.socket()) {
            return Ok(self.silence());
        }
        match self.ask_server().await {
            Ok((info, copy)) => {
                self.last_answer = Some(Instant::now());
                self.unanswered = 0;
                let seen = self.read(&info);
                if self.loaded
                    && !std::mem::replace(&mut self.noted, true)
                    && let Some(running) = Version::parse(&info.version)
                {
                    version::note(&self.state.files(), running);
                }
                self.copy.read(seen, &info, copy);
                if let Some(holds) = self.copy.take_note() {
                    self.state.note_holding(&holds);
                }
                Ok(seen)
            }
            Err(error) => {
                debug!(node = %self.node.name, %error, "no answer of the own server");
                self.conn = None;
                self.unanswered += 1;
                Ok(self.silence())
            }
        }
    }

    /// What a server is that does not answer.
    fn silence(&self) -> Seen {
        match self.last_answer {
            None => Seen::Starting,
            // It may be this process that was not running.
            Some(_) if self.unanswered < HANG_QUESTIONS => Seen::Silent(Duration::ZERO),
            Some(at) => Seen::Silent(at.elapsed()),
        }
    }

    /// Says why the server has ended before its data was loaded. An error: no further start helps.
    fn tell_failed_start(&self) -> Result<(), NodeError> {
        if let Some(why) = self.statement.config_refused() {
            return Err(NodeError::ConfigRefused {
                node: self.node.name.clone(),
                file: self.conf.clone(),
                why,
            });
        }
        let said = self.statement.said();
        let (cause, said) = said.map_or((Cause::Other, None), |s| (s.cause, Some(s.line)));
        let help = match cause {
            Cause::DataTooNew => {
                "the data was written by a newer server and is not damaged: install that version here or a newer one; repair \
                 nothing"
            }
            Cause::DataUnreadable => {
                "if the append-only file is damaged: start the other data nodes; one that has the data takes over, and here it is \
                 set aside and copied anew from there; where none has, this may be the only copy: copy the folder, then restore a \
                 backup, or cut off all behind the damage with redis-check-aof --fix"
            }
            _ => "see what the server said; its data is not touched",
        };
        error!(node = %self.node.name, folder = %self.state.data().display(), said = said.as_deref().unwrap_or("nothing"),
            "the server has ended before its data was loaded; {help}");
        Ok(())
    }

    fn forget_server(&mut self) {
        self.server = None;
        self.connector.forget(self.node.socket());
        self.conn = None;
        self.last_answer = None;
        self.unanswered = 0;
        self.link_down_since = None;
        self.loaded = false;
        self.copy = std::mem::take(&mut self.copy).of_ended_server();
        self.admitted = false;
        // As its file says.
        self.sync_always = Some(false);
        self.server_syncs = false;
        self.disk_refuses = false;
        self.noted = false;
        self.raising.server_ended();
        self.following = Following::default();
        self.pacing = Pacing::default();
    }

    /// The version of the server that is started here.
    fn version(&self) -> Option<Version> {
        Version::parse(&self.binary.title())
    }

    /// Whether the server that would be started can read what is on disk. It may have been replaced
    /// by another version.
    fn compare_versions(&mut self) {
        if self.binary.refresh() {
            info!(node = %self.node.name, version = %self.binary.title(), "the server is another one now");
        }
        let files = self.state.files();
        self.written_by = self
            .version()
            .and_then(|own| self.compared.look(&files, own));
        if self.written_by.is_none() {
            self.on_disk = OnDisk::default();
        } else {
            let copy = self.on_disk.ask(&files);
            self.copy.found_on_disk(copy);
        }
    }

    async fn ask_server(&mut self) -> Result<(ReplicationInfo, Option<Copy>), ClientError> {
        self.own().await?.holding().await
    }

    /// The connection to the own server.
    async fn own(&mut self) -> Result<&mut Conn, ClientError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let mut conn = self.connector.open(self.node.socket()).await?;
                // So that `halab member` sees who runs with which lab.toml. A server that does not
                // take it serves all the same.
                if let Err(error) = conn.state_known(&self.lab).await {
                    debug!(node = %self.node.name, %error, "which nodes are known here is not stated");
                }
                conn
            }
        };
        Ok(self.conn.insert(conn))
    }

    fn read(&mut self, info: &ReplicationInfo) -> Seen {
        self.disk_refuses = info.disk_refuses;
        if info.crowded && !self.crowded {
            error!(node = %self.node.name, "the server takes no more connections, all of maxclients are taken: close idle \
                ones, or raise maxclients and ulimit -n; those that stand go on");
        }
        self.crowded = info.crowded;
        if info.loading {
            return Seen::Loading;
        }
        self.loaded = true;
        if info.is_primary {
            self.link_down_since = None;
            let now = self.started.elapsed();
            let roster = self.roster.as_ref();
            let own = self.node.socket();
            let counts = |at| roster::counts(roster, own, at);
            let replicas = self.following.in_sync(now, info, counts);
            let lab = &self.lab;
            let members = |at| lab.data_nodes.iter().any(|node| node.socket() == at);
            self.pacing.see(now, info, &self.following, members);
            return Seen::Primary { replicas };
        }
        self.pacing.ended();
        let of = info
            .primary
            .unwrap_or_else(|| parked_at(&self.lab, &self.node));
        // A Sentinel has a parked server follow its primary after a while. Without a login it
        // copies nothing, and its role is as undecided as before.
        let copies = info.link_up || info.syncing;
        if of == parked_at(&self.lab, &self.node) || !(self.admitted || copies) {
            return Seen::Parked;
        }
        let link_down_for = if info.link_up && !info.syncing {
            self.link_down_since = None;
            None
        } else {
            Some(
                self.link_down_since
                    .get_or_insert_with(Instant::now)
                    .elapsed(),
            )
        };
        Seen::Replica {
            of,
            link_down_for,
            promotable: info.priority > 0,
        }
    }

    async fn act(&mut self, action: Action) -> Result<(), NodeError> {
        let name = self.node.name.clone();
        match action {
            Action::Start => return self.start_server(),
            Action::StartAfresh => {
                info!(node = %name, "another node was promoted: the own data is set aside");
                self.state.set_aside()?;
                self.copy.note_aside();
                return self.start_server();
            }
            Action::GiveUp => {}
            Action::DiskRefuses => {
                let why = self.state.no_room();
                let told = why
                    .clone()
                    .unwrap_or_else(|| "its server can't write".into());
                self.statement.update(|report| report.disk = Some(told));
                error!(node = %name, folder = %self.state.data().display(),
                    why = why.as_deref().unwrap_or("see the server's log"), "the disk takes no writes: free space \
                    there, or make it writable; until then another node takes over, and this one waits");
            }
            Action::CannotLoad => {
                let wrote = self.written_by.as_deref().unwrap_or("another server");
                let why = version::cannot_load(&self.binary.title(), wrote);
                error!(node = %name, folder = %self.state.data().display(), "{why}");
                self.statement.refused_for_version(why);
            }
            Action::CannotFollow(primary) => {
                let writes = self.observers.version_of(primary);
                let why = version::cannot_follow(&self.binary.title(), writes);
                error!(node = %name, %primary, "{why}");
                self.statement.refused_for_version(why);
            }
            Action::Kill => {
                error!(node = %name, "the server hangs; killing it");
                if let Some(server) = &mut self.server {
                    server.signal(Signal::KILL);
                    // Certain death is what follows from here on.
                    drop(server.wait().await);
                }
            }
            Action::Promote(why) => {
                info!(node = %name, role = "primary", why, copies = %self.describe_copies(), "role decided");
                self.promote().await;
            }
            Action::Stand(why) => {
                if !self.copy.promotable() {
                    info!(node = %name, why, copies = %self.describe_copies(), "stands for the role");
                    self.stand().await;
                }
            }
            Action::Park(why) => {
                warn!(node = %name, why, "takes no writes");
                self.park().await;
            }
            Action::BeginTerm => self.begin_term().await,
            Action::Mark(marking) => self.mark(marking).await,
            Action::Reopen => self.reopen().await,
            Action::Yield => return self.give_up_copy().await,
            Action::PutBack => return self.put_back().await,
            Action::Follow(primary, why) => {
                info!(node = %name, role = "replica", of = %primary, why, "role decided");
                self.follow(primary).await;
            }
            Action::CallFailover(why) => {
                let called = self.panel.call_failover(self.node.socket()).await;
                self.metrics.called_failover(called.is_ok());
                match called {
                    Ok(by) => info!(node = %name, %by, why, "failover called"),
                    Err(error) => {
                        warn!(node = %name, %error, why, "no Sentinel takes the failover")
                    }
                }
            }
            Action::Raise => self.raise().await,
            Action::Lower(why) => {
                info!(node = %name, why, "not promotable");
                self.set("replica-priority", "0").await;
            }
            Action::SyncAlways(always) => {
                let (value, why) = if always {
                    ("always", "no replica is in sync: this is the only copy")
                } else {
                    (self.syncs_once_a_second(), "a replica is in sync")
                };
                info!(node = %name, appendfsync = value, why, "how often it is written to disk");
                let taken = self.set("appendfsync", value).await;
                self.sync_always = taken.then_some(always);
            }
            Action::Fence => {
                warn!(node = %name, "writes paused: no majority of the Sentinels, no replica in sync");
                self.send(redis::cmd("CLIENT").arg("PAUSE").arg(FENCE_MS).arg("WRITE"))
                    .await;
            }
            Action::Unfence => {
                info!(node = %name, "writes go on");
                self.send(redis::cmd("CLIENT").arg("UNPAUSE")).await;
            }
            Action::Waiting(what) => {
                info!(node = %name, copies = %self.describe_copies(), "waiting for {what}");
            }
        }
        Ok(())
    }

    fn start_server(&mut self) -> Result<(), NodeError> {
        self.forget_server();
        // Read anew, whatever was seen while it did not matter yet.
        self.compared = version::Compared::default();
        self.compare_versions();
        if self.written_by.is_some() {
            // As the next look says, too.
            return Ok(());
        }
        // Parked again, whatever the server has written into its file meanwhile.
        self.conf = self.state.apply(&self.lab, &self.node)?;
        self.metrics
            .removed_unfinished(self.state.take_unfinished());
        if let Some(certificate) = &mut self.certificate {
            certificate.read_at_start();
            self.metrics.certificate_ends(certificate.end());
        }
        let server = Server::start(&self.binary, &self.conf, NodeKind::Data, &self.statement)?;
        info!(node = %self.node.name, pid = server.pid(), address = %self.node.socket(),
            version = %self.binary.version, "server started");
        self.server = Some(server);
        self.metrics.started();
        Ok(())
    }

    /// How a server is told to sync its file once a second.
    fn syncs_once_a_second(&self) -> &'static str {
        if self.server_syncs { "everysec" } else { "no" }
    }

    /// Where this node can't sync the file, the server does, until it is started again: it refuses
    /// writes, then, by itself.
    async fn watch_syncs(&mut self) {
        let Some(why) = self.syncing.trouble().filter(|_| !self.server_syncs) else {
            return;
        };
        error!(node = %self.node.name, why, folder = %self.state.data().display(), "the append-only file can't be synced to \
            disk: see what ails the disk; the server refuses writes as long as it can't either");
        self.server_syncs = true;
        if self.sync_always != Some(true) && self.server.is_some() {
            self.server_syncs = self.set("appendfsync", "everysec").await;
        }
    }

    /// Becomes a replica of an address where nothing listens.
    async fn park(&mut self) {
        let mut login = redis::cmd("CONFIG");
        login.arg("SET").arg("replica-priority").arg("0");
        for (key, value) in PARKED_LOGIN {
            login.arg(key).arg(value);
        }
        // In one transaction: in between, somebody could have it copy.
        if self
            .demote(parked_at(&self.lab, &self.node), Some(login))
            .await
        {
            self.admitted = false;
        }
    }

    /// Starts again with what was set aside.
    async fn put_back(&mut self) -> Result<(), NodeError> {
        if let Some(mut server) = self.server.take() {
            stop(&mut server).await;
        }
        self.state.restore_aside()?;
        warn!(node = %self.node.name, "there is nobody to copy from: the data that was set aside is put back");
        self.start_server()?;
        self.copy.forget_aside();
        Ok(())
    }

    /// Starts anew without the own data, which is kept aside: an operator has chosen another copy.
    async fn give_up_copy(&mut self) -> Result<(), NodeError> {
        if let Some(mut server) = self.server.take() {
            stop(&mut server).await;
        }
        let kept = self.state.keep_aside()?;
        warn!(node = %self.node.name, kept = %kept.display(), "an operator has chosen another copy: the own data is kept \
            there, and copied anew");
        self.start_server()
    }

    async fn follow(&mut self, primary: SocketAddrV4) {
        // It has caught up with nobody yet.
        self.set("replica-priority", "0").await;
        self.admit().await;
        // Otherwise at the next look: without a login it would copy nothing.
        if self.admitted {
            self.demote(primary, None).await;
        }
    }

    /// Says whether the server has taken it.
    async fn demote(&mut self, primary: SocketAddrV4, first: Option<redis::Cmd>) -> bool {
        let sent = match self.own().await {
            Ok(conn) => demote(conn, primary, first).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // Not lost: the next observation leads to the same decision.
            warn!(node = %self.node.name, %error, "cannot become a replica yet");
            return false;
        }
        true
    }

    async fn set(&mut self, parameter: &str, value: &str) -> bool {
        self.send(redis::cmd("CONFIG").arg("SET").arg(parameter).arg(value))
            .await
    }

    /// Sends a command to the own server, and says whether it took it. One that fails is logged,
    /// and not repeated here: the machine sees the effect, or its absence, at the next
    /// observation.
    async fn send(&mut self, cmd: &redis::Cmd) -> bool {
        let sent = match self.own().await {
            Ok(conn) => conn.query::<redis::Value>(cmd).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            warn!(node = %self.node.name, %error, "the own server did not take a command");
            return false;
        }
        true
    }
}

/// Ends a server in order: SIGTERM, and SIGKILL when it does not end in time.
pub(super) async fn stop(server: &mut Server) -> Option<ExitStatus> {
    server.signal(Signal::TERM);
    match tokio::time::timeout(STOP_LIMIT, server.wait()).await {
        Ok(status) => status.ok(),
        Err(_) => {
            warn!("the server did not end within {STOP_LIMIT:?}; killing it");
            server.signal(Signal::KILL);
            server.wait().await.ok()
        }
    }
}
