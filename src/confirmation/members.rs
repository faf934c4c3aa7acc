//! The members of the lab, during a run: the nodes of `lab.toml` at first, then the list of
//! members.

use std::net::SocketAddrV4;
use std::sync::Arc;

use redis::Value;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::client::as_in_member_list;
use crate::config::Lab;
use crate::protocol::WriteError;
use crate::protocol::member_list::MemberList;

use super::session::Session;

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
        let member_list = MemberList::from_text(&text)
            .filter(|member_list| {
                member_list
                    .data
                    .iter()
                    .any(|member| member.address == primary)
            })
            .ok_or(WriteError::MembersUnknown)?;
        let now = as_in_member_list(&self.stated, &member_list);
        if now == *self.lab {
            return Ok(None);
        }
        let names: Vec<&str> = now.nodes().map(|n| n.name.as_str()).collect();
        let (version, members) = (member_list.version, names.join(" "));
        info!(version, %members, "the members of the lab have changed");
        Ok(Some(now))
    }
}
