//! Questions to the Sentinels, and to the nodes that have not confirmed.

use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, maybe_done, select};
use tokio::time::Instant;

use crate::client::{Connector, ReplicationInfo};
use crate::protocol::ack::{Degraded, NoWitness, Testimony, witness, witness_promoted};
use crate::protocol::vote::{Elected, SentinelView};
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
        let age = asked.saturating_duration_since(since);
        let words = about.nodes().iter();
        let words = join_all(words.map(|node| own_word(*node, &self.connector)));
        let mut words = pin!(maybe_done(words));
        let answers = match select(pin!(self.panel.ask_each()), words.as_mut()).await {
            Either::Left((answers, _)) => answers,
            Either::Right(((), answers)) => answers.await,
        };
        let views = answers.views();
        // A node that is lost says nothing, late: often the Sentinels' word is enough.
        if self.judge(about, &views, &[], age).is_ok() {
            return Ok(());
        }
        words.as_mut().await;
        let words = words.take_output().unwrap_or_default();
        self.judge(about, &views, &words, age)
    }

    fn judge(
        &self,
        about: &About,
        views: &[SentinelView],
        words: &[Option<(SocketAddrV4, ReplicationInfo)>],
        age: Duration,
    ) -> Result<(), NoWitness> {
        // Only who says that it is a replica and not to be promoted matters.
        let submitted = || {
            let said = words.iter().flatten();
            said.filter(|(_, info)| !info.is_primary && info.priority == 0)
        };
        let own_word: Vec<SocketAddrV4> = submitted().map(|(node, _)| *node).collect();
        let heard = Testimony {
            views,
            majority: self.panel.majority(),
            own_word: &own_word,
            age,
        };
        match about {
            About::Elected(case) => witness(case, heard),
            About::Promoted { old, new } => {
                let its = submitted().find(|(node, _)| *node == old.address);
                let follows = its.and_then(|(_, info)| info.primary);
                witness_promoted(*old, *new, follows, heard)
            }
        }
    }
}

/// What a data node says of itself; a dead one says nothing.
async fn own_word(
    node: SocketAddrV4,
    connector: &Connector,
) -> Option<(SocketAddrV4, ReplicationInfo)> {
    let mut conn = connector.open(node).await.ok()?;
    Some((node, conn.replication().await.ok()?))
}
