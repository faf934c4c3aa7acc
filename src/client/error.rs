//! Errors of the crate `redis` and error replies, as the kinds that the protocol knows.

use redis::{ErrorKind, RedisError};

use crate::protocol::WriteError;

/// The kind of an error, from its reply code or from what happened to the connection.
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
