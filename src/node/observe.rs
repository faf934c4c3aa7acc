//! What a data node observes of the Sentinels and of the other data nodes, kept fresh in the
//! background.
//!
//! Each observer runs on its own, so that a node that is silent holds up nothing else.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::client::{Conn, Connector, ReplicationInfo};
use crate::config::{Lab, Node};
use crate::protocol::copy::Copy;
use crate::protocol::format::Version;
use crate::protocol::vote::{SentinelView, settled_within};
use crate::sentinel::{Answers, Panel};

use super::machine::{Peer, PeerCopy, PeerState, Vote};

/// Pause between two looks while nothing happens.
pub(super) const CALM: Duration = Duration::from_millis(100);
/// Pause between two looks while a role is undecided or a failover is under way.
pub(super) const URGENT: Duration = Duration::from_millis(20);
/// A vote older than this, or than an answer may take, is none: the Sentinels may have answered
/// last before a cut.
const VOTE_LIFETIME: Duration = Duration::from_millis(800);

/// The latest observations.
#[derive(Debug)]
pub(super) struct Observers {
    vote: watch::Receiver<Option<(Instant, Vote)>>,
    foreign: watch::Receiver<Option<SocketAddrV4>>,
    peers: Vec<(SocketAddrV4, watch::Receiver<Sighting>)>,
    /// What a peer said is believed for so long, while it is asked again.
    lifetime: Duration,
    vote_lifetime: Duration,
    me: SocketAddrV4,
    name: String,
    pace: watch::Sender<Duration>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Clone)]
struct Sighting {
    /// Its name.
    name: String,
    /// The last answer, or the start when there was none.
    at: Instant,
    state: Option<PeerState>,
    /// What it holds, as it said then.
    copy: Option<Copy>,
    /// As a replica: of whom.
    of: Option<SocketAddrV4>,
    /// Its history of replication.
    history: String,
    /// Of its server, when it was last seen.
    version: Option<Version>,
}

