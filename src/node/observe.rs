//! Observes the Sentinels and the other data nodes in the background, for a data node.
//!
//! Each observer is a task of its own, so that a silent node delays nothing else.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::client::{Conn, Connector, ServerInfo};
use crate::config::{Lab, Node};
use crate::protocol::copy::DataCopy;
use crate::protocol::format::Version;
use crate::protocol::vote::{SentinelView, settled_within};
use crate::sentinel::{Answers, SentinelClients};

use super::machine::{Peer, PeerCopy, PeerState, Vote};

/// Pause between two observations while nothing happens.
pub(super) const CALM: Duration = Duration::from_millis(100);
/// Pause between two observations while a role is undecided or a failover is in progress.
pub(super) const URGENT: Duration = Duration::from_millis(20);
/// A vote older than this, or than the limit of an answer, is dropped: the Sentinels may have
/// answered before a network cut.
const VOTE_LIFETIME: Duration = Duration::from_millis(800);

/// The latest observations.
#[derive(Debug)]
pub(super) struct Observers {
    vote: watch::Receiver<Option<(Instant, Vote)>>,
    foreign: watch::Receiver<Option<SocketAddrV4>>,
    peers: Vec<(SocketAddrV4, watch::Receiver<PeerRecord>)>,
    /// How long the last answer of a peer counts while it is asked again.
    lifetime: Duration,
    vote_lifetime: Duration,
    me: SocketAddrV4,
    name: String,
    pace: watch::Sender<Duration>,
    tasks: JoinSet<()>,
}

/// The last observation of another data node.
#[derive(Debug, Clone)]
struct PeerRecord {
    /// Its name.
    name: String,
    /// The last answer, or the start when there was none.
    at: Instant,
    state: Option<PeerState>,
    /// Its copy, at the last answer.
    copy: Option<DataCopy>,
    /// The primary that it follows, as a replica.
    of: Option<SocketAddrV4>,
    /// Its replication history.
    history: String,
    /// The version of its server, at the last answer.
    version: Option<Version>,
}

impl Observers {
    /// Starts to observe as the data node `me`.
    pub(super) fn start(
        lab: &Lab,
        me: &Node,
        sentinels: &Arc<SentinelClients>,
        connector: &Connector,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let (pace, _) = watch::channel(URGENT);
        let (vote_to, vote) = watch::channel(None);
        let (foreign_to, foreign) = watch::channel(None);
        tasks.spawn(observe_sentinels(
            sentinels.clone(),
            lab.data_nodes.iter().map(Node::socket).collect(),
            me.socket(),
            vote_to,
            foreign_to,
            pace.subscribe(),
        ));
        let mut peers = Vec::new();
        for node in lab.data_nodes.iter().filter(|n| n.name != me.name) {
            let (to, seen) = watch::channel(PeerRecord {
                name: node.name.clone(),
                at: Instant::now(),
                state: None,
                copy: None,
                of: None,
                history: String::new(),
                version: None,
            });
            tasks.spawn(observe_peer(
                node.socket(),
                connector.clone(),
                to,
                pace.subscribe(),
            ));
            peers.push((node.socket(), seen));
        }
        Observers {
            vote,
            foreign,
            peers,
            // If both hang for the same reason, this node must not count the other as alive.
            lifetime: (lab.timing.hang_timeout * 2 / 3).max(CALM * 2),
            vote_lifetime: lab.timing.answer_limit().max(VOTE_LIFETIME),
            me: me.socket(),
            name: me.name.clone(),
            pace,
            tasks,
        }
    }

    /// Why an observer has ended, if one has: its last observation would count for ever.
    pub(super) fn ended(&mut self) -> Option<String> {
        let ended = self.tasks.try_join_next()?;
        let why = ended.err().map(|error| error.to_string());
        Some(why.unwrap_or_else(|| "it has ended".to_owned()))
    }

