//! Questions to the Sentinels, and to the nodes that have not confirmed.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, maybe_done, select};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::client::{Conn, Connector, ReconnectingConn, ReplicationInfo};
use crate::protocol::ack::{
    ASSURANCE_CHANNEL, Evidence, NoWitness, UncoveredWrites, witness, witness_promoted,
};
use crate::protocol::copy::{Copy, Mark, Relation};
use crate::protocol::vote::{Elected, SentinelView};
use crate::sentinel::Panel;

/// Pause before the Sentinels are asked again while a data node has not answered.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What is asked about writes that have been answered.
#[derive(Debug)]
pub(super) enum About {
    /// Whether no node that has not confirmed them can be promoted.
    Elected(UncoveredWrites),
    /// Whether `old` has submitted to `new`, which was promoted over it and carries `mark`.
    Promoted {
        old: Elected,
        new: SocketAddrV4,
        mark: Box<Mark>,
    },
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
    raise_limit: Duration,
    /// To each data node that was asked.
    nodes: Mutex<HashMap<SocketAddrV4, Arc<Mutex<ReconnectingConn>>>>,
}

/// What a data node says of itself.
#[derive(Debug)]
struct Word {
    node: SocketAddrV4,
    info: ReplicationInfo,
    copy: Option<Copy>,
    /// It assures that it can't be promoted.
    assured: bool,
}

impl Witness {
    pub(super) fn new(panel: Arc<Panel>, connector: Connector, raise_limit: Duration) -> Self {
        Witness {
            panel,
            connector,
            raise_limit,
            nodes: Mutex::default(),
        }
    }

    /// Asks about writes that were known to be done at `since`.
    pub(super) async fn ask(&self, about: &About, since: Instant) -> Result<(), NoWitness> {
        let words = about.nodes().iter().map(|node| self.own_word(*node));
        let mut words = pin!(maybe_done(join_all(words)));
        loop {
            let age = Instant::now().saturating_duration_since(since);
            let asked = pin!(self.panel.ask_each());
            let answers = match select(asked, words.as_mut()).await {
                Either::Left((answers, _)) => answers,
                Either::Right(((), answers)) => answers.await,
            };
            let views = answers.views();
            // A node that is lost says nothing, late: often the Sentinels' word is enough, and they
            // may see more of it while it is waited for.
            let heard = words.as_mut().output_mut().map(|heard| heard.as_slice());
            let verdict = self.judge(about, &views, heard.unwrap_or_default(), age);
            if verdict.is_ok() || heard.is_some() {
                return verdict;
            }
            if timeout(ASK_AGAIN, words.as_mut()).await.is_ok()
                && let Some(heard) = words.as_mut().output_mut()
            {
                return self.judge(about, &views, heard, age);
            }
        }
    }

    fn judge(
        &self,
        about: &About,
        views: &[SentinelView],
        words: &[Option<Word>],
        age: Duration,
    ) -> Result<(), NoWitness> {
        // It could become primary, and nothing says that it has the writes.
        let stranger = |view| self.panel.promotable_stranger(view);
        if let Some(stranger) = views.iter().find_map(stranger) {
            return Err(NoWitness::Promotable(stranger));
        }
        // Only who says that it is a replica and not to be promoted matters.
        let submitted = || {
            let said = words.iter().flatten();
            said.filter(|word| !word.info.is_primary && word.info.priority == 0)
        };
        // A raise may be under way otherwise, with an offset that does not include the writes.
        let assured = || submitted().filter(|word| word.assured);
        let own_word: Vec<SocketAddrV4> = assured().map(|word| word.node).collect();
        let heard = Evidence {
            views,
            majority: self.panel.majority(),
            assured: &own_word,
            age,
            raise_limit: self.raise_limit,
        };
        match about {
            About::Elected(case) => witness(case, heard),
            About::Promoted { old, new, mark } => {
                // One that was promoted itself, and was sent back before it was announced, would
                // take the role by what its own copy says. One that loads a copy
                // has that of the new one, or none.
                let new_copy = Copy::Marked(mark.clone());
                let gives_way = |word: &&Word| {
                    let copy = word.copy.as_ref();
                    word.info.loading
                        || copy.is_some_and(|c| c.against(&new_copy, true) == Relation::More)
                };
                let mut its = assured().filter(|word| word.node == old.address);
                let follows = its.find(gives_way).and_then(|word| word.info.primary);
                witness_promoted(*old, *new, follows, heard)
            }
        }
    }

    /// What a data node says of itself; a dead one says nothing.
    async fn own_word(&self, node: SocketAddrV4) -> Option<Word> {
        let line = || Arc::new(Mutex::new(ReconnectingConn::new(node, self.connector.clone())));
        let line = self
            .nodes
            .lock()
            .await
            .entry(node)
            .or_insert_with(line)
            .clone();
        let mut line = line.lock().await;
        // Taken out while in use: a question that is given up drops its connection.
        let answer = match line.take() {
            Some(mut conn) => ask_node(&mut conn).await.map(|said| (conn, said)),
            None => None,
        };
        // It was started again, perhaps, or has changed its role.
        let (conn, (info, copy, assured)) = match answer {
            Some(answer) => answer,
            None => {
                line.conn().await.ok()?;
                let mut conn = line.take()?;
                let said = ask_node(&mut conn).await?;
                (conn, said)
            }
        };
        line.put(conn);
        Some(Word {
            node,
            info,
            copy,
            assured,
        })
    }
}

async fn ask_node(conn: &mut Conn) -> Option<(ReplicationInfo, Option<Copy>, bool)> {
    conn.holding_and_presence(ASSURANCE_CHANNEL).await.ok()
}
