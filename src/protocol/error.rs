//! Errors of a write, and whether the write failed for certain.

/// What is known about a write after its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server refused it before executing it.
    FailedForCertain,
    /// It may have happened, or may still happen.
    Unknown,
}

/// How a write can fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// `READONLY`: the node is a replica.
    ReadOnly,
    /// `LOADING`: the server is loading its data.
    Loading,
    /// `MASTERDOWN`: a replica whose link is down, and which may not serve stale data.
    PrimaryLinkDown,
    /// `NOREPLICAS`: fewer replicas than `min-replicas-to-write`.
    NoReplicas,
    /// `MISCONF`: the server cannot persist, and refuses writes.
    CannotPersist,
    /// `OOM`: `maxmemory` is reached.
    OutOfMemory,
    /// `NOAUTH`, `WRONGPASS`, `NOPERM`: the user may not write.
    NotPermitted,
    /// `BUSY`: a script or function is running.
    Busy,
    /// `UNBLOCKED`: a change of role ended a blocking command (`WAIT`).
    Unblocked,
    /// The list of members cannot be read, or does not have the primary at its address. Nothing was
    /// sent.
    MembersUnknown,
    /// Another error reply, with its code.
    Other(String),
    /// `max number of clients reached`: the server refused the connection.
    TooManyClients,
    /// The connection was refused: nothing was sent.
    Refused,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    ConnectionLost,
    /// The answer does not follow the Redis protocol.
    NotRedis,
}

impl WriteError {
    /// From the first word of an error reply.
    pub fn from_code(code: &str) -> Self {
        match code {
            "READONLY" => WriteError::ReadOnly,
            "LOADING" => WriteError::Loading,
            "MASTERDOWN" => WriteError::PrimaryLinkDown,
            "NOREPLICAS" => WriteError::NoReplicas,
            "MISCONF" => WriteError::CannotPersist,
            "OOM" => WriteError::OutOfMemory,
            "NOAUTH" | "WRONGPASS" | "NOPERM" => WriteError::NotPermitted,
            "BUSY" => WriteError::Busy,
            "UNBLOCKED" => WriteError::Unblocked,
            other => WriteError::Other(other.to_owned()),
        }
    }

    /// Whether the write failed for certain. The first group are refusals before execution
    /// (`processCommand`). The second group can occur after it, or leave it open.
    pub fn fate(&self) -> Fate {
        match self {
            WriteError::ReadOnly
            | WriteError::Loading
            | WriteError::PrimaryLinkDown
            | WriteError::NoReplicas
            | WriteError::CannotPersist
            | WriteError::OutOfMemory
            | WriteError::NotPermitted
            | WriteError::Busy
            | WriteError::MembersUnknown
            | WriteError::TooManyClients
            | WriteError::Refused => Fate::FailedForCertain,
            WriteError::Unblocked
            | WriteError::Other(_)
            | WriteError::Timeout
            | WriteError::ConnectionLost
            | WriteError::NotRedis => Fate::Unknown,
        }
    }

    /// Whether the writer must find the primary again before the next attempt.
    pub fn wants_rediscovery(&self) -> bool {
        match self {
            WriteError::ReadOnly
            | WriteError::Loading
            | WriteError::PrimaryLinkDown
            | WriteError::Unblocked
            | WriteError::Refused
            | WriteError::Timeout
            | WriteError::ConnectionLost
            | WriteError::NotRedis => true,
            WriteError::NoReplicas
            | WriteError::CannotPersist
            | WriteError::OutOfMemory
            | WriteError::NotPermitted
            | WriteError::Busy
            | WriteError::MembersUnknown
            | WriteError::TooManyClients
            | WriteError::Other(_) => false,
        }
    }
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WriteError::ReadOnly => write!(f, "the node is a replica (READONLY)"),
            WriteError::Loading => write!(f, "the node is loading its data (LOADING)"),
            WriteError::PrimaryLinkDown => write!(
                f,
                "the node is a replica without a link to its primary (MASTERDOWN)"
            ),
            WriteError::NoReplicas => write!(
                f,
                "the lab is closed, or too few replicas are connected (NOREPLICAS); to reopen a closed lab: halab close --reopen"
            ),
            WriteError::CannotPersist => {
                write!(
                    f,
                    "the node cannot write to its disk (MISCONF): free space, and see its log"
                )
            }
            WriteError::OutOfMemory => {
                write!(
                    f,
                    "the node's maxmemory is reached (OOM): raise it or delete keys"
                )
            }
            WriteError::NotPermitted => {
                write!(
                    f,
                    "not permitted (NOAUTH, WRONGPASS or NOPERM): check the credentials"
                )
            }
            WriteError::Busy => write!(f, "the node is running a long script (BUSY)"),
            WriteError::Unblocked => write!(f, "the node changed its role (UNBLOCKED)"),
            WriteError::MembersUnknown => write!(
                f,
                "the primary's list of members is of a later version, damaged, or older than a move of the lab: update this writer if its \
                 version is older than the nodes'; see halab status"
            ),
            WriteError::Other(code) => write!(f, "error reply {code}"),
            WriteError::TooManyClients => write!(
                f,
                "max number of clients reached; close idle connections, or raise maxclients"
            ),
            WriteError::Refused => write!(f, "connection refused"),
            WriteError::Timeout => write!(f, "no answer in time"),
            WriteError::ConnectionLost => write!(f, "connection lost"),
            WriteError::NotRedis => write!(f, "the answer is not from a Redis server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_never_counts_as_failed_for_certain() {
        for error in [
            WriteError::Timeout,
            WriteError::ConnectionLost,
            WriteError::NotRedis,
        ] {
            assert_eq!(error.fate(), Fate::Unknown);
        }
        assert_eq!(WriteError::from_code("EXECABORT").fate(), Fate::Unknown);
        assert_eq!(
            WriteError::from_code("READONLY").fate(),
            Fate::FailedForCertain
        );
    }

    #[test]
    fn the_primary_is_looked_for_again_unless_it_answered_and_refused() {
        for error in [
            WriteError::from_code("READONLY"),
            WriteError::from_code("UNBLOCKED"),
            WriteError::Refused,
            WriteError::Timeout,
            WriteError::ConnectionLost,
        ] {
            assert!(error.wants_rediscovery(), "{error}");
        }
        for error in [
            WriteError::from_code("NOREPLICAS"),
            WriteError::from_code("MISCONF"),
            WriteError::from_code("OOM"),
            WriteError::TooManyClients,
        ] {
            assert!(!error.wants_rediscovery(), "{error}");
        }
    }

    #[test]
    fn a_refusal_says_its_code_and_an_unknown_one_too() {
        for code in ["READONLY", "NOREPLICAS", "OOM", "EXECABORT"] {
            let text = WriteError::from_code(code).to_string();
            assert!(text.contains(code), "{text}");
        }
    }
}
