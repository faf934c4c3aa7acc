//! Why a handover failed.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::client::ClientError;
use crate::protocol::vote::NoPrimary;

/// Why there was no complete handover.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The primary is unknown; nothing was changed.
    #[error("no primary to hand over from: {0}")]
    NoPrimary(#[from] NoPrimary),
    /// The named primary is not a data node of the lab; nothing was changed.
    #[error(
        "the Sentinels name {0}, which is not a data node of lab.toml; check which servers run there"
    )]
    Stranger(SocketAddrV4),
    /// A server outside the lab could be promoted; nothing was changed.
    #[error("a Sentinel cannot be asked for a handover: {0}")]
    StrangerPromotable(String),
    /// The lab is closed before a stop; nothing was changed.
    #[error("the lab is closed; stop its nodes, or reopen it with halab close --reopen")]
    Closed,
    /// No other data node can be promoted; nothing was changed.
    #[error("no other data node is in sync and promotable; wait until one is (halab status)")]
    NoReplicaReady,
    /// Nodes that a Sentinel could promote do not report that they can be; nothing was changed.
    #[error(
        "a Sentinel could promote {0}, which does not itself report that it is in sync and \
         promotable; wait until it does (halab status)"
    )]
    CandidateNotReady(String),
    /// The Sentinels refused; nothing was changed.
    #[error("no Sentinel accepts the failover: {0}")]
    Refused(String),
    /// The primary does not answer; nothing was changed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It was stopped before the failover was requested; nothing was changed.
    #[error("stopped; nothing was changed")]
    Stopped,
    /// No node was promoted in time.
    #[error(
        "no other node was promoted within {limit:?}; {}{}",
        writes_after(from, resumed, *limit),
        failover_after(by.as_deref())
    )]
    NoPromotion {
        /// The primary, which has not changed.
        from: String,
        /// The time limit of the promotion, and of the pause of writes.
        limit: Duration,
        /// Whether it has confirmed that it accepts writes again; if not, its pause ends by
        /// itself.
        resumed: Result<(), ClientError>,
        /// The Sentinel that leads the failover, if it is still in progress.
        by: Option<String>,
    },
    /// Another node is primary, and the old one did not follow it in time.
    #[error(
        "{to} is primary now, but {from} could not be made its replica: {source}; until its \
         supervisor or the Sentinels do that, {from} may answer +OK to writes that are lost \
         (halab status)"
    )]
    NotDemoted {
        /// The old primary.
        from: String,
        /// The new one.
        to: String,
        /// The last error.
        source: ClientError,
    },
}

/// The state of the writes without a promotion.
fn writes_after(from: &str, resumed: &Result<(), ClientError>, limit: Duration) -> String {
    match resumed {
        Ok(()) => format!("writes continue on {from}"),
        Err(error) => format!(
            "writes could not be resumed on {from} ({error}), but its pause ends by itself after \
             {limit:?}"
        ),
    }
}

/// The state of the failover without a promotion.
fn failover_after(by: Option<&str>) -> String {
    by.map_or_else(String::new, |by| {
        format!(
            "; the failover accepted by {by} is still in progress and may promote a node later \
             (halab status)"
        )
    })
}
