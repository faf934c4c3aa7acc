//! `halab member`: data nodes and Sentinels are added to and removed from a running lab.
//!
//! [`crate::protocol::member_change`] decides the next step, from the primary's list of members and
//! the observed conditions. The list is the only state. A command that was interrupted is run again
//! and continues from it.
//!
//! - `command`: one command: `add`, `remove`, `replace`
//! - `checks`: what is checked before the first step
//! - `steps`: the steps, one after the other
//! - `observer`: observes all nodes; `conditions`: judges from that whether a step may be taken
//! - `departure`: after a removal, the node is stopped and the Sentinels forget it
//! - `primary`: the primary and its list of members
//! - `listing`: all members, and the `lab.toml` that each node runs with

mod checks;
mod command;
mod conditions;
mod departure;
mod listing;
mod observer;
mod primary;
mod steps;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::Connector;
use crate::config::{Lab, Node, NodeKind};
use crate::protocol::member_list::MemberKind;

pub use listing::{Listing, Row};

use command::MemberCommand;

/// Shortest limit of a connect or an answer; the lab's own may be longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Pause between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait for the supervisors to state the nodes that they know. A supervisor that has
/// just started, or whose connection was closed, does so a moment later.
const STATEMENT_LIMIT: Duration = Duration::from_secs(3);

/// Why a change of the members is not complete. The steps done so far are safe.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// One more loss could be fatal, or something else has to be done first.
    #[error("refused: {0}")]
    Refused(String),
    /// There is no primary with a readable list of members.
    #[error("{0}")]
    NotReady(String),
    /// A condition did not come true in time.
    #[error(
        "timed out after {limit:?}, waiting: {missing}. Run the same command again to continue"
    )]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// The condition.
        missing: String,
    },
    /// A signal stopped the command.
    #[error("stopped; the steps done so far are safe: run the same command again to continue")]
    Stopped,
}

/// A change of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// Make this node of `lab.toml` a member.
    Add(String),
    /// Remove this node.
    Remove(String),
    /// Add the second node, then remove the first.
    Replace(String, String),
}

/// The result of a change.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The steps, as text.
    pub steps: Vec<String>,
    /// The data nodes that are members now.
    pub data_nodes: Vec<String>,
    /// The Sentinels that are members now.
    pub sentinels: Vec<String>,
    /// The operator's next step.
    pub next: Vec<String>,
}

/// Options of a change.
pub struct ChangeOptions<'a> {
    /// Check everything and report the first step, but change nothing.
    pub dry_run: bool,
    /// How long a step may wait for its conditions, such as a copy or a node to be stopped.
    pub step_limit: Duration,
    /// Stops the command between two steps.
    pub stop: &'a CancellationToken,
    /// Called with each step.
    pub on_step: &'a (dyn Fn(&ChangeStep) + Sync),
}

/// A step of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeStep {
    /// It was done, or, with `dry_run`, would be.
    Done(String),
    /// The next one waits for this condition.
    Waiting(String),
    /// This node is no longer a member. The command waits until the operator has stopped it.
    StopNode(String),
}

impl fmt::Display for ChangeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeStep::Done(what) => f.write_str(what),
            ChangeStep::Waiting(missing) => write!(f, "waiting: {missing}"),
            ChangeStep::StopNode(name) => write!(
                f,
                "{name} is no longer a member: stop its node now, and disable its start at boot (this command waits)"
            ),
        }
    }
}

/// Makes `change`.
///
/// # Errors
/// Why it is not complete. The steps done so far are safe; another call continues from there.
pub async fn change(
    lab: &Lab,
    change: &MemberChange,
    options: &ChangeOptions<'_>,
) -> Result<ChangeReport, MemberError> {
    let connector = Connector::new(lab, User::Operator).with_min_limit(ANSWER_LIMIT);
    MemberCommand::new(lab, options, connector)
        .run(change)
        .await
}

/// All members, and the `lab.toml` that each node runs with.
///
/// # Errors
/// If no primary is found, or it has no list of members.
pub async fn list(lab: &Lab) -> Result<Listing, MemberError> {
    let connector = Connector::new(lab, User::Operator).with_min_limit(ANSWER_LIMIT);
    let deadline = Instant::now() + STATEMENT_LIMIT;
    loop {
        match listing::list(lab, &connector).await {
            Err(_) if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
            other => return other,
        }
    }
}

fn kind_of(node: &Node) -> MemberKind {
    match node.kind {
        NodeKind::Data => MemberKind::Data,
        NodeKind::Sentinel => MemberKind::Sentinel,
    }
}

fn is_primary(name: &str) -> String {
    format!("{name} is the primary: hand over first, with halab handover")
}
