//! The members of the lab, during a run.
//!
//! The writer starts with the nodes of `lab.toml`, and then uses the list of members. When that
//! changes, discovery, keeper and session end, and new ones begin with the new members.

use std::net::SocketAddrV4;
use std::sync::Arc;

use redis::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::access::User;
use crate::client::{Connector, as_in_roster};
use crate::config::Lab;
use crate::protocol::WriteError;
use crate::protocol::roster::Roster;
use crate::sentinel::Panel;

use super::Options;
use super::discovery::{Discovery, LastProblem};
use super::journal::Journal;
use super::keeper::Keeper;
use super::session::Session;
use super::witness::Witness;

/// The members for which discovery and keeper were started, and what they share with their
/// successors.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    /// As in `lab.toml`.
    pub(super) stated: Arc<Lab>,
    /// With the nodes of the list of members.
    pub(super) lab: Arc<Lab>,
    /// The session in use, for the write connections.
    pub(super) sessions: watch::Sender<Option<Arc<Session>>>,
    /// Receives the lab with the new members when they have changed.
    pub(super) changed: mpsc::Sender<Lab>,
}

impl Membership {
    /// The lab with the members of the primary's list, if they differ from the current ones.
    /// `answer` is the answer to `GET` of the list.
    ///
    /// # Errors
    /// If the list cannot be read, or does not contain this primary.
    pub(super) fn changed_by(
        &self,
        primary: SocketAddrV4,
        answer: Option<&Value>,
    ) -> Result<Option<Lab>, WriteError> {
        let text = match answer {
            Some(Value::BulkString(text)) => String::from_utf8_lossy(text).into_owned(),
            Some(Value::VerbatimString { text, .. }) => text.clone(),
            Some(Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                return Err(WriteError::MembersUnknown);
            }
            // NOPERM: a node of a version without the list does not permit the command.
            Some(Value::ServerError(error)) if error.code() != "NOPERM" => {
                return Err(WriteError::from_code(error.code()));
            }
            _ => return Ok(None),
        };
        // A list of a later version, or not updated yet after the lab has moved to other addresses:
        // the members are unknown.
        let roster = Roster::from_text(&text)
            .filter(|roster| roster.data.iter().any(|member| member.address == primary))
            .ok_or(WriteError::MembersUnknown)?;
        let now = as_in_roster(&self.stated, &roster);
        if now == *self.lab {
            return Ok(None);
        }
        let names: Vec<&str> = now.nodes().map(|n| n.name.as_str()).collect();
        let (version, members) = (roster.version, names.join(" "));
        info!(version, %members, "the members of the lab have changed");
        Ok(Some(now))
    }
}

/// Runs discovery and keeper, first for the nodes of `lab.toml`. When the members change, both end
/// with the session, and new ones begin for the new members.
pub(super) async fn follow_members(
    stated: Lab,
    options: Options,
    sessions: watch::Sender<Option<Arc<Session>>>,
    journal: Arc<Journal>,
    last_problem: LastProblem,
) {
    let stated = Arc::new(stated);
    let mut lab = stated.clone();
    loop {
        let (changed, mut changes) = mpsc::channel(1);
        let membership = Membership {
            stated: stated.clone(),
            lab,
            sessions: sessions.clone(),
            changed,
        };
        let mut tasks = JoinSet::new();
        let connector = Connector::new(&membership.lab, User::Writer);
        let panel = Arc::new(Panel::new(&membership.lab, connector.clone()));
        let discovery = Discovery::start(
            &membership,
            panel.clone(),
            connector.clone(),
            (journal.clone(), last_problem.clone()),
            &mut tasks,
        );
        let witness = Witness::new(panel, connector, membership.lab.timing.raise_limit);
        Keeper::start(&membership, &options, discovery, witness, &mut tasks);
        tokio::select! {
            Some(now) = changes.recv() => lab = Arc::new(now),
            // This task ends for the same reason.
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended
                    && let Ok(panicked) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panicked);
                }
                return;
            }
        }
        tasks.shutdown().await;
        if let Some(session) = sessions.send_replace(None) {
            session.end();
        }
    }
}
