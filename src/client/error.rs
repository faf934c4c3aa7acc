//! Errors of a connection, as the kinds that the protocol knows.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis::{ErrorKind, RedisError};

use crate::protocol::WriteError;

/// Why a node could not be reached or did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The connection could not be opened.
    #[error("cannot connect to {to}: {why}")]
    Connect {
        /// The node's address.
        to: SocketAddrV4,
        /// The error of the system, of TLS or of the authentication.
        why: String,
    },
    /// The node accepted the connection and did not answer in time.
    #[error("{to} did not answer within {limit:?}")]
    Silent {
        /// The node's address.
        to: SocketAddrV4,
        /// The time limit.
        limit: Duration,
    },
    /// The node answered with an error, or the connection broke.
    #[error("{to}: {}", printable(source))]
    Redis {
        /// The node's address.
        to: SocketAddrV4,
        /// The error of the crate `redis`.
        source: RedisError,
    },
    /// The list of members is damaged or of a later version.
    #[error("{to}: its list of members is damaged or of a later version")]
    Members {
        /// The node's address.
        to: SocketAddrV4,
    },
}

impl ClientError {
    /// Whether a list of members was read that this version cannot parse.
    pub fn is_of_members(&self) -> bool {
        matches!(self, ClientError::Members { .. })
    }

    /// Whether a password was refused or is missing.
    pub fn is_password_error(&self) -> bool {
        crate::report::is_password_error(&self.to_string())
    }
}

/// The kind of an error, from its reply code or from the state of the connection.
pub fn classify(error: &RedisError) -> WriteError {
    if let Some(code) = error.code() {
        return WriteError::from_code(code);
    }
    if error.is_timeout() {
        return WriteError::Timeout;
    }
    if error.is_connection_refusal() {
        return WriteError::Refused;
    }
    if error.is_connection_dropped() || error.is_io_error() {
        return WriteError::ConnectionLost;
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => WriteError::NotPermitted,
        _ => WriteError::NotRedis,
    }
}

/// An error text, with a remedy for the most common reasons of a failed connection.
pub(super) fn with_remedy(why: String) -> String {
    const REMEDIES: [(&str, &str); 2] = [
        ("Too many open files", "; raise the limit: ulimit -n"),
        (
            "max number of clients reached",
            "; close idle connections to it, or raise its maxclients and ulimit -n",
        ),
    ];
    match REMEDIES.iter().find(|(part, _)| why.contains(part)) {
        Some((_, remedy)) => why + remedy,
        None => why,
    }
}

/// The text of a server's error, safe for a terminal and a log: one line of limited length.
fn printable(error: &RedisError) -> String {
    const LONGEST: usize = 200;
    let text = error.to_string();
    let text = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    with_remedy(text)
}
