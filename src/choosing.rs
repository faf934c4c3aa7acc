//! An operator's decision: which copy the lab goes on with, where the nodes can't know.
//!
//! The chosen node takes the role, and its next mark names the copies that were given up for it. Their nodes keep them aside,
//! on disk, and copy anew. Nothing is removed.

use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client::{ClientError, Connector, ReplicationInfo, set_mark};
use crate::config::{Lab, Node};
use crate::protocol::copy::{Copy, MARK_KEY, Mark, Relation};
use crate::protocol::vote::ReplicaView;
use crate::sentinel::Panel;

/// The `replica-priority` by which the node of a parked server knows that its copy is chosen.
pub const CHOSEN: u64 = 1;
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// So many looks in a row have to find a mark that was written beside that of the node.
const STAYS: u32 = 5;

/// Why no copy was chosen. In all cases nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// The chosen node can't be asked.
    #[error("{node} does not answer, so it can't take the role: {why}; start it first")]
    Unreachable {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// It holds nothing.
    #[error("{0} holds no data, or still loads it: choose another node")]
    NoData(String),
    /// Another node serves.
    #[error(
        "{0} is primary and takes writes. To change the primary: halab handover. To go on with another copy than that of {0}: stop \
         {0}, then choose. To give up what others hold: halab choose {0}; they are kept on disk"
    )]
    Serves(String),
    /// It serves, and no node is known to hold more.
    #[error(
        "{0} is primary, and no node that answers holds what it lacks: nothing has to be chosen"
    )]
    NothingToGiveUp(String),
    /// It is a replica in sync.
    #[error("{0} is in sync with its primary: nothing has to be chosen")]
    InSync(String),
    /// A node could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What a data node holds, against the chosen copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The node.
    pub node: String,
    /// What it holds, or why that is not known.
    pub copy: String,
    /// What becomes of it when the choice is made.
    pub then: Then,
}

/// What becomes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The lab goes on with it.
    Chosen,
    /// It holds no more than the chosen one, and follows it.
    Follows,
    /// It may hold what the chosen one lacks: it is kept aside on disk, and its node copies the chosen one.
    KeptAside,
    /// Not known now. Should it hold more, its node waits until it is chosen against.
    Unknown,
}

/// What each data node holds, and what would become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The chosen node.
    pub chosen: String,
    /// All data nodes, in the order of `lab.toml`.
    pub nodes: Vec<Held>,
    /// It is primary already: others are given up for it.
    pub serves: bool,
}

struct Answer {
    node: Node,
    held: Result<(ReplicationInfo, Option<Copy>), String>,
}

async fn ask(lab: &Lab, connector: &Connector) -> Vec<Answer> {
    let all = lab.data_nodes.iter().map(|node| async {
        let ask = async { connector.open(node.socket()).await?.holding().await };
        Answer {
            node: node.clone(),
            held: ask.await.map_err(|e: ClientError| e.to_string()),
        }
    });
    join_all(all).await
}

/// What choosing `name` would mean.
///
/// # Errors
/// When it can't be chosen.
pub async fn look(lab: &Lab, connector: &Connector, name: &str) -> Result<Choice, ChooseError> {
    let answers = ask(lab, connector).await;
    judge(&answers, name)
}

fn judge(answers: &[Answer], name: &str) -> Result<Choice, ChooseError> {
    let mut own = None;
    for answer in answers {
        match &answer.held {
            Ok((info, _)) if info.is_primary && answer.node.name != name => {
                return Err(ChooseError::Serves(answer.node.name.clone()));
            }
            Ok((info, copy)) if answer.node.name == name => {
                if !info.is_primary && info.link_up {
                    return Err(ChooseError::InSync(name.to_owned()));
                }
                match copy {
                    Some(copy) if *copy != Copy::Empty => own = Some((info.is_primary, copy)),
                    _ => return Err(ChooseError::NoData(name.to_owned())),
                }
            }
            Err(why) if answer.node.name == name => {
                return Err(ChooseError::Unreachable {
                    node: name.to_owned(),
                    why: why.clone(),
                });
            }
            _ => {}
        }
    }
    let Some((serves, own)) = own else {
        return Err(ChooseError::NoData(name.to_owned()));
    };
    let nodes: Vec<Held> = answers
        .iter()
        .map(|answer| {
            let (copy, then) = match &answer.held {
                Ok((info, Some(copy))) => {
                    (copy.to_string(), becomes(answer, name, own, info, copy))
                }
                Ok((_, None)) => ("it loads its data".to_owned(), Then::Unknown),
                Err(why) => (why.clone(), Then::Unknown),
            };
            Held {
                node: answer.node.name.clone(),
                copy,
                then,
            }
        })
        .collect();
    if serves && nodes.iter().all(|held| held.then != Then::KeptAside) {
        return Err(ChooseError::NothingToGiveUp(name.to_owned()));
    }
    Ok(Choice {
        chosen: name.to_owned(),
        nodes,
        serves,
    })
}

