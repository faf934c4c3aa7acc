//! Errors of actions on the lab.

use std::io;
use std::path::{Path, PathBuf};

use crate::runner::{ClaimError, RunnerError};

use super::engine::EngineError;
use super::network::NetworkError;

/// Why an action on the lab failed.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No loopback network is free.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A node could not be started.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// The process of a node is not known.
    #[error("cannot find the process of {node}: {why}")]
    Process {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// A server did not answer, or refused a command.
    #[error("{node}: {why}")]
    Server {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// A link could not be cut or healed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The container engine refused, or has no such container.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be written or removed.
    #[error("{path}: {source}")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The machine does not permit it.
    #[error("not possible on this machine: {0}")]
    Unavailable(String),
    /// The lab was not started by the drill.
    #[error("the drill did not start this lab, so it cannot start its nodes again")]
    NotOwn,
}

impl EnvironmentError {
    /// The error of a server.
    pub(in crate::drill) fn server(node: &str, why: impl ToString) -> Self {
        EnvironmentError::Server {
            node: node.to_owned(),
            why: why.to_string(),
        }
    }

    /// The lab has no node of that name.
    pub(in crate::drill) fn no_node(name: &str) -> Self {
        EnvironmentError::Process {
            node: name.to_owned(),
            why: "there is no such node".into(),
        }
    }

    /// The machine does not permit it, as the system says.
    pub(in crate::drill) fn unavailable(error: io::Error) -> Self {
        EnvironmentError::Unavailable(error.to_string())
    }
}

/// The error of a file.
pub(super) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> EnvironmentError {
    let path = path.to_owned();
    move |source| EnvironmentError::File { path, source }
}
