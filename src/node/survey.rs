//! Periodic checks for the report of a node, on which its work does not depend: users that do not
//! belong to the lab, memory against its limit, TILT, and whether the other nodes accept this
//! node's passwords.
//!
//! They use connections of their own, so that a slow or refused one delays nothing else.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::access::User;
use crate::client::{ClientError, Conn, Connector};
use crate::config::{Lab, Node, NodeKind};
use crate::report::{MemoryUse, RefusedLogin};

use super::shared_report::SharedReport;
use super::state::users;

/// Pause between two checks of this node's server.
const PERIOD: Duration = Duration::from_secs(1);
/// Pause between two tries of all passwords.
const LOGIN_PERIOD: Duration = Duration::from_secs(10);
/// Minimum limit for a connect or an answer.
const LIMIT: Duration = Duration::from_secs(1);

/// Starts the checks; they end when the handle is dropped. `folder`: the node's state folder.
pub(super) fn start(
    lab: &Lab,
    node: &Node,
    folder: PathBuf,
    report: SharedReport,
) -> AbortOnDropHandle<()> {
    let survey = Survey {
        own: connector(lab, node, User::Node),
        lab: lab.clone(),
        node: node.clone(),
        folder,
        report,
        reported: Vec::new(),
        conn: None,
    };
    AbortOnDropHandle::new(tokio::spawn(survey.run()))
}

fn connector(lab: &Lab, node: &Node, user: User) -> Connector {
    Connector::new(lab, user)
        .with_min_limit(LIMIT)
        .from_source(lab.listens(node))
}

struct Survey {
    lab: Lab,
    node: Node,
    folder: PathBuf,
    report: SharedReport,
    /// Users that have been reported.
    reported: Vec<String>,
    /// To this node's server; one connector, so that a silent server is connected to with growing
    /// pauses.
    own: Connector,
    conn: Option<Conn>,
}

impl Survey {
    async fn run(mut self) {
        let mut tried: Option<Instant> = None;
        loop {
            sleep(PERIOD).await;
            if tried.is_none_or(|at| at.elapsed() >= LOGIN_PERIOD) {
                tried = Some(Instant::now());
                let refused = self.try_passwords().await;
                self.report.update(|report| report.refused = refused);
            }
            // A server that does not answer is reported elsewhere.
            let _ = self.check_server().await;
        }
    }

    async fn check_server(&mut self) -> Result<(), ClientError> {
        // A new connection each second would cost a handshake each.
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.own.open(self.node.socket()).await?,
        };
        let section = match self.node.kind {
            NodeKind::Data => "memory",
            NodeKind::Sentinel => "sentinel",
        };
        let info: String = conn.query(redis::cmd("INFO").arg(section)).await?;
        let memory = MemoryUse::of_info(&info);
        let tilt = info
            .lines()
            .any(|line| line.trim_end() == "sentinel_tilt:1");
        self.report.update(|report| {
            report.memory = memory;
            report.tilt = tilt;
        });
        if self.lab.security.acl {
            let names: Vec<String> = conn.query(redis::cmd("ACL").arg("USERS")).await?;
            self.report_users(users::foreign(names, self.node.kind, &self.lab));
        }
        self.conn = Some(conn);
        Ok(())
    }

    fn report_users(&mut self, names: Vec<String>) {
        if names != self.reported {
            if let Err(error) = users::note_seen(&self.folder, &names) {
                warn!(node = %self.node.name, %error, "the users on the server could not be noted");
            }
            if !names.is_empty() {
                warn!(node = %self.node.name, users = names.join(", "), "users on the server that do not belong to the \
                    lab are removed at its next start");
            }
            self.reported.clone_from(&names);
        }
        let removed = users::removed(&self.folder, &names);
        self.report.update(|report| {
            report.users_added = names;
            report.users_removed = removed;
        });
    }

    /// Tries the passwords that this node and its server use, each where it is used.
    async fn try_passwords(&self) -> Vec<RefusedLogin> {
        if !self.lab.security.acl {
            return Vec::new();
        }
        let tries = self.lab.nodes().flat_map(|to| {
            let users: &[User] = match (self.node.kind, to.kind) {
                (NodeKind::Data, NodeKind::Data) => &[User::Node, User::Replication],
                (NodeKind::Data, NodeKind::Sentinel) => &[User::Node],
                (NodeKind::Sentinel, _) => &[User::Sentinel],
            };
            let own = to.name == self.node.name;
            let users = if own { &[User::Node] } else { users };
            users.iter().map(move |user| (to, *user))
        });
        let refused = join_all(tries.map(|(to, user)| self.refusal(to, user))).await;
        refused.into_iter().flatten().collect()
    }

    /// Why `to` refuses the login of `user`, if it does because of the password.
    async fn refusal(&self, to: &Node, user: User) -> Option<RefusedLogin> {
        // A command that the user may give there.
        let command = match (user, to.kind) {
            (User::Node, NodeKind::Data) => "ROLE",
            _ => "PING",
        };
        let connector = connector(&self.lab, &self.node, user);
        let answer = match connector.open(to.socket()).await {
            Ok(mut conn) => conn.query::<redis::Value>(&redis::cmd(command)).await,
            Err(error) => Err(error),
        };
        let error = answer.err().filter(ClientError::is_password_error)?;
        Some(RefusedLogin {
            by: to.name.clone(),
            user: user.name().to_owned(),
            why: error.to_string(),
        })
    }
}