impl Observers {
    /// Starts to observe as the data node `me`.
    pub(super) fn start(lab: &Lab, me: &Node, panel: &Arc<Panel>, connector: &Connector) -> Self {
        let mut tasks = JoinSet::new();
        let (pace, _) = watch::channel(URGENT);
        let (vote_to, vote) = watch::channel(None);
        let (foreign_to, foreign) = watch::channel(None);
        tasks.spawn(observe_sentinels(
            panel.clone(),
            lab.data_nodes.iter().map(Node::socket).collect(),
            me.socket(),
            vote_to,
            foreign_to,
            pace.subscribe(),
        ));
        let mut peers = Vec::new();
        for node in lab.data_nodes.iter().filter(|n| n.name != me.name) {
            let (to, seen) = watch::channel(Sighting {
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
            // When both hang for one reason, this one must not take the other for alive.
            lifetime: (lab.timing.hang_timeout * 2 / 3).max(CALM * 2),
            vote_lifetime: lab.timing.answer_limit().max(VOTE_LIFETIME),
            me: me.socket(),
            name: me.name.clone(),
            pace,
            tasks,
        }
    }

    /// Why an observer has ended, if one has: what it saw last would count for ever.
    pub(super) fn ended(&mut self) -> Option<String> {
        let ended = self.tasks.try_join_next()?;
        let why = ended.err().map(|error| error.to_string());
        Some(why.unwrap_or_else(|| "it has ended".to_owned()))
    }

    /// Looks more often, or less.
    pub(super) fn set_pace(&self, pace: Duration) {
        self.pace
            .send_if_modified(|now| std::mem::replace(now, pace) != pace);
    }

    /// What a majority of the Sentinels says, if they have been heard recently. The age of their
    /// INFO of this node stays as they said it: there, too young is the safe side.
    pub(super) fn vote(&self) -> Option<Vote> {
        let latest = *self.vote.borrow();
        let (asked, vote) = latest.filter(|(asked, _)| asked.elapsed() < self.vote_lifetime)?;
        Some(Vote {
            // Seen from now: the answer is as old as the question at most.
            primary_alive_within: vote.primary_alive_within.map(|age| age + asked.elapsed()),
            primary_settled_within: (vote.primary_settled_within).map(|age| age + asked.elapsed()),
            ..vote
        })
    }

    /// Whom the Sentinels name, where that is no data node of this node's `lab.toml`.
    pub(super) fn foreign_primary(&self) -> Option<SocketAddrV4> {
        *self.foreign.borrow()
    }

    /// The other data nodes, beside the own copy and the version of the own server.
    pub(super) fn peers(&self, own: Option<&Copy>, server: Option<Version>) -> Vec<Peer> {
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

    /// The version of the server of the data node there, when it was last seen.
    pub(super) fn version_of(&self, address: SocketAddrV4) -> Option<Version> {
        let found = self.peers.iter().find(|(a, _)| *a == address);
        found.and_then(|(_, seen)| seen.borrow().version)
    }

    /// What the other data nodes hold, by name; nothing of those that are out of reach.
    pub(super) fn copies(&self) -> Vec<(String, Option<Copy>)> {
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
    panel: Arc<Panel>,
    data_nodes: Vec<SocketAddrV4>,
    me: SocketAddrV4,
    to: watch::Sender<Option<(Instant, Vote)>>,
    foreign: watch::Sender<Option<SocketAddrV4>>,
    mut pace: watch::Receiver<Duration>,
) {
    loop {
        let asked = Instant::now();
        let vote = read_vote(&panel.ask().await, panel.majority(), me);
        // Whoever it is, it would be given the records, and this node told to drop its own for what
        // is there.
        let named = vote.map(|v| v.primary).filter(|p| !data_nodes.contains(p));
        if foreign.send_if_modified(|known| std::mem::replace(known, named) != named)
            && let Some(primary) = named
        {
            warn!(%primary, "the Sentinels name a primary that is no data node of this lab.toml: not followed");
        }
        let vote = vote.filter(|_| named.is_none());
        to.send_replace(vote.map(|vote| (asked, vote)));
        pause(&mut pace).await;
    }
}

/// What the answers mean for the data node `me`; `None` without a majority.
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
        // Of all that were asked: one that hears it is enough.
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
    to: watch::Sender<Sighting>,
    mut pace: watch::Receiver<Duration>,
) {
    let mut conn: Option<Conn> = None;
    loop {
        match look(&mut conn, address, &connector).await {
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

async fn look(
    conn: &mut Option<Conn>,
    address: SocketAddrV4,
    connector: &Connector,
) -> Option<(ReplicationInfo, Option<Copy>)> {
    if let Some(warm) = conn
        && let Ok(held) = warm.holding().await
    {
        return Some(held);
    }
    // A promotion closes all connections: one that was good before is worth a new one at once.
    conn.insert(connector.open(address).await.ok()?)
        .holding()
        .await
        .ok()
}

fn peer_copy(me: &str, own: Option<&Copy>, seen: &Sighting) -> PeerCopy {
    let Some(copy) = &seen.copy else {
        return PeerCopy::UNREAD;
    };
    let mark = copy.mark();
    PeerCopy {
        relation: own.map(|own| {
            let serves = seen.state == Some(PeerState::Primary);
            own.against_that_of(me, copy, &seen.name, serves)
        }),
        data: *copy != Copy::Empty,
        settled: mark.is_none_or(|m| m.term.by == seen.name && m.history == seen.history),
        given_up: own
            .and_then(Copy::mark)
            .zip(mark)
            .is_some_and(|(own, mark)| mark.gives_up(own)),
    }
}

fn peer_state(info: &ReplicationInfo) -> PeerState {
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
        let panel = Arc::new(Panel::new(&lab, connector.clone()));
        let mut observers = Observers::start(&lab, &lab.data_nodes[0], &panel, &connector);
        assert_eq!(observers.ended(), None);
        let task = observers.tasks.spawn(async { panic!("by the test") });
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(observers.ended().unwrap().contains("by the test"));
    }
}
