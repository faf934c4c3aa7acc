//! New certificates for all nodes of a lab that runs, without a failed write.
//!
//! The files are what a node goes by: it looks at them, and brings new ones to its server. So one node after the other
//! gets a new file, the next one when the server before shows the new certificate and, if it is a Sentinel, watches the
//! primary again. All are of the same CA, so old and new ones are taken by everyone at every moment; cut short at any of
//! them, it has renewed some, and is run again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::{CertificateError, Certificates, Secrets, User};
use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node, NodeKind, SecretsFolder};
use crate::signals::look_until;

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a node may take to have its server show the new certificate: a Sentinel waits for its turn first.
const SHOWN_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why certificates were not renewed, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The files.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// A node does not answer before anything was changed.
    #[error(
        "{node} does not answer, so no certificate was renewed: {source}; start it, then run this again"
    )]
    NotAll {
        /// Which one.
        node: String,
        /// Why.
        source: ClientError,
    },
    /// A server goes on with its old certificate.
    #[error(
        "the server of {node} does not show its new certificate after {SHOWN_LIMIT:?}{why}: see the log of {node}, then run \
         this again; old and new ones are both good"
    )]
    NotShown {
        /// Which one.
        node: String,
        /// What it said last, behind a colon and a space.
        why: String,
    },
    /// It was asked to end.
    #[error("stopped; {renewed} of {all} nodes have a new certificate{}", rest(*renewed))]
    Stopped {
        /// Nodes whose file is new; their servers show it, or are about to.
        renewed: usize,
        /// All of them.
        all: usize,
    },
}

fn rest(renewed: usize) -> &'static str {
    if renewed == 0 {
        ""
    } else {
        "; old and new ones are both good, run this again for the rest"
    }
}

/// Gives every node of `lab`, and its clients, a new certificate. Ends between two nodes when `stop` is cancelled.
///
/// # Errors
/// When not all nodes answer, a file can't be written, a server does not take its own, or it is asked to end.
pub async fn renew(lab: &Lab, stop: &CancellationToken) -> Result<(), RenewalError> {
    let certificates = match &lab.security.secrets {
        _ if !lab.security.tls => return Err(CertificateError::Off.into()),
        Some(SecretsFolder::Own(folder)) => Certificates::at(folder),
        Some(SecretsFolder::Given(folder)) => {
            return Err(CertificateError::NotOwn(folder.clone()).into());
        }
        None => return Err(CertificateError::Off.into()),
    };
    let connector = Connector::new(lab, User::Operator, ANSWER_LIMIT);
    let secrets = Secrets::at(certificates.folder());
    let all = lab.nodes().count();
    let stopped = |renewed| RenewalError::Stopped { renewed, all };
    // Of two at once, one waits.
    let _lock = match secrets.try_lock().map_err(CertificateError::from)? {
        Some(lock) => lock,
        None => {
            info!("another command changes these passwords or certificates: waiting for it");
            look_until(stop, async || secrets.try_lock(), LOOK_AGAIN)
                .await
                .map_err(CertificateError::from)?
                .ok_or(stopped(0))?
        }
    };
    for node in lab.nodes() {
        connector
            .certificate(node.socket())
            .await
            .map_err(|source| RenewalError::NotAll {
                node: node.name.clone(),
                source,
            })?;
    }
    for (renewed, node) in lab.sentinels.iter().chain(&lab.data_nodes).enumerate() {
        if stop.is_cancelled() {
            return Err(stopped(renewed));
        }
        certificates.renew_node(node)?;
        if !shown(lab, node, &certificates, &connector, stop).await? {
            return Err(stopped(renewed + 1));
        }
        info!(node = %node.name, "shows a new certificate");
    }
    certificates.renew_client()?;
    Ok(())
}

/// Waits until the server of a node shows what its file holds, and does its work. Returns whether it does: not, when the
/// wait was ended.
async fn shown(
    lab: &Lab,
    node: &Node,
    certificates: &Certificates,
    connector: &Connector,
    stop: &CancellationToken,
) -> Result<bool, RenewalError> {
    let wanted = certificates.shown_by(node)?;
    let mut why = String::new();
    let look = async || {
        let looked = async {
            let shows = connector.certificate(node.socket()).await?;
            Ok::<_, ClientError>(shows.is_some_and(|shows| shows == *wanted))
        };
        match looked.await {
            Ok(true) if watches(lab, node, connector).await.is_ok_and(|w| w) => {
                return Ok(Some(()));
            }
            Ok(_) => why.clear(),
            Err(error) => why = format!(": {error}"),
        }
        Ok::<_, RenewalError>(None)
    };
    match timeout(SHOWN_LIMIT, look_until(stop, look, LOOK_AGAIN)).await {
        Ok(looked) => Ok(looked?.is_some()),
        Err(_) => Err(RenewalError::NotShown {
            node: node.name.clone(),
            why,
        }),
    }
}

/// Whether a Sentinel is connected to the primary and finds it well; a data node has nothing to watch.
async fn watches(lab: &Lab, node: &Node, connector: &Connector) -> Result<bool, ClientError> {
    if node.kind == NodeKind::Data {
        return Ok(true);
    }
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("MASTER").arg(&lab.primary_name);
    let mut conn = connector.open(node.socket()).await?;
    let fields: HashMap<String, String> = conn.query(&ask).await?;
    Ok(fields.get("flags").is_some_and(|flags| flags == "master"))
}
