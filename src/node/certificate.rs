//! What the server of a node shows, with TLS: judged before the start, and new files brought to the
//! server.
//!
//! The server of a data node takes new files while it runs. A Sentinel's does not, so it is started
//! again: one Sentinel after the other, and only while all others watch the primary, so that a
//! failover is possible at every moment.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::access::{Certificates, User};
use crate::client::{Connector, judge_own};
use crate::config::{Lab, Node};

use super::NodeError;

/// How often the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What lies between the turns of two Sentinels that get new files at the same moment; a start
/// takes a tenth of it.
const TURN: Duration = Duration::from_secs(1);

/// One state of the files, as told from another.
type Fingerprint = [u8; 32];

/// The certificate of a node, and in which state its server has read it.
#[derive(Debug)]
pub(super) struct Certificate {
    certificates: Certificates,
    node: Node,
    in_use: Option<Fingerprint>,
    /// Files of no use are told about once.
    refused: Option<Fingerprint>,
    looked: Instant,
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
    /// The certificate of `node`, made if it is the lab's own to make; nothing for a lab without
    /// TLS.
    ///
    /// # Errors
    /// When it is not there, or nobody would take it.
    pub(super) fn of(lab: &Lab, node: &Node) -> Result<Option<Self>, NodeError> {
        let Some(certificates) = Certificates::of_lab(lab)? else {
            return Ok(None);
        };
        judge_own(&certificates, node)?;
        Ok(Some(Certificate {
            in_use: certificates.fingerprint(node),
            certificates,
            node: node.clone(),
            refused: None,
            looked: Instant::now(),
        }))
    }

    /// When it ends, in seconds of Unix time; 0 when that can't be told.
    pub(super) fn end(&self) -> i64 {
        self.certificates.end(&self.node).unwrap_or(0)
    }

    /// The server reads the files at its start, as they are now.
    pub(super) fn read_at_start(&mut self) {
        self.in_use = self.certificates.fingerprint(&self.node);
    }

    /// Files that the server has not read and that are good; looked for no more often than is due.
    fn fresh(&mut self) -> Option<Fingerprint> {
        if self.looked.elapsed() < LOOK_AGAIN {
            return None;
        }
        self.looked = Instant::now();
        // Unreadable ones are no news either: the server goes on with what it has.
        let now = self.certificates.fingerprint(&self.node)?;
        if self.in_use == Some(now) {
            return None;
        }
        if let Err(error) = judge_own(&self.certificates, &self.node) {
            if self.refused.replace(now) != Some(now) {
                warn!(node = %self.node.name, %error, "a new certificate is not taken");
            }
            return None;
        }
        Some(now)
    }

    /// New files for the server of a data node: good ones that it has not read.
    pub(super) fn renewal(&mut self) -> Option<Renewal> {
        let fingerprint = self.fresh()?;
        // The server has a working folder of its own.
        let absolute = |path: PathBuf| {
            let path = fs::canonicalize(path).ok()?;
            Some(path.to_string_lossy().into_owned())
        };
        Some(Renewal {
            own: absolute(self.certificates.node(&self.node.name))?,
            ca: absolute(self.certificates.ca())?,
            fingerprint,
        })
    }

    /// The server has read these files.
    pub(super) fn renewed(&mut self, renewal: &Renewal) {
        self.in_use = Some(renewal.fingerprint);
    }

    /// Waits until a Sentinel is to be started again: there are new files, and it is its turn.
    pub(super) async fn turn(&mut self, lab: &Lab) {
        let place = lab
            .sentinels
            .iter()
            .position(|n| n.name == self.node.name)
            .and_then(|place| u32::try_from(place).ok());
        let connector = Connector::new(lab, User::Node).from_source(lab.listens(&self.node));
        loop {
            sleep(LOOK_AGAIN).await;
            if self.fresh().is_none() {
                continue;
            }
            sleep(TURN * place.unwrap_or(0)).await;
            if others_watch(lab, &self.node, &connector).await {
                return;
            }
        }
    }
}

/// Whether every other Sentinel is connected to the primary, and finds it well.
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
