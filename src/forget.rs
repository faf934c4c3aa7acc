//! Makes the Sentinels forget strangers: servers that they know and that are neither in `lab.toml`
//! nor in the list of members.
//!
//! Only `SENTINEL RESET` makes a Sentinel forget. It drops all replicas and other Sentinels that it
//! knows, and learns them again from the primary's INFO and the others' messages. It keeps the
//! primary, the epochs and its votes, and the periods that `halab node` has shortened, which belong
//! to the server. So the Sentinels are reset one at a time, each only when the whole lab is healthy
//! and the one before knows every node again. A majority that can fail over exists at every moment.
//! If the command is interrupted, some are reset, and it can be run again.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::User;
use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node};
use crate::status::{Status, Stranger, StrangerState, gather};

/// Shortest limit of a connect or an answer; the lab's own may be longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a Sentinel may take after its reset to know all nodes again; usually about 2 s.
const KNOWN_LIMIT: Duration = Duration::from_secs(30);
/// How long the lab may take to be healthy before a reset, because a single observation can be
/// misleading.
const HEALTHY_LIMIT: Duration = Duration::from_secs(3);
/// How long a stranger has to be down. When a Sentinel makes it a replica, it closes all its
/// connections and is back at once.
const SILENCE: Duration = Duration::from_secs(1);
/// Pause between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Why not all strangers are forgotten. Unless the error says otherwise, each reset Sentinel is
/// complete.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The lab has other problems.
    #[error(
        "the lab is not healthy, and a Sentinel is unavailable for a moment during its reset; fix these problems, then run this again:\n{}",
        as_list(.0)
    )]
    NotHealthy(Vec<String>),
    /// A stranger is running, and would be found again.
    #[error(
        "{} of the strangers answer, so the Sentinels would find them again; stop these servers (or cut them off from the lab), then \
         run this again:\n{}", .0.len(), as_list(.0)
    )]
    Running(Vec<String>),
    /// A stranger came back.
    #[error(
        "{sentinel} was reset and knows strangers again; stop these servers (or cut them off from the lab), then run this again:\n{}",
        as_list(.strangers)
    )]
    CameBack {
        /// The Sentinel that knows them.
        sentinel: String,
        /// Their addresses.
        strangers: Vec<String>,
    },
    /// A Sentinel does not become complete.
    #[error(
        "{sentinel} was reset, and the lab is still not healthy after {KNOWN_LIMIT:?}; the Sentinels after it were not reset. See the log of \
         {sentinel} and halab status, then run this again:\n{}", as_list(.missing)
    )]
    Incomplete {
        /// The Sentinel.
        sentinel: String,
        /// What is missing.
        missing: Vec<String>,
    },
    /// A signal stopped the command.
    #[error("stopped after {0} Sentinels; run this again for the others")]
    Stopped(usize),
    /// The Sentinel did not accept the reset.
    #[error(transparent)]
    Client(#[from] ClientError),
}

fn as_list(items: &[String]) -> String {
    let lines: Vec<String> = items.iter().map(|item| format!("  - {item}")).collect();
    lines.join("\n")
}

/// The result.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Forgotten {
    /// The strangers that were forgotten.
    pub strangers: Vec<Stranger>,
    /// The Sentinels that were reset, in order.
    pub reset: Vec<Reset>,
}

/// A Sentinel that was reset.
#[derive(Debug, Clone, Serialize)]
pub struct Reset {
    /// Its name.
    pub sentinel: String,
    /// Time until it knew every node again and the lab was healthy, in milliseconds.
    pub whole_after_ms: f64,
}

/// Makes every Sentinel of `lab` forget strangers. Does nothing if there are none.
///
/// # Errors
/// Why not all are forgotten.
pub async fn forget(lab: &Lab, stop: &CancellationToken) -> Result<Forgotten, ForgetError> {
    let connector = Connector::new(lab, User::Operator).with_min_limit(ANSWER_LIMIT);
    let mut done = Forgotten::default();
    for node in &lab.sentinels {
        let status = wait_ready(lab).await?;
        if done.strangers.is_empty() {
            done.strangers.clone_from(&status.strangers);
        }
        if !knows_strangers(&status, &node.name) {
            continue;
        }
        if stop.is_cancelled() {
            return Err(ForgetError::Stopped(done.reset.len()));
        }
        info!(node = %node.name, "reset: it learns all nodes again from the primary and the other Sentinels");
        let begun = Instant::now();
        reset(lab, node, &connector).await?;
        wait_complete(lab, node).await?;
        let whole_after_ms = begun.elapsed().as_secs_f64() * 1000.0;
        info!(node = %node.name, whole_after_ms, "knows every node again, the lab is healthy");
        done.reset.push(Reset {
            sentinel: node.name.clone(),
            whole_after_ms,
        });
    }
    Ok(done)
}

/// Waits until the lab is healthy except for strangers that have been down for [`SILENCE`].
async fn wait_ready(lab: &Lab) -> Result<Status, ForgetError> {
    let deadline = Instant::now() + HEALTHY_LIMIT;
    let mut down_since = None;
    loop {
        let status = gather(lab).await;
        let refusal = match (running(&status), status.faults_of_nodes()) {
            // First, because the strangers may be the cause of the problems.
            (running, _) if !running.is_empty() => ForgetError::Running(running),
            (_, problems) if !problems.is_empty() => ForgetError::NotHealthy(problems),
            _ => {
                let silent = down_since.get_or_insert_with(Instant::now).elapsed() >= SILENCE;
                if silent || status.strangers.is_empty() {
                    return Ok(status);
                }
                sleep(POLL_INTERVAL).await;
                continue;
            }
        };
        down_since = None;
        if Instant::now() >= deadline {
            return Err(refusal);
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn running(status: &Status) -> Vec<String> {
    let strangers = status.strangers.iter();
    let up = strangers.filter(|s| s.entry.state != StrangerState::Down);
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

/// Waits until the whole lab is healthy and this Sentinel knows all nodes.
async fn wait_complete(lab: &Lab, node: &Node) -> Result<(), ForgetError> {
    let deadline = Instant::now() + KNOWN_LIMIT;
    loop {
        let status = gather(lab).await;
        let missing = status.faults_of_nodes();
        if missing.is_empty() {
            if !knows_strangers(&status, &node.name) {
                return Ok(());
            }
            let strangers = status.strangers.iter();
            let known = strangers.filter(|s| s.known_to.contains(&node.name));
            let strangers = known.map(Stranger::address).collect();
            return Err(ForgetError::CameBack {
                sentinel: node.name.clone(),
                strangers,
            });
        }
        if Instant::now() >= deadline {
            return Err(ForgetError::Incomplete {
                sentinel: node.name.clone(),
                missing,
            });
        }
        sleep(POLL_INTERVAL).await;
    }
}
