//! Questions to the Sentinels, and to the nodes that have not confirmed.

use std::net::SocketAddrV4;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::client::{Connector, ReplicationInfo};
use crate::protocol::ack::{Degraded, NoWitness, Testimony, witness, witness_promoted};
use crate::protocol::vote::Elected;
use crate::sentinel::Panel;

/// What is asked about writes that have been answered.
#[derive(Debug)]
pub(super) enum About {
    /// Whether no node that has not confirmed them can be promoted.
    Elected(Degraded),
    /// Whether `old` has submitted to `new`, which was promoted over it.
    Promoted { old: Elected, new: SocketAddrV4 },
}

impl About {
    /// The data nodes whose own word matters.
    fn nodes(&self) -> &[SocketAddrV4] {
        match self {
            About::Elected(case) => &case.uncovered,
            About::Promoted { old, .. } => std::slice::from_ref(&old.address),
        }
    }
}

/// Asks the Sentinels to bear witness.
#[derive(Debug)]
pub(super) struct Witness {
    panel: Arc<Panel>,
    connector: Connector,
}

impl Witness {
    pub(super) fn new(panel: Arc<Panel>, connector: Connector) -> Self {
        Witness { panel, connector }
    }

    /// Asks about writes that were known to be done at `since`.
    pub(super) async fn ask(&self, about: &About, since: Instant) -> Result<(), NoWitness> {
        let asked = Instant::now();
        let words = about.nodes().iter();
        let words = join_all(words.map(|node| own_word(*node, self.connector)));
        let (answers, words) = tokio::join!(self.panel.ask_each(), words);
        // Only who says that it is a replica and not to be promoted matters.
        let submitted: Vec<(SocketAddrV4, ReplicationInfo)> = words
            .into_iter()
            .flatten()
            .filter(|(_, info)| !info.is_primary && info.priority == 0)
            .collect();
        let own_word: Vec<SocketAddrV4> = submitted.iter().map(|(node, _)| *node).collect();
        let heard = Testimony {
            views: &answers.views(),
            majority: self.panel.majority(),
            own_word: &own_word,
            age: asked.saturating_duration_since(since),
        };
        match about {
            About::Elected(case) => witness(case, heard),
            About::Promoted { old, new } => {
                let its = submitted.iter().find(|(node, _)| *node == old.address);
                let follows = its.and_then(|(_, info)| info.primary);
                witness_promoted(*old, *new, follows, heard)
            }
        }
    }
}

/// What a data node says of itself; a dead one says nothing.
async fn own_word(
    node: SocketAddrV4,
    connector: Connector,
) -> Option<(SocketAddrV4, ReplicationInfo)> {
    let mut conn = connector.open(node).await.ok()?;
    Some((node, conn.replication().await.ok()?))
}
