//! New certificates for all nodes of a running lab, without a failed write.
//!
//! A node watches its certificate file and loads a new one into its server. So one node after the
//! other gets a new file. The next one follows when the server presents the new certificate and, if
//! it is a Sentinel, watches the primary again. All certificates are of one CA, so old and new ones
//! are accepted at every moment. If the command is interrupted, some are renewed, and it can be run
//! again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::{CertificateError, Certificates, Secrets, User};
use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node, NodeKind, SecretsFolder};
use crate::signals::poll_until;

/// Shortest limit of a connect or an answer; the lab's own may be longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a node may take until its server presents the new certificate; a Sentinel first waits
/// for its turn.
const PRESENTED_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Why certificates were not renewed, or only some of them.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// An error of the certificate files.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// A node did not answer before anything was changed.
    #[error(
        "{node} does not answer, so no certificate was renewed: {source}; start it, then run this again"
    )]
    Unchanged {
        /// The node.
        node: String,
        /// The error.
        source: ClientError,
    },
    /// A server still presents its old certificate.
    #[error(
        "the server of {node} does not present its new certificate after {PRESENTED_LIMIT:?}{why}: see the log of {node}, then run \
         this again; old and new certificates are both accepted"
    )]
    NotPresented {
        /// The node.
        node: String,
        /// The last error, after a colon and a space.
        why: String,
    },
    /// A signal stopped the command.
    #[error("stopped; {renewed} of {all} nodes have a new certificate{}", remaining_hint(*renewed))]
    Stopped {
        /// The number of nodes with a new file. Their servers present it, or soon will.
        renewed: usize,
        /// The number of nodes.
        all: usize,
    },
}

fn remaining_hint(renewed: usize) -> &'static str {
    if renewed == 0 {
        ""
    } else {
        "; old and new certificates are both accepted; run this again for the others"
    }
}

/// Gives every node of `lab`, its proxy and its clients a new certificate. If `stop` is cancelled,
/// it ends between two nodes.
///
/// # Errors
/// If a node does not answer, a file cannot be written, a server does not load its certificate, or
/// `stop` is cancelled.
pub async fn renew(lab: &Lab, stop: &CancellationToken) -> Result<(), RenewalError> {
    let certificates = match &lab.security.secrets {
        _ if !lab.security.tls => return Err(CertificateError::Off.into()),
        Some(SecretsFolder::Own(folder)) => Certificates::at(folder),
        Some(SecretsFolder::Given(folder)) => {
            return Err(CertificateError::NotOwn(folder.clone()).into());
        }
        None => return Err(CertificateError::Off.into()),
    };
    let connector = Connector::new(lab, User::Operator).with_min_limit(ANSWER_LIMIT);
    let secrets = Secrets::at(certificates.folder());
    let all = lab.nodes().count();
    let stopped = |renewed| RenewalError::Stopped { renewed, all };
    // Of two concurrent commands, one waits.
    let _lock = match secrets.try_lock().map_err(CertificateError::from)? {
        Some(lock) => lock,
        None => {
            info!("another command changes these passwords or certificates: waiting for it");
            poll_until(stop, async || secrets.try_lock(), POLL_INTERVAL)
                .await
                .map_err(CertificateError::from)?
                .ok_or(stopped(0))?
        }
    };
    for node in lab.nodes() {
        connector
            .certificate(node.socket())
            .await
            .map_err(|source| RenewalError::Unchanged {
                node: node.name.clone(),
                source,
            })?;
    }
    for (renewed, node) in lab.sentinels.iter().chain(&lab.data_nodes).enumerate() {
        if stop.is_cancelled() {
            return Err(stopped(renewed));
        }
        certificates.renew_node(node)?;
        if !wait_presented(lab, node, &certificates, &connector, stop).await? {
            return Err(stopped(renewed + 1));
        }
        info!(node = %node.name, "presents a new certificate");
    }
    if lab.proxy_uses_tls() {
        certificates.renew_proxy(lab)?;
        info!("a running proxy presents its new certificate within seconds");
    }
    certificates.renew_client()?;
    Ok(())
}

/// Waits until the server of a node presents the certificate in its file and works. Returns `false`
/// if `stop` was cancelled.
async fn wait_presented(
    lab: &Lab,
    node: &Node,
    certificates: &Certificates,
    connector: &Connector,
    stop: &CancellationToken,
) -> Result<bool, RenewalError> {
    let expected = certificates.node_certificate(node)?;
    let mut why = String::new();
    let poll = async || {
        let polled = async {
            let presented = connector.certificate(node.socket()).await?;
            Ok::<_, ClientError>(presented.is_some_and(|presented| presented == *expected))
        };
        match polled.await {
            Ok(true) if watches_primary(lab, node, connector).await.is_ok_and(|w| w) => {
                return Ok(Some(()));
            }
            Ok(_) => why.clear(),
            Err(error) => why = format!(": {error}"),
        }
        Ok::<_, RenewalError>(None)
    };
    match timeout(PRESENTED_LIMIT, poll_until(stop, poll, POLL_INTERVAL)).await {
        Ok(polled) => Ok(polled?.is_some()),
        Err(_) => Err(RenewalError::NotPresented {
            node: node.name.clone(),
            why,
        }),
    }
}

/// Whether a Sentinel is connected to the primary and considers it up; always true for a data node.
async fn watches_primary(
    lab: &Lab,
    node: &Node,
    connector: &Connector,
) -> Result<bool, ClientError> {
    if node.kind == NodeKind::Data {
        return Ok(true);
    }
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("MASTER").arg(&lab.primary_name);
    let mut conn = connector.open(node.socket()).await?;
    let fields: HashMap<String, String> = conn.query(&ask).await?;
    Ok(fields.get("flags").is_some_and(|flags| flags == "master"))
}
