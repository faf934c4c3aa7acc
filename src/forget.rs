//! Makes the Sentinels forget strangers: whom they know, and who is neither stated in `lab.toml` nor in the list of members.
//!
//! Only `SENTINEL RESET` makes a Sentinel forget: it drops all replicas and all other Sentinels that it knows, and learns
//! them again from the primary's INFO and from what the others publish. It keeps the primary, the epochs and its votes; the
//! periods that `halab node` has shortened stay too, being the server's and not the entry's. So one Sentinel after the
//! other is reset, the next one only when the whole lab is healthy again and that one knows every node: a majority
//! that can fail over is there at every moment. Cut short, it has reset some, and is run again.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::User;
use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node};
use crate::status::{Standing, Status, Stranger, gather};

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a Sentinel that was reset may take to know everyone again; about 2 s are usual.
const KNOWN_LIMIT: Duration = Duration::from_secs(30);
/// How long the lab may take to be healthy before a Sentinel is reset: a look may fall into a moment that is not.
const HEALTHY_LIMIT: Duration = Duration::from_secs(3);
/// How long a stranger has to be down: a Sentinel that makes it a replica ends all its connections, and is back at once.
const QUIET: Duration = Duration::from_secs(1);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why not all strangers are forgotten. Each Sentinel that was reset is whole again, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// Something else is wrong.
    #[error(
        "the lab is not healthy, and a Sentinel that is reset is of no use for a moment; mend this first, then run it again:\n{}",
        list(.0)
    )]
    NotHealthy(Vec<String>),
    /// A stranger is at work, and would be known again at once.
    #[error(
        "{} of the strangers answer, and would be known again at once; end these servers (or cut them off from the lab), then run it \
         again:\n{}", .0.len(), list(.0)
    )]
    Running(Vec<String>),
    /// One came back.
    #[error(
        "{sentinel} was reset and knows strangers again; end these servers (or cut them off from the lab), then run it again:\n{}",
        list(.strangers)
    )]
    CameBack {
        /// Who knows them.
        sentinel: String,
        /// Their addresses.
        strangers: Vec<String>,
    },
    /// A Sentinel does not get whole.
    #[error(
        "{sentinel} was reset, and after {KNOWN_LIMIT:?} the lab is not healthy yet; no other was reset. See the log of {sentinel} \
         and halab status, then run it again:\n{}", list(.missing)
    )]
    NotWhole {
        /// Which one.
        sentinel: String,
        /// What is missing.
        missing: Vec<String>,
    },
    /// It was asked to stop.
    #[error("stopped after {0} of the Sentinels; run it again for the others")]
    Stopped(usize),
    /// The Sentinel did not take it.
    #[error(transparent)]
    Client(#[from] ClientError),
}

fn list(items: &[String]) -> String {
    let lines: Vec<String> = items.iter().map(|item| format!("  - {item}")).collect();
    lines.join("\n")
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Forgotten {
    /// Who was known and is not any more.
    pub strangers: Vec<Stranger>,
    /// The Sentinels that were reset, in that order.
    pub reset: Vec<Reset>,
}

/// One Sentinel that was reset.
#[derive(Debug, Clone, Serialize)]
pub struct Reset {
    /// Its name.
    pub sentinel: String,
    /// Until it knew every node again and the lab was healthy, in milliseconds.
    pub whole_after_ms: f64,
}

/// Makes every Sentinel of `lab` forget strangers. Does nothing when there are none.
///
/// # Errors
/// Why not all are forgotten.
pub async fn forget(lab: &Lab, stop: &CancellationToken) -> Result<Forgotten, ForgetError> {
    let connector = Connector::new(lab, User::Operator, ANSWER_LIMIT);
    let mut done = Forgotten::default();
    for node in &lab.sentinels {
        let status = ready(lab).await?;
        if done.strangers.is_empty() {
            done.strangers.clone_from(&status.strangers);
        }
        if !knows_strangers(&status, &node.name) {
            continue;
        }
        if stop.is_cancelled() {
            return Err(ForgetError::Stopped(done.reset.len()));
        }
        info!(node = %node.name, "reset: it learns everyone again from the primary and the other Sentinels");
        let begun = Instant::now();
        reset(lab, node, &connector).await?;
        wait_whole(lab, node).await?;
        let whole_after_ms = begun.elapsed().as_secs_f64() * 1000.0;
        info!(node = %node.name, whole_after_ms, "knows every node again, the lab is healthy");
        done.reset.push(Reset {
            sentinel: node.name.clone(),
            whole_after_ms,
        });
    }
    Ok(done)
}

/// The lab, healthy but for strangers that are down, and that have been for [`QUIET`].
async fn ready(lab: &Lab) -> Result<Status, ForgetError> {
    let deadline = Instant::now() + HEALTHY_LIMIT;
    let mut down_since = None;
    loop {
        let status = gather(lab).await;
        let refusal = match (running(&status), status.faults_of_nodes()) {
            // First, as it may be what the problems come from.
            (running, _) if !running.is_empty() => ForgetError::Running(running),
            (_, problems) if !problems.is_empty() => ForgetError::NotHealthy(problems),
            _ => {
                let quiet = down_since.get_or_insert_with(Instant::now).elapsed() >= QUIET;
                if quiet || status.strangers.is_empty() {
                    return Ok(status);
                }
                sleep(LOOK_AGAIN).await;
                continue;
            }
        };
        down_since = None;
        if Instant::now() >= deadline {
            return Err(refusal);
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn running(status: &Status) -> Vec<String> {
    let strangers = status.strangers.iter();
    let up = strangers.filter(|s| s.listed.state != Standing::Down);
    up.map(Stranger::address).collect()
}

fn knows_strangers(status: &Status, sentinel: &str) -> bool {
    let mut strangers = status.strangers.iter();
    strangers.any(|s| s.known_to.iter().any(|name| name == sentinel))
}

async fn reset(lab: &Lab, node: &Node, connector: &Connector) -> Result<(), ForgetError> {
    let cmd = redis::cmd("SENTINEL")
        .arg("RESET")
        .arg(&lab.primary_name)
        .clone();
    let mut conn = connector.open(node.socket()).await?;
    Ok(conn.query::<redis::Value>(&cmd).await.map(drop)?)
}

/// Waits until the whole lab is healthy, this Sentinel's knowledge included.
async fn wait_whole(lab: &Lab, node: &Node) -> Result<(), ForgetError> {
    let deadline = Instant::now() + KNOWN_LIMIT;
    loop {
        let status = gather(lab).await;
        let missing = status.faults_of_nodes();
        if missing.is_empty() {
            if !knows_strangers(&status, &node.name) {
                return Ok(());
            }
            let strangers = status.strangers.iter();
            let its = strangers.filter(|s| s.known_to.contains(&node.name));
            let strangers = its.map(Stranger::address).collect();
            return Err(ForgetError::CameBack {
                sentinel: node.name.clone(),
                strangers,
            });
        }
        if Instant::now() >= deadline {
            return Err(ForgetError::NotWhole {
                sentinel: node.name.clone(),
                missing,
            });
        }
        sleep(LOOK_AGAIN).await;
    }
}