/// What becomes of `copy`, which the node of `answer` holds, when `own`, that of the node `chosen`, is chosen.
fn becomes(answer: &Answer, chosen: &str, own: &Copy, info: &ReplicationInfo, copy: &Copy) -> Then {
    if answer.node.name == chosen {
        return Then::Chosen;
    }
    // In sync with the one that serves, which is the chosen one then; its answer may be the later of the two.
    if info.link_up {
        return Then::Follows;
    }
    match own.against_that_of(chosen, copy, &answer.node.name, false) {
        Relation::Less | Relation::Same => Then::Follows,
        Relation::More | Relation::Apart => Then::KeptAside,
    }
}

/// Has the lab go on with the copy of the node `name`. Says whether it has become primary within `limit`.
///
/// # Errors
/// When it can't be chosen.
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
    set.arg("SET").arg("replica-priority").arg(CHOSEN);
    conn.query::<Value>(&set).await?;
    let panel = Panel::new(lab, connector.clone());
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline && !stop.is_cancelled() {
        if let Ok(mut conn) = connector.open(node.socket()).await
            && let Ok((info, Some(copy))) = conn.holding().await
            && info.is_primary
            && copy
                .mark()
                .is_some_and(|mark| mark.counts_for(name, &info.replication_id))
        {
            return Ok(true);
        }
        elect(&panel, node.socket()).await;
        tokio::select! {
            () = sleep(LOOK_AGAIN) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(false)
}

/// Where another node is named, which can't call for the failover itself: it is called here, once the Sentinels see the
/// chosen one.
async fn elect(panel: &Panel, chosen: SocketAddrV4) {
    let answers = panel.ask().await;
    let Ok(elected) = answers.elect() else {
        return;
    };
    let sees = answers.views().iter().all(|view| {
        let replica = view.replica(chosen);
        replica.is_some_and(ReplicaView::promotable) && !view.failover_in_progress
    });
    if elected.address != chosen && sees {
        match panel.call_failover(elected.address).await {
            Ok(by) => debug!(%by, "failover called"),
            Err(error) => debug!(error, "no Sentinel takes the failover yet"),
        }
    }
}

/// Names in the mark of the primary `node` the copies that are given up for it. Says whether that is so within `limit`: the
/// node writes its mark too, from what it has read a moment before.
async fn give_up_others(
    connector: &Connector,
    node: &Node,
    choice: &Choice,
    answers: &[Answer],
    limit: Duration,
) -> Result<bool, ChooseError> {
    let given_up: Vec<&Mark> = choice
        .nodes
        .iter()
        .zip(answers)
        .filter(|(held, _)| held.then == Then::KeptAside)
        .filter_map(|(_, answer)| answer.held.as_ref().ok()?.1.as_ref()?.mark())
        .collect();
    let mut conn = connector.open(node.socket()).await?;
    let deadline = Instant::now() + limit;
    let mut stayed = 0;
    while stayed < STAYS {
        // So that no mark is written over that was not read.
        let mut watch = redis::cmd("WATCH");
        watch.arg(MARK_KEY);
        conn.query::<Value>(&watch).await?;
        let (_, copy) = conn.holding().await?;
        let Some(mark) = copy.as_ref().and_then(Copy::mark) else {
            return Err(ChooseError::NoData(node.name.clone()));
        };
        if given_up.iter().all(|other| mark.gives_up(other)) {
            stayed += 1;
        } else if Instant::now() >= deadline {
            return Ok(false);
        } else {
            stayed = 0;
            let mut next = mark.next(mark.epoch, mark.state);
            next.over.extend(given_up.iter().map(|other| other.place()));
            let mut pipe = redis::pipe();
            pipe.cmd("MULTI");
            pipe.add_command(set_mark(&next));
            pipe.cmd("EXEC");
            conn.all(&pipe).await?;
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(true)
}
