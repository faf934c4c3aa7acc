//! Executes the actions of the state machine on this node's server.

use std::net::SocketAddrV4;

use rustix::process::Signal;
use tracing::{error, info, warn};

use crate::config::NodeKind;
use crate::handover::demote;
use crate::node::machine::Action;
use crate::node::server::ServerProcess;
use crate::node::state::config_file::{PARKED_LOGIN, parked_at};
use crate::node::{NodeError, version};

use super::DataNode;

/// How long one pause of writes lasts while this primary may be isolated; it is renewed before it
/// ends.
const FENCE_MS: u64 = 1000;

impl DataNode {
    pub(super) async fn act(&mut self, action: Action) -> Result<(), NodeError> {
        let name = self.node.name.clone();
        match action {
            Action::Start => return self.start_server(),
            Action::StartAfresh => {
                info!(node = %name, "another node was promoted, so this node's data is set aside");
                self.state.set_aside()?;
                self.copy.note_aside();
                return self.start_server();
            }
            Action::GiveUp => {}
            Action::DiskRefuses => self.report_disk(),
            Action::CannotLoad => self.report_unreadable_data(),
            Action::CannotFollow(primary) => self.report_unreadable_primary(primary),
            Action::Kill => self.kill_server().await,
            Action::Promote(why) => {
                info!(node = %name, role = "primary", why, copies = %self.describe_copies(), "role decided");
                self.promote().await;
            }
            Action::Stand(why) => {
                if !self.copy.promotable() {
                    info!(node = %name, why, copies = %self.describe_copies(), "stands for primary");
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
            Action::GiveUpCopy => return self.give_up_copy().await,
            Action::RestoreSetAside => return self.restore_set_aside().await,
            Action::Follow(primary, why) => {
                info!(node = %name, role = "replica", of = %primary, why, "role decided");
                self.follow(primary).await;
            }
            Action::CallFailover(why) => self.call_failover(why).await,
            Action::Raise => self.raise().await,
            Action::Lower(why) => {
                info!(node = %name, why, "not promotable");
                self.set("replica-priority", "0").await;
            }
            Action::SyncAlways(always) => self.set_sync_always(always).await,
            Action::Fence => {
                warn!(node = %name, "writes paused: no majority of the Sentinels and no replica in sync");
                self.send(redis::cmd("CLIENT").arg("PAUSE").arg(FENCE_MS).arg("WRITE"))
                    .await;
            }
            Action::Unfence => {
                info!(node = %name, "writes resumed");
                self.send(redis::cmd("CLIENT").arg("UNPAUSE")).await;
            }
            Action::Waiting(what) => {
                info!(node = %name, copies = %self.describe_copies(), "waiting for {what}");
            }
        }
        Ok(())
    }

    /// The disk takes no writes.
    fn report_disk(&self) {
        let why = self.state.disk_refusal();
        let reason = why
            .clone()
            .unwrap_or_else(|| "its server cannot write".into());
        self.report.update(|report| report.disk = Some(reason));
        error!(node = %self.node.name, folder = %self.state.data().display(),
            why = why.as_deref().unwrap_or("see the server's log"), "the disk takes no writes, so this node waits; free space \
            there, or make it writable");
    }

    /// This server cannot read the data on disk.
    fn report_unreadable_data(&self) {
        let wrote = self.written_by.as_deref().unwrap_or("another server");
        let why = version::cannot_load(&self.binary.title(), wrote);
        error!(node = %self.node.name, folder = %self.state.data().display(), why,
            "the data on disk cannot be read by this server");
        self.report.refused_for_version(why);
    }

    /// This server cannot read what the primary writes.
    fn report_unreadable_primary(&self, primary: SocketAddrV4) {
        let writes = self.observers.version_of(primary);
        let why = version::cannot_follow(&self.binary.title(), writes);
        error!(node = %self.node.name, %primary, why, "the primary's data cannot be read by this server");
        self.report.refused_for_version(why);
    }

    async fn kill_server(&mut self) {
        error!(node = %self.node.name, "the server hangs; killing it");
        if let Some(server) = &mut self.server {
            server.signal(Signal::KILL);
            // From here on the server is known to be dead.
            drop(server.wait().await);
        }
    }

    async fn call_failover(&mut self, why: &str) {
        let called = self.sentinels.call_failover(self.node.socket()).await;
        self.metrics.called_failover(called.is_ok());
        match called {
            Ok(by) => info!(node = %self.node.name, %by, why, "failover called"),
            Err(error) => {
                warn!(node = %self.node.name, %error, why, "no Sentinel accepts the failover")
            }
        }
    }

    async fn set_sync_always(&mut self, always: bool) {
        let (value, why) = if always {
            ("always", "no replica is in sync, so this is the only copy")
        } else {
            (self.syncs_once_a_second(), "a replica is in sync")
        };
        info!(node = %self.node.name, appendfsync = value, why, "appendfsync changes");
        let taken = self.set("appendfsync", value).await;
        self.sync_always = taken.then_some(always);
    }

    pub(super) fn start_server(&mut self) -> Result<(), NodeError> {
        self.forget_server();
        // Compared again, whatever was found before.
        self.version_check = version::VersionCheck::default();
        self.compare_versions();
        if self.written_by.is_some() {
            // The next observation reports it too.
            return Ok(());
        }
        // Parked, even if the server has rewritten its file since.
        self.conf = self.state.apply(&self.lab, &self.node)?;
        self.metrics
            .removed_unfinished(self.state.take_unfinished());
        if let Some(certificate) = &mut self.certificate {
            certificate.read_at_start();
            self.metrics.certificate_ends(certificate.end());
        }
        let server = ServerProcess::start(&self.binary, &self.conf, NodeKind::Data, &self.report)?;
        info!(node = %self.node.name, pid = server.pid(), address = %self.node.socket(),
            version = %self.binary.version, "server started");
        self.server = Some(server);
        self.metrics.started();
        Ok(())
    }

    /// The value of `appendfsync` with which the file is synced once a second.
    fn syncs_once_a_second(&self) -> &'static str {
        if self.watch.syncs_itself {
            "everysec"
        } else {
            "no"
        }
    }

    /// If this node can't sync the file, the server does it until its next start. If the server
    /// can't either, it refuses writes by itself.
    pub(super) async fn watch_syncs(&mut self) {
        let Some(why) = self.fsync.failure().filter(|_| !self.watch.syncs_itself) else {
            return;
        };
        error!(node = %self.node.name, why, folder = %self.state.data().display(), "the append-only file cannot be synced to \
            disk, so the server syncs it, and refuses writes while it cannot either; check the disk");
        self.watch.syncs_itself = true;
        if self.sync_always != Some(true) && self.server.is_some() {
            self.watch.syncs_itself = self.set("appendfsync", "everysec").await;
        }
    }

    /// Makes the server a replica of an address where nothing listens.
    async fn park(&mut self) {
        let mut login = redis::cmd("CONFIG");
        login.arg("SET").arg("replica-priority").arg("0");
        for (key, value) in PARKED_LOGIN {
            login.arg(key).arg(value);
        }
        // In one transaction, so that nobody can make it copy in between.
        if self
            .demote(parked_at(&self.lab, &self.node), Some(login))
            .await
        {
            self.watch.admitted = false;
        }
    }

    /// Restarts the server with the files that were set aside.
    async fn restore_set_aside(&mut self) -> Result<(), NodeError> {
        if let Some(mut server) = self.server.take() {
            server.stop().await;
        }
        self.state.restore_aside()?;
        warn!(node = %self.node.name, "no node to copy from, so the data that was set aside is restored");
        self.start_server()?;
        self.copy.forget_aside();
        Ok(())
    }

    /// Restarts the server without this node's data, which is kept aside: an operator has chosen
    /// another copy.
    async fn give_up_copy(&mut self) -> Result<(), NodeError> {
        if let Some(mut server) = self.server.take() {
            server.stop().await;
        }
        let kept = self.state.keep_aside()?;
        warn!(node = %self.node.name, kept = %kept.display(), "an operator has chosen another copy, so this node's data is kept aside");
        self.start_server()
    }

    async fn follow(&mut self, primary: SocketAddrV4) {
        // It is not in sync with that primary yet.
        self.set("replica-priority", "0").await;
        self.admit().await;
        // Otherwise at the next step: without a login it would copy nothing.
        if self.watch.admitted {
            self.demote(primary, None).await;
        }
    }

    /// Returns whether the server has accepted the command.
    async fn demote(&mut self, primary: SocketAddrV4, first: Option<redis::Cmd>) -> bool {
        let sent = match self.own_conn().await {
            Ok(conn) => demote(conn, primary, first).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // The next observation leads to the same decision.
            warn!(node = %self.node.name, %error, "cannot become a replica yet");
            return false;
        }
        true
    }

    pub(super) async fn set(&mut self, parameter: &str, value: &str) -> bool {
        self.send(redis::cmd("CONFIG").arg("SET").arg(parameter).arg(value))
            .await
    }

    /// Sends a command to this node's server, and returns whether it was accepted. A failure is
    /// logged and not repeated here: the state machine sees its effect at the next observation.
    pub(super) async fn send(&mut self, cmd: &redis::Cmd) -> bool {
        let sent = match self.own_conn().await {
            Ok(conn) => conn.query::<redis::Value>(cmd).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            warn!(node = %self.node.name, %error, "this node's server refused a command");
            return false;
        }
        true
    }
}