    /// Sets the pause between two observations.
    pub(super) fn set_pace(&self, pace: Duration) {
        self.pace
            .send_if_modified(|now| std::mem::replace(now, pace) != pace);
    }

    /// The vote of a majority of the Sentinels, if it is recent. The age of their INFO of this node
    /// stays as reported: there, too young is the safe side.
    pub(super) fn vote(&self) -> Option<Vote> {
        let latest = *self.vote.borrow();
        let (asked, vote) = latest.filter(|(asked, _)| asked.elapsed() < self.vote_lifetime)?;
        Some(Vote {
            // As of now: the answer is at most as old as the question.
            primary_alive_within: vote.primary_alive_within.map(|age| age + asked.elapsed()),
            primary_settled_within: (vote.primary_settled_within).map(|age| age + asked.elapsed()),
            ..vote
        })
    }

    /// The primary that the Sentinels name, if it is not a data node of this `lab.toml`.
    pub(super) fn foreign_primary(&self) -> Option<SocketAddrV4> {
        *self.foreign.borrow()
    }

    /// The other data nodes, compared with this node's copy and the version of this node's server.
    pub(super) fn peers(&self, own: Option<&DataCopy>, server: Option<Version>) -> Vec<Peer> {
        self.peers
            .iter()
            .map(|(address, seen)| {
                let seen = seen.borrow();
                let silence = seen.at.elapsed();
                let known = silence < self.lifetime;
                Peer {
                    address: *address,
                    state: seen
                        .state
                        .filter(|_| known)
                        .unwrap_or(PeerState::Unreachable(silence)),
                    copy: peer_copy(&self.name, own, &seen),
                    readable: server
                        .zip(seen.version)
                        .is_none_or(|(own, writer)| own.reads(writer)),
                    follows_me: known && seen.state.is_some() && seen.of == Some(self.me),
                }
            })
            .collect()
    }

    /// The version of the server at that address, at its last answer.
    pub(super) fn version_of(&self, address: SocketAddrV4) -> Option<Version> {
        let found = self.peers.iter().find(|(a, _)| *a == address);
        found.and_then(|(_, seen)| seen.borrow().version)
    }

    /// The copies of the other data nodes, by name; `None` if unreachable.
    pub(super) fn copies(&self) -> Vec<(String, Option<DataCopy>)> {
        self.peers
            .iter()
            .map(|(_, seen)| {
                let seen = seen.borrow();
                (seen.name.clone(), seen.copy.clone())
            })
            .collect()
    }
}

async fn pause(pace: &mut watch::Receiver<Duration>) {
    let time = *pace.borrow_and_update();
    tokio::select! {
        () = sleep(time) => {}
        // A change of pace takes effect at once; a closed channel means that the node ends.
        _ = pace.changed() => {}
    }
}

async fn observe_sentinels(
    sentinels: Arc<SentinelClients>,
    data_nodes: Vec<SocketAddrV4>,
    me: SocketAddrV4,
    to: watch::Sender<Option<(Instant, Vote)>>,
    foreign: watch::Sender<Option<SocketAddrV4>>,
    mut pace: watch::Receiver<Duration>,
) {
    loop {
        let asked = Instant::now();
        let vote = read_vote(&sentinels.ask().await, sentinels.majority(), me);
        // Clients would write to that server, and this node would replace its data with a copy of
        // it.
        let named = vote.map(|v| v.primary).filter(|p| !data_nodes.contains(p));
        if foreign.send_if_modified(|known| std::mem::replace(known, named) != named)
            && let Some(primary) = named
        {
            warn!(%primary, "the Sentinels name a primary that is not a data node of this lab.toml, so it is not followed");
        }
        let vote = vote.filter(|_| named.is_none());
        to.send_replace(vote.map(|vote| (asked, vote)));
        pause(&mut pace).await;
    }
}

