//! `halab node`: the supervisor of one node, with the server as its child process.
//!
//! - [`machine`]: what a data node does next (pure)
//! - `conf`: config files, directive by directive (pure)
//! - `origin`: the lab that a state folder belongs to (pure)
//! - `relocate`: `halab move`
//! - `restoring`: `halab restore`
//! - `state`: the state folder: lock, config file, files set aside, users that are not of the lab
//! - `version`: which server version wrote the files on disk
//! - `trash`: removes old files in the background
//! - `cgroup`: a cgroup for the node and its server
//! - `binary`: the server binary; `server`: the server process
//! - `certificate`: the server's TLS certificate and its renewal
//! - `buffer`: the limit of the server's output buffer for replicas (pure, but for a note)
//! - `observe`: observes the Sentinels and the other data nodes in the background
//! - `metrics`: the metrics of a node; `shared_report`: its report at `/status`; `survey`: checks
//!   that only the report needs
//! - `on_disk`: reads the mark of append-only files without a server
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
mod shared_report;
mod state;
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
use shared_report::SharedReport;

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
    /// The lab's certificates can't be read or made.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The node's certificate is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server ends repeatedly.
    #[error("the server of {node} ended more than 5 times in 60 s{}", last_reason(reason.as_deref()))]
    CrashLoop {
        /// The node's name.
        node: String,
        /// The last reason in its log.
        reason: Option<String>,
    },
    /// The server refuses its config file.
    #[error(
        "the server of {node} refuses its config file {}, {why}; correct or remove that line, then start the node again (its data \
         is unchanged)",
        file.display()
    )]
    ConfigRefused {
        /// The node's name.
        node: String,
        /// The file.
        file: PathBuf,
        /// The line, and the server's reason.
        why: String,
    },
    /// A background task that the node depends on has failed.
    #[error("a background task of the node failed, so the node ends with its server: {0}")]
    Observer(String),
}

fn last_reason(reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("; the last reason in its log: {reason}"),
        None => "; see its log above".to_owned(),
    }
}

impl NodeError {
    /// The error for a name that `lab` does not have.
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

/// A request to stop, seen by all parts of the node.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A request to stop when `token` is cancelled.
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

/// Runs the node `name` of `lab` with its state under `state_root` until `shutdown` or until its
/// server ends. With `own_cgroup`, and if permitted, it runs in a cgroup of its own. Returns the
/// server's last exit status, if known.
///
/// # Errors
/// If the node can't be started (nothing has been changed then), or its server ends repeatedly.
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
    let report = SharedReport::new(lab, node, &binary);
    let ended = run_node(
        lab, node, state_root, binary, own_cgroup, &report, &shutdown,
    )
    .await;
    // Without a state folder there is no place for a note.
    let folder = state_root.join(&node.name);
    match &ended {
        Err(NodeError::State(StateError::InUse(_))) => {}
        Err(error) if folder.is_dir() => report.note_end(&folder, &error.to_string()),
        Ok(_) if shutdown.requested() && folder.is_dir() => report.note_stop(&folder),
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
    report: &SharedReport,
    shutdown: &Shutdown,
) -> Result<Option<ExitStatus>, NodeError> {
    tokio::select! {
        () = server::await_address(lab, node) => {}
        () = shutdown.wait() => return Ok(None),
    }
    server::check_address(lab, node).await?;
    let certificate = Certificate::of(lab, node)?;
    let state = state::StateDir::open(state_root, lab, node)?;
    if own_cgroup {
        // The server inherits it, so this comes before its start.
        match cgroup::join(node) {
            Ok(path) => info!(node = %node.name, %path, "running in its own cgroup"),
            Err(error) => info!(node = %node.name, %error, "running without its own cgroup"),
        }
    }
    SharedReport::forget_end(state.folder());
    let _survey = survey::start(lab, node, state.folder().to_owned(), report.clone());
    match node.kind {
        NodeKind::Data => {
            let (metrics, registry) = metrics::data::DataMetrics::new(lab, node, &binary.version);
            let _served = metrics::serve(lab, node, registry, report).await;
            if let Err(error) = metrics.resources.watch(state.data()) {
                warn!(node = %node.name, %error, "disk and memory metrics are not available");
            }
            let own = data::DataNodeParts {
                state,
                binary,
                metrics,
                certificate,
                report: report.clone(),
            };
            data::DataNode::new(lab.clone(), node.clone(), own)?
                .run(shutdown)
                .await
        }
        NodeKind::Sentinel => {
            let (metrics, registry) = metrics::NodeMetrics::of_sentinel(node, &binary.version);
            let _served = metrics::serve(lab, node, registry, report).await;
            let own = sentinel::SentinelParts {
                state,
                binary,
                metrics,
                certificate,
                report: report.clone(),
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
