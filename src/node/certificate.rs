//! The TLS certificate of a node's server: checked before the start, and renewed while it runs.
//!
//! The server of a data node reads new files while it runs. A Sentinel reads them only at its
//! start, so it is restarted: one Sentinel after the other, and only while all others watch the
//! primary, so that a failover is possible at any time.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::access::{Certificates, User};
use crate::client::{Connector, verify_certificate};
use crate::config::{Lab, Node};

use super::NodeError;

/// How often the files are checked.
const CHECK_PERIOD: Duration = Duration::from_secs(1);
/// Pause between the restarts of two Sentinels that get new files at the same time; a start takes a
/// tenth of it.
const RESTART_SPACING: Duration = Duration::from_secs(1);

/// Distinguishes one state of the files from another.
type Fingerprint = [u8; 32];

/// The certificate of a node, and the state of the files that its server has read.
#[derive(Debug)]
pub(super) struct Certificate {
    certificates: Certificates,
    node: Node,
    in_use: Option<Fingerprint>,
    /// Unusable files that have been logged.
    refused: Option<Fingerprint>,
    checked: Instant,
}

/// New files of a certificate, by their absolute paths.
#[derive(Debug)]
pub(super) struct Renewal {
    /// Certificate and key of the node.
    pub(super) own: String,
    /// The CA's certificate.
    pub(super) ca: String,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// The certificate of `node`, made if the lab makes its own certificates; `None` without TLS.
    ///
    /// # Errors
    /// If it is missing, or other nodes would not accept it.
    pub(super) fn of(lab: &Lab, node: &Node) -> Result<Option<Self>, NodeError> {
        let Some(certificates) = Certificates::load_or_generate(lab)? else {
            return Ok(None);
        };
        verify_certificate(&certificates, &certificates.node(&node.name), node.address)?;
        Ok(Some(Certificate {
            in_use: certificates.fingerprint(&certificates.node(&node.name)),
            certificates,
            node: node.clone(),
            refused: None,
            checked: Instant::now(),
        }))
    }

    fn path(&self) -> PathBuf {
        self.certificates.node(&self.node.name)
    }

    /// When it expires, as a Unix time in seconds; 0 if unknown.
    pub(super) fn end(&self) -> i64 {
        self.certificates.end(&self.path()).unwrap_or(0)
    }

    /// The server is about to start, and reads the files as they are now.
    pub(super) fn read_at_start(&mut self) {
        self.in_use = self.certificates.fingerprint(&self.path());
    }

    /// Valid files that the server has not read; checked once per [`CHECK_PERIOD`].
    fn unread(&mut self) -> Option<Fingerprint> {
        if self.checked.elapsed() < CHECK_PERIOD {
            return None;
        }
        self.checked = Instant::now();
        // Unreadable files change nothing: the server keeps what it has.
        let now = self.certificates.fingerprint(&self.path())?;
        if self.in_use == Some(now) {
            return None;
        }
        if let Err(error) = verify_certificate(&self.certificates, &self.path(), self.node.address)
        {
            if self.refused.replace(now) != Some(now) {
                warn!(node = %self.node.name, %error, "a new certificate is not taken");
            }
            return None;
        }
        Some(now)
    }

    /// Valid files that the server of a data node has not read.
    pub(super) fn renewal(&mut self) -> Option<Renewal> {
        let fingerprint = self.unread()?;
        // Absolute, because the server has another working folder.
        let absolute = |path: PathBuf| {
            let path = fs::canonicalize(path).ok()?;
            Some(path.to_string_lossy().into_owned())
        };
        Some(Renewal {
            own: absolute(self.path())?,
            ca: absolute(self.certificates.ca())?,
            fingerprint,
        })
    }

    /// The server has read these files.
    pub(super) fn renewed(&mut self, renewal: &Renewal) {
        self.in_use = Some(renewal.fingerprint);
    }

    /// Waits until this Sentinel has new files and it is its turn to restart.
    pub(super) async fn restart_turn(&mut self, lab: &Lab) {
        let place = lab
            .sentinels
            .iter()
            .position(|n| n.name == self.node.name)
            .and_then(|place| u32::try_from(place).ok());
        let connector = Connector::new(lab, User::Node).from_source(lab.listens(&self.node));
        loop {
            sleep(CHECK_PERIOD).await;
            if self.unread().is_none() {
                continue;
            }
            sleep(RESTART_SPACING * place.unwrap_or(0)).await;
            if others_watch(lab, &self.node, &connector).await {
                return;
            }
        }
    }
}

/// Whether every other Sentinel is connected to the primary and reports no problem with it.
async fn others_watch(lab: &Lab, node: &Node, connector: &Connector) -> bool {
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("MASTER").arg(&lab.primary_name);
    for other in lab.sentinels.iter().filter(|n| n.name != node.name) {
        let Ok(mut conn) = connector.open(other.socket()).await else {
            return false;
        };
        match conn.query::<HashMap<String, String>>(&ask).await {
            Ok(fields) if fields.get("flags").is_some_and(|flags| flags == "master") => {}
            _ => return false,
        }
    }
    true
}
