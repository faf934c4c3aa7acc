//! An operator's choice of the copy with which the lab continues, where the nodes cannot decide.
//!
//! The chosen node takes the role, and its next mark names the copies that were given up for it.
//! Their nodes set them aside on disk and copy the chosen one. Nothing is deleted. `judge` decides
//! from the answers of all data nodes what a choice would do.

mod judge;

use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client::{ClientError, Connector, set_mark};
use crate::config::{Lab, Node};
use crate::protocol::copy::{DataCopy, MARK_KEY, Mark};
use crate::protocol::vote::ReplicaView;
use crate::sentinel::SentinelClients;

use judge::{HeldCopyState, NodeAnswer, judge};

pub use judge::{ChoicePreview, CopyFate, NodeCopy};

/// The `replica-priority` that tells the node of a parked server that its copy is chosen.
pub const CHOSEN_PRIORITY: u64 = 1;
/// Pause between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How many observations in a row must find the mark, because the node also writes its mark.
const REQUIRED_SIGHTINGS: u32 = 5;

/// Why no copy was chosen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The chosen node cannot be asked.
    #[error("{node} does not answer, so it cannot take the role: {why}; start it first")]
    Unreachable {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// Its copy is empty.
    #[error("{0} has no data, or is still loading it: choose another node")]
    NoData(String),
    /// Another node serves.
    #[error(
        "{0} is primary and accepts writes. To change the primary, use halab handover. To continue with another copy, stop {0}, then \
         choose. To give up the other copies, use halab choose {0}; they are kept on disk"
    )]
    Serves(String),
    /// It serves, and no node is known to hold more.
    #[error("{0} is primary, and no node that answers holds more: nothing has to be chosen")]
    NothingToGiveUp(String),
    /// It is a replica in sync.
    #[error("{0} is in sync with its primary: nothing has to be chosen")]
    InSync(String),
    /// A node could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
}

async fn ask(lab: &Lab, connector: &Connector) -> Vec<NodeAnswer> {
    let all = lab.data_nodes.iter().map(|node| async {
        let ask = async { connector.open(node.socket()).await?.info_and_copy().await };
        let held = ask.await.map(|(info, copy)| HeldCopyState {
            is_primary: info.is_primary,
            link_up: info.link_up,
            copy,
        });
        NodeAnswer {
            node: node.name.clone(),
            held: held.map_err(|e: ClientError| e.to_string()),
        }
    });
    join_all(all).await
}

/// What choosing `name` would do.
///
/// # Errors
/// If it cannot be chosen.
pub async fn preview(
    lab: &Lab,
    connector: &Connector,
    name: &str,
) -> Result<ChoicePreview, ChooseError> {
    let answers = ask(lab, connector).await;
    judge(&answers, name)
}

/// Makes the lab continue with the copy of the node `name`. Returns whether the node has become
/// primary within `limit`.
///
/// # Errors
/// If it cannot be chosen.
pub async fn choose(
    lab: &Lab,
    connector: &Connector,
    name: &str,
    limit: Duration,
    stop: &CancellationToken,
) -> Result<bool, ChooseError> {
    let answers = ask(lab, connector).await;
    let choice = judge(&answers, name)?;
    let Some(node) = lab.node(name) else {
        return Err(ChooseError::NoData(name.to_owned()));
    };
    if choice.serves {
        return give_up_others(connector, node, &choice, &answers, limit).await;
    }
    let mut conn = connector.open(node.socket()).await?;
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("replica-priority").arg(CHOSEN_PRIORITY);
    conn.query::<Value>(&set).await?;
    let sentinels = SentinelClients::new(lab, connector.clone());
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline && !stop.is_cancelled() {
        if let Ok(mut conn) = connector.open(node.socket()).await
            && let Ok((info, Some(copy))) = conn.info_and_copy().await
            && info.is_primary
            && copy
                .mark()
                .is_some_and(|mark| mark.counts_for(name, &info.replication_id))
        {
            return Ok(true);
        }
        elect(&sentinels, node.socket()).await;
        tokio::select! {
            () = sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(false)
}

/// Calls for a failover if the Sentinels name another node, which cannot call for it itself, and
/// all of them could promote the chosen one.
async fn elect(sentinels: &SentinelClients, chosen: SocketAddrV4) {
    let answers = sentinels.ask().await;
    let Ok(elected) = answers.elect() else {
        return;
    };
    let sees = answers.views().iter().all(|view| {
        let replica = view.replica(chosen);
        replica.is_some_and(ReplicaView::promotable) && !view.failover_in_progress
    });
    if elected.address != chosen && sees {
        match sentinels.call_failover(elected.address).await {
            Ok(by) => debug!(%by, "failover called"),
            Err(error) => debug!(error, "no Sentinel accepts the failover yet"),
        }
    }
}

/// Adds the given-up copies to the mark of the primary `node`. Returns whether they have stayed in
/// it, within `limit`: the node also writes its mark, from what it read a moment earlier.
async fn give_up_others(
    connector: &Connector,
    node: &Node,
    choice: &ChoicePreview,
    answers: &[NodeAnswer],
    limit: Duration,
) -> Result<bool, ChooseError> {
    let given_up: Vec<&Mark> = choice
        .nodes
        .iter()
        .zip(answers)
        .filter(|(held, _)| held.then == CopyFate::KeptAside)
        .filter_map(|(_, answer)| answer.held.as_ref().ok()?.copy.as_ref()?.mark())
        .collect();
    let mut conn = connector.open(node.socket()).await?;
    let deadline = Instant::now() + limit;
    let mut sightings = 0;
    while sightings < REQUIRED_SIGHTINGS {
        // So that only a mark that was read is overwritten.
        let mut watch = redis::cmd("WATCH");
        watch.arg(MARK_KEY);
        conn.query::<Value>(&watch).await?;
        let (_, copy) = conn.info_and_copy().await?;
        let Some(mark) = copy.as_ref().and_then(DataCopy::mark) else {
            return Err(ChooseError::NoData(node.name.clone()));
        };
        if given_up.iter().all(|other| mark.gives_up(other)) {
            sightings += 1;
        } else if Instant::now() >= deadline {
            return Ok(false);
        } else {
            sightings = 0;
            let mut next = mark.next(mark.epoch, mark.state);
            next.over.extend(given_up.iter().map(|other| other.place()));
            let mut pipe = redis::pipe();
            pipe.cmd("MULTI");
            pipe.add_command(set_mark(&next));
            pipe.cmd("EXEC");
            conn.all(&pipe).await?;
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}