/// The vote by the answers, for the data node `me`; `None` without a majority.
fn read_vote(answers: &Answers, majority: usize, me: SocketAddrV4) -> Option<Vote> {
    let elected = answers.elect().ok()?;
    let views = answers.views();
    let agreeing: Vec<&SentinelView> = views
        .iter()
        .filter(|v| v.primary == elected.address)
        .collect();
    let mut proofs: Vec<Duration> = agreeing
        .iter()
        .filter_map(|v| v.primary_proved_within())
        .collect();
    proofs.sort_unstable();
    let mine = || agreeing.iter().map(|v| v.replica(me));
    Some(Vote {
        primary: elected.address,
        epoch: elected.epoch,
        knows_replicas: views.iter().any(|v| v.known_replicas > 0),
        // The shortest: one Sentinel that hears it is enough.
        primary_silent_for: agreeing
            .iter()
            .map(|v| v.primary_silent_for)
            .min()
            .unwrap_or_default(),
        // The slowest of the fastest majority.
        primary_alive_within: proofs.get(majority - 1).copied(),
        primary_settled_within: settled_within(&views, elected),
        my_info_age: mine().flatten().filter_map(|r| r.info_age).min(),
        sees_me: mine().all(|r| r.is_some_and(|r| !r.disconnected && r.info_age.is_some())),
    })
}

async fn observe_peer(
    address: SocketAddrV4,
    connector: Connector,
    to: watch::Sender<PeerRecord>,
    mut pace: watch::Receiver<Duration>,
) {
    let mut conn: Option<Conn> = None;
    loop {
        match ask_peer(&mut conn, address, &connector).await {
            Some((info, copy)) => to.send_modify(|seen| {
                seen.at = Instant::now();
                seen.state = Some(peer_state(&info));
                seen.copy = copy;
                seen.of = info.primary.filter(|_| !info.is_primary);
                seen.version = Version::parse(&info.version);
                seen.history = info.replication_id;
            }),
            None => {
                conn = None;
                to.send_modify(|seen| {
                    seen.state = None;
                    seen.copy = None;
                });
            }
        }
        pause(&mut pace).await;
    }
}

async fn ask_peer(
    conn: &mut Option<Conn>,
    address: SocketAddrV4,
    connector: &Connector,
) -> Option<(ServerInfo, Option<DataCopy>)> {
    if let Some(warm) = conn
        && let Ok(held) = warm.info_and_copy().await
    {
        return Some(held);
    }
    // A promotion closes all connections, so a failed connection is reopened at once.
    conn.insert(connector.open(address).await.ok()?)
        .info_and_copy()
        .await
        .ok()
}

fn peer_copy(me: &str, own: Option<&DataCopy>, seen: &PeerRecord) -> PeerCopy {
    let Some(copy) = &seen.copy else {
        return PeerCopy::UNREAD;
    };
    let mark = copy.mark();
    PeerCopy {
        relation: own.map(|own| {
            let serves = seen.state == Some(PeerState::Primary);
            own.against_that_of(me, copy, &seen.name, serves)
        }),
        data: *copy != DataCopy::Empty,
        settled: mark.is_none_or(|m| m.term.by == seen.name && m.history == seen.history),
        given_up: own
            .and_then(DataCopy::mark)
            .zip(mark)
            .is_some_and(|(own, mark)| mark.gives_up(own)),
    }
}

fn peer_state(info: &ServerInfo) -> PeerState {
    if info.is_primary {
        PeerState::Primary
    } else {
        PeerState::Replica {
            promotable: info.priority > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::User;

    #[tokio::test]
    async fn an_observer_that_panics_is_noticed() {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 254]);
        lab.security.acl = false;
        let connector = Connector::new(&lab, User::Node);
        let sentinels = Arc::new(SentinelClients::new(&lab, connector.clone()));
        let mut observers = Observers::start(&lab, &lab.data_nodes[0], &sentinels, &connector);
        assert_eq!(observers.ended(), None);
        let task = observers.tasks.spawn(async { panic!("by the test") });
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(observers.ended().unwrap().contains("by the test"));
    }
}
