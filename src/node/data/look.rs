//! Observes the server of this data node: its process, its answer, and the files that it would
//! load.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::client::{ClientError, Conn, ServerInfo};
use crate::node::machine::ServerState;
use crate::node::on_disk::DiskCopy;
use crate::node::state::config_file::parked_at;
use crate::node::{NodeError, version};
use crate::protocol::copy::DataCopy;
use crate::protocol::format::Version;
use crate::report::Cause;

use super::in_sync::ReplicaTracker;
use super::pacing::Pacing;
use super::{DataNode, HANG_QUESTIONS, member_list};

/// What is known of the running server; nothing of it holds for the next one.
#[derive(Debug, Default)]
pub(super) struct ServerWatch {
    last_answer: Option<Instant>,
    /// Questions since the last answer.
    unanswered: u32,
    link_down_since: Option<Instant>,
    /// It has loaded its data.
    loaded: bool,
    /// Its version has been noted beside its files.
    noted: bool,
    /// It refused writes because of its disk, at the last answer.
    pub(super) disk_refuses: bool,
    /// It had reached maxclients, at the last answer.
    crowded: bool,
    /// It has a login with which it can copy from another node.
    pub(super) admitted: bool,
    /// It syncs the append-only file itself, because this node can't.
    pub(super) syncs_itself: bool,
}

impl DataNode {
    /// Observes this node's server.
    pub(super) async fn observe_server(&mut self) -> Result<ServerState, NodeError> {
        let Some(server) = &mut self.server else {
            self.compare_versions();
            return Ok(ServerState::Gone);
        };
        if let Some(status) = server.try_wait() {
            warn!(node = %self.node.name, %status, "the server has ended");
            self.report.update(|report| {
                report.ends += 1;
                report.last_end = Some(status.to_string());
            });
            if !self.watch.loaded && status.code().is_some_and(|code| code != 0) {
                // It never served, so the short wait delays nothing.
                server.wait_for_log().await;
                self.report_failed_start()?;
            }
            self.metrics.exited();
            self.forget_server();
            self.compare_versions();
            return Ok(ServerState::Gone);
        }
        if self.conn.is_none() && self.connector.is_backing_off(self.node.socket()) {
            return Ok(self.silent_state());
        }
        match self.ask_server().await {
            Ok((info, copy)) => {
                self.watch.last_answer = Some(Instant::now());
                self.watch.unanswered = 0;
                let seen = self.server_state(&info);
                if self.watch.loaded
                    && !std::mem::replace(&mut self.watch.noted, true)
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
                debug!(node = %self.node.name, %error, "no answer from this node's server");
                self.conn = None;
                self.watch.unanswered += 1;
                Ok(self.silent_state())
            }
        }
    }

    /// The state of a server that does not answer.
    fn silent_state(&self) -> ServerState {
        match self.watch.last_answer {
            None => ServerState::Starting,
            // This process may have been stopped itself.
            Some(_) if self.watch.unanswered < HANG_QUESTIONS => {
                ServerState::Silent(Duration::ZERO)
            }
            Some(at) => ServerState::Silent(at.elapsed()),
        }
    }

    /// Reports why the server ended before its data was loaded.
    ///
    /// # Errors
    /// If another start can't help.
    fn report_failed_start(&self) -> Result<(), NodeError> {
        if let Some(why) = self.report.config_refused() {
            return Err(NodeError::ConfigRefused {
                node: self.node.name.clone(),
                file: self.conf.clone(),
                why,
            });
        }
        let problem = self.report.log_problem();
        let (cause, line) = problem.map_or((Cause::Other, None), |s| (s.cause, Some(s.line)));
        let help = match cause {
            Cause::DataTooNew => {
                "the data was written by a newer server and is not damaged; install that version or a newer one, and do not \
                 repair it"
            }
            Cause::DataUnreadable => {
                "if the append-only file is damaged, start the other data nodes: one that has the data takes over, and this node \
                 copies it; if none has it, copy this folder first, then restore a backup or run redis-check-aof --fix"
            }
            _ => "see the server's log; its data is unchanged",
        };
        error!(node = %self.node.name, folder = %self.state.data().display(), log_problem = line.as_deref().unwrap_or("none"),
            "the server has ended before its data was loaded; {help}");
        Ok(())
    }

