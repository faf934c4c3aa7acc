//! `halab node`: one node of the lab, its server run as a child.
//!
//! - [`machine`]: what a data node does next (pure)
//! - `conf`: config files, directive by directive (pure)
//! - `origin`: which lab a state is of (pure); `moved`: the config file of another lab (pure);
//!   `relocate`: `halab move`
//! - `restoring`: `halab restore`
//! - `state`: the state folder: lock, config file, files set aside, users that are not of the lab
//! - `version`: which server wrote what is on disk
//! - `trash`: old files, removed beside the node's work
//! - `cgroup`: a cgroup of its own
//! - `binary`: the server binary; `server`: the server process
//! - `certificate`: what the server shows, with TLS
//! - `buffer`: the limit of the server's output buffer for replicas
//! - `observe`: the Sentinels and the other data nodes, kept in view
//! - `metrics`: what a node tells about itself; `statement`: what it states to whoever asks why
//!   something is wrong; `survey`: what is looked at for that alone
//! - `on_disk`: what the append-only files hold, read without a server
//! - `data`, `sentinel`: the two kinds of node

mod binary;
mod buffer;
mod certificate;
mod cgroup;
mod conf;
mod data;
pub mod machine;
mod metrics;
mod observe;
mod on_disk;
mod origin;
mod relocate;
mod restoring;
mod sentinel;
mod server;
mod state;
mod statement;
mod survey;
mod trash;
mod version;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::{CertificateError, SecretsError};
use crate::client::TlsError;
use crate::config::{Lab, Node, NodeKind};

use certificate::Certificate;
use statement::Statement;

pub use binary::{BinaryError, ServerBinary};
pub use relocate::{Move, MoveError, MoveOutcome, NodeMove, move_state};
pub use restoring::{HeldCopy, RestoreError, RestoreOrder, Restored, restore};
pub use server::{ServerError, become_server};
pub use state::error::StateError;

/// Why a node can't run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No node of that name.
    #[error("no node \"{asked}\" in lab.toml; there are: {known}")]
    Unknown {
        /// The name asked for.
        asked: String,
        /// The names that exist.
        known: String,
    },
    /// The server binary.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// The server's address or its process.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The passwords.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The certificates can't be had.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The node's own is of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server ends again and again.
    #[error("the server of {node} ended more than 5 times in 60 s{}", said_last(said.as_deref()))]
    CrashLoop {
        /// The node's name.
        node: String,
        /// What its log said last about the reason.
        said: Option<String>,
    },
    /// The server refuses its config file, at each start.
    #[error(
        "the server of {node} refuses its config file {}, {why}. Correct or remove that line, then start the node again; its data \
         is not touched",
        file.display()
    )]
    ConfigRefused {
        /// The node's name.
        node: String,
        /// The file.
        file: PathBuf,
        /// Which line, and the server's own reason.
        why: String,
    },
    /// A part of this program failed, without which the node would be blind.
    #[error("a part of the node failed, so it ends with its server: {0}")]
    Observer(String),
}

fn said_last(said: Option<&str>) -> String {
    match said {
        Some(said) => format!("; it said last: {said}"),
        None => "; its log above says why".to_owned(),
    }
}

impl NodeError {
    /// That `lab` has no node of that name.
    pub fn unknown(lab: &Lab, name: &str) -> Self {
        NodeError::Unknown {
            asked: name.to_owned(),
            known: lab
                .nodes()
                .map(|n| n.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}

/// A request to stop, given once and seen by all.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A request that comes when `token` is cancelled.
    pub fn new(token: CancellationToken) -> Self {
        Shutdown(token)
    }

    fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// Runs the node `name` of `lab` with its state under `state_root` until `shutdown` or the end of
/// its server, in a cgroup of its own if `own_cgroup` says so and that is permitted. Returns the
/// server's last status, if it is known.
///
/// # Errors
/// When the node can't be started; then nothing was touched. Or when its server ends again and
/// again.
pub async fn run(
    lab: &Lab,
    name: &str,
    state_root: &Path,
    redis_server: Option<PathBuf>,
    own_cgroup: bool,
    shutdown: Shutdown,
) -> Result<Option<ExitStatus>, NodeError> {
    let node = lab
        .node(name)
        .ok_or_else(|| NodeError::unknown(lab, name))?;
    let binary = ServerBinary::find(redis_server.as_deref())?;
    state::StateDir::refuse_in_use(state_root, node)?;
    let statement = Statement::new(lab, node, &binary);
    let ended = run_node(
        lab, node, state_root, binary, own_cgroup, &statement, &shutdown,
    )
    .await;
    // Where it has no folder yet, nobody will look for a note either.
    let folder = state_root.join(&node.name);
    match &ended {
        Err(NodeError::State(StateError::InUse(_))) => {}
        Err(error) if folder.is_dir() => statement.note_end(&folder, &error.to_string()),
        Ok(_) if shutdown.requested() && folder.is_dir() => statement.note_stop(&folder),
        _ => {}
    }
    ended
}

async fn run_node(
    lab: &Lab,
    node: &Node,
    state_root: &Path,
    binary: ServerBinary,
    own_cgroup: bool,
    statement: &Statement,
    shutdown: &Shutdown,
) -> Result<Option<ExitStatus>, NodeError> {
    server::check_address(lab, node).await?;
    let certificate = Certificate::of(lab, node)?;
    let state = state::StateDir::open(state_root, lab, node)?;
    if own_cgroup {
        // Before the server is started, which inherits it.
        match cgroup::join(node) {
            Ok(path) => info!(node = %node.name, %path, "in a cgroup of its own"),
            Err(error) => info!(node = %node.name, %error, "no cgroup of its own"),
        }
    }
    Statement::forget_end(state.folder());
    let _survey = survey::start(lab, node, state.folder().to_owned(), statement.clone());
    match node.kind {
        NodeKind::Data => {
            let (metrics, registry) = metrics::data::DataMetrics::new(lab, node, &binary.version);
            let _served = metrics::serve(lab, node, registry, statement).await;
            if let Err(error) = metrics.resources.watch(state.data()) {
                warn!(node = %node.name, %error, "disk and memory are not watched");
            }
            let own = data::DataNodeParts {
                state,
                binary,
                metrics,
                certificate,
                statement: statement.clone(),
            };
            data::DataNode::new(lab.clone(), node.clone(), own)?
                .run(shutdown)
                .await
        }
        NodeKind::Sentinel => {
            let (metrics, registry) = metrics::NodeMetrics::of_sentinel(node, &binary.version);
            let _served = metrics::serve(lab, node, registry, statement).await;
            let own = sentinel::SentinelParts {
                state,
                binary,
                metrics,
                certificate,
                statement: statement.clone(),
            };
            sentinel::run(lab, node, own, shutdown).await
        }
    }
}

/// The metrics of a data node that has not started, for the document that lists them.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "only tests call it")]
pub(crate) fn example_registry() -> prometheus_client::registry::Registry {
    let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
    metrics::data::DataMetrics::new(&lab, &lab.data_nodes[0], "7.0.15").1
}
