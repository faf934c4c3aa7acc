//! The data nodes that a Sentinel could promote, each asked itself.
//!
//! The view of the Sentinels is not enough: one may remember the priority that a node had before,
//! or the default of a new entry, when the node no longer has every acknowledged write.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::client::Connector;
use crate::config::{Lab, Node};
use crate::protocol::vote::SentinelView;
use crate::sentinel::SentinelClients;

use super::HandoverError;

/// Time for the Sentinels to learn of a priority.
const LEARN_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two checks.
const CHECK_PAUSE: Duration = Duration::from_millis(50);

/// Waits until every candidate itself reports that it can be promoted.
///
/// # Errors
/// At once if a Sentinel has no candidate; after a limit, if one does not report it.
pub(super) async fn await_ready(
    lab: &Lab,
    connector: &Connector,
    sentinels: &SentinelClients,
    from: &Node,
) -> Result<(), HandoverError> {
    let begun = Instant::now();
    loop {
        let error = match check(lab, connector, sentinels, from).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let may_learn = matches!(error, HandoverError::CandidateNotReady(_));
        if !may_learn || begun.elapsed() >= LEARN_LIMIT {
            return Err(error);
        }
        sleep(CHECK_PAUSE).await;
    }
}

/// Checks the candidates of all Sentinels that could lead the failover.
///
/// # Errors
/// If a Sentinel has none, or one does not report that it can be promoted.
pub(super) async fn check(
    lab: &Lab,
    connector: &Connector,
    sentinels: &SentinelClients,
    from: &Node,
) -> Result<(), HandoverError> {
    let of = |view: &SentinelView| -> BTreeSet<SocketAddrV4> {
        let candidates = view.replicas.iter().filter(|replica| replica.promotable());
        candidates.map(|replica| replica.address).collect()
    };
    let views = sentinels.ask_each().await.views();
    let may_lead = |view: &&SentinelView| !view.passive && view.primary == from.socket();
    let found: Vec<_> = views.iter().filter(may_lead).map(of).collect();
    if found.is_empty() || found.iter().any(BTreeSet::is_empty) {
        return Err(HandoverError::NoReplicaReady);
    }
    let all: BTreeSet<_> = found.into_iter().flatten().collect();
    let asked = lab.data_nodes.iter().filter(|node| {
        let at = node.socket();
        at != from.socket() && all.contains(&at)
    });
    let reports = asked.map(
        async |node| match can_be_promoted(connector, node, from).await {
            true => None,
            false => Some(node.name.clone()),
        },
    );
    let not_ready: Vec<String> = join_all(reports).await.into_iter().flatten().collect();
    match not_ready.is_empty() {
        true => Ok(()),
        false => Err(HandoverError::CandidateNotReady(not_ready.join(", "))),
    }
}

/// Whether the node itself reports that it can be promoted.
async fn can_be_promoted(connector: &Connector, node: &Node, from: &Node) -> bool {
    let Ok(mut conn) = connector.open(node.socket()).await else {
        return false;
    };
    conn.info().await.is_ok_and(|info| {
        !info.is_primary
            && info.primary == Some(from.socket())
            && info.link_up
            && !info.syncing
            && info.priority > 0
    })
}