    pub(super) fn forget_server(&mut self) {
        self.server = None;
        self.connector.reset_backoff(self.node.socket());
        self.conn = None;
        self.watch = ServerWatch::default();
        self.copy = std::mem::take(&mut self.copy).of_ended_server();
        // As in its config file.
        self.sync_always = Some(false);
        self.raising.server_ended();
        self.replicas = ReplicaTracker::default();
        self.pacing = Pacing::default();
    }

    /// The version of the server binary.
    pub(super) fn version(&self) -> Option<Version> {
        Version::parse(&self.binary.title())
    }

    /// Checks whether the server binary, which may have been replaced, can read the files on disk.
    pub(super) fn compare_versions(&mut self) {
        if self.binary.refresh() {
            info!(node = %self.node.name, version = %self.binary.title(), "the server binary has another version now");
        }
        let files = self.state.files();
        self.written_by = self
            .version()
            .and_then(|own| self.version_check.unreadable_by(&files, own));
        if self.written_by.is_none() {
            self.on_disk = DiskCopy::default();
        } else {
            let copy = self.on_disk.ask(&files);
            self.copy.found_on_disk(copy);
        }
    }

    async fn ask_server(&mut self) -> Result<(ServerInfo, Option<DataCopy>), ClientError> {
        self.own_conn().await?.info_and_copy().await
    }

    /// The connection to this node's server.
    pub(super) async fn own_conn(&mut self) -> Result<&mut Conn, ClientError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let mut conn = self.connector.open(self.node.socket()).await?;
                // `halab member` reads it to see which lab.toml each node uses. The node goes on if
                // the server refuses it.
                if let Err(error) = conn.state_known(&self.lab).await {
                    debug!(node = %self.node.name, %error, "the nodes of this lab.toml are not published on the server");
                }
                conn
            }
        };
        Ok(self.conn.insert(conn))
    }

    pub(super) fn server_state(&mut self, info: &ServerInfo) -> ServerState {
        self.watch.disk_refuses = info.disk_refuses;
        if info.crowded && !self.watch.crowded {
            error!(node = %self.node.name, "the server has reached maxclients and refuses new connections; close idle \
                ones, or raise maxclients and ulimit -n");
        }
        self.watch.crowded = info.crowded;
        if info.loading {
            return ServerState::Loading;
        }
        self.watch.loaded = true;
        if info.is_primary {
            self.watch.link_down_since = None;
            let now = self.started.elapsed();
            let member_list = self.member_list.as_ref();
            let own = self.node.socket();
            let counts = |at| member_list::counts(member_list, own, at);
            let replicas = self.replicas.in_sync(now, info, counts);
            let lab = &self.lab;
            let members = |at| lab.data_nodes.iter().any(|node| node.socket() == at);
            self.pacing.see(now, info, &self.replicas, members);
            return ServerState::Primary { replicas };
        }
        self.pacing.ended();
        let of = info
            .primary
            .unwrap_or_else(|| parked_at(&self.lab, &self.node));
        // A Sentinel makes a parked server follow its primary after a while. Without a login it
        // copies nothing, and its role is still undecided.
        let copies = info.link_up || info.syncing;
        if of == parked_at(&self.lab, &self.node) || !(self.watch.admitted || copies) {
            return ServerState::Parked;
        }
        let link_down_for = if info.link_up && !info.syncing {
            self.watch.link_down_since = None;
            None
        } else {
            Some(
                self.watch
                    .link_down_since
                    .get_or_insert_with(Instant::now)
                    .elapsed(),
            )
        };
        ServerState::Replica {
            of,
            link_down_for,
            promotable: info.priority > 0,
        }
    }
}
