//! Finds the primary, and keeps it up to date for all write connections.
//!
//! A round asks all Sentinels and every data node at once. The target is the node that a majority
//! of the Sentinels names and that itself reports that it is primary. If the named node does not
//! answer or is a replica, another data node that reports that it is primary counts as *promoted*:
//! the Sentinels have not announced it yet. There a write is confirmed when every other data
//! node has it, which is safe whichever node the Sentinels agree on, or when the old primary
//! itself reports that it follows the new one.
//!
//! A round begins when a connection requests it, when a Sentinel publishes an event that hints at a
//! change, and periodically.

use std::fmt;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::client::{Connector, Role, as_in_member_list};
use crate::config::Lab;
use crate::protocol::vote::Elected;
use crate::sentinel::{EVENT_CAPACITY, Event, SentinelClients, follow_events};

use super::SharedObserver;
use super::hints::Hints;
use super::members::Membership;
use super::probe::Probe;

/// Pause between two rounds while the target is the announced primary.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two rounds while there is no target, or it is not announced.
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// The node to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteTarget {
    pub(super) address: SocketAddrV4,
    /// Why it counts as the primary.
    pub(super) status: PrimaryStatus,
    /// Number of the round that found it.
    pub(super) round: u64,
}

/// Why a node counts as the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PrimaryStatus {
    /// A majority of the Sentinels names it, at this epoch.
    Elected(u64),
    /// It has been promoted, but not announced yet: the Sentinels still name `over`.
    Promoted { over: Elected },
}

impl fmt::Display for PrimaryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrimaryStatus::Elected(epoch) => write!(f, "named by the Sentinels at epoch {epoch}"),
            PrimaryStatus::Promoted { .. } => write!(f, "promoted, not announced yet"),
        }
    }
}

impl WriteTarget {
    /// Whether `now` is another primary, or a later election of this one, so that connections to
    /// this target are no longer useful.
    fn is_superseded_by(&self, now: &WriteTarget) -> bool {
        match (self.status, now.status) {
            _ if self.address != now.address => true,
            (PrimaryStatus::Elected(mine), PrimaryStatus::Elected(newer)) => newer > mine,
            // One of the two is not announced yet.
            _ => false,
        }
    }
}

/// A handle on the discovery.
#[derive(Debug, Clone)]
pub(super) struct Discovery {
    target: watch::Receiver<Option<WriteTarget>>,
    round_requested: Arc<Notify>,
}

/// Why the last failed round found no target.
#[derive(Debug, Clone)]
pub struct LastProblem(Arc<Mutex<String>>);

impl Default for LastProblem {
    fn default() -> Self {
        LastProblem(Arc::new(Mutex::new(
            "the first round is not complete yet".into(),
        )))
    }
}

impl LastProblem {
    /// The reason, as a sentence.
    pub fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// Replaces the text. Returns whether it has changed.
    fn replace(&self, problem: &str) -> bool {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *text != problem;
        if changed {
            problem.clone_into(&mut text);
        }
        changed
    }
}

impl Discovery {
    pub(super) fn start(
        membership: &Membership,
        panel: Arc<SentinelClients>,
        connector: Connector,
        (observer, last_problem): (SharedObserver, LastProblem),
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let lab = &membership.lab;
        let (to, target) = watch::channel(None);
        let (events_to, events) = mpsc::channel(EVENT_CAPACITY);
        follow_events(lab, &connector, &events_to, tasks);
        let round_requested = Arc::new(Notify::new());
        let task = DiscoveryTask {
            lab: Lab::clone(lab),
            membership: membership.clone(),
            stranger_named: false,
            panel,
            probes: lab
                .data_nodes
                .iter()
                .map(|n| Probe::new(n.socket(), &connector))
                .collect(),
            connector,
            to,
            observer,
            last_problem,
            round: 0,
        };
        tasks.spawn(task.run(round_requested.clone(), events));
        Discovery {
            target,
            round_requested,
        }
    }

    /// Waits for a target that was found in a later round than `after`.
    pub(super) async fn target_after(&mut self, after: u64) -> Option<WriteTarget> {
        let is_later = |t: &Option<WriteTarget>| t.is_some_and(|t| t.round > after);
        self.target.wait_for(is_later).await.ok().and_then(|t| *t)
    }

    /// Waits until `current` is superseded.
    pub(super) async fn superseded(&mut self, current: WriteTarget) {
        let other = |t: &Option<WriteTarget>| t.is_some_and(|now| current.is_superseded_by(&now));
        if self.target.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the status of `current` changes while the node stays the target.
    pub(super) async fn announced(&mut self, current: WriteTarget) {
        let other = |t: &Option<WriteTarget>| {
            t.is_some_and(|now| now.address == current.address && now.status != current.status)
        };
        if self.target.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The current target.
    pub(super) fn now(&self) -> Option<WriteTarget> {
        *self.target.borrow()
    }

    /// Requests a round, because the target failed.
    pub(super) fn request_round(&self) {
        self.round_requested.notify_one();
    }
}

struct DiscoveryTask {
    lab: Lab,
    membership: Membership,
    /// The node that the Sentinels named in the last round is not in `lab`.
    stranger_named: bool,
    panel: Arc<SentinelClients>,
    connector: Connector,
    probes: Vec<Probe>,
    to: watch::Sender<Option<WriteTarget>>,
    observer: SharedObserver,
    last_problem: LastProblem,
    round: u64,
}

impl DiscoveryTask {
    async fn run(mut self, round_requested: Arc<Notify>, events: mpsc::Receiver<Event>) {
        let mut hints = Hints::new(events);
        loop {
            self.round += 1;
            let found = tokio::select! {
                biased;
                found = self.run_round() => found,
                // This round may have asked before the change, and a lost node would prolong it.
                hint = hints.next() => match hint {
                    Some(()) => continue,
                    None => return,
                },
            };
            hints.round_complete();
            if self.stranger_named {
                self.find_members().await;
            }
            let primary = found.as_ref().ok().map(|t| self.name(t.address));
            self.observer.round_ended(primary);
            let settled = found
                .as_ref()
                .is_ok_and(|t| matches!(t.status, PrimaryStatus::Elected(_)));
            self.publish(found);
            let pause = sleep(if settled { LONG_PAUSE } else { SHORT_PAUSE });
            tokio::select! {
                () = pause => {}
                () = round_requested.notified() => {}
                hint = hints.next() => if hint.is_none() {
                    return;
                },
            }
        }
    }

    fn publish(&self, found: Result<WriteTarget, String>) {
        match found {
            Ok(target) => {
                let before = *self.to.borrow();
                if before.is_none_or(|b| b.address != target.address) {
                    let name = self.name(target.address);
                    info!(primary = %name, status = %target.status, "primary found");
                    if before.is_some() {
                        self.observer.primary_changed(&name);
                    }
                }
                // An earlier problem is over.
                self.last_problem.replace(&format!(
                    "{} is the primary, and its writes are not confirmed; see halab status",
                    self.name(target.address)
                ));
                self.to.send_replace(Some(target));
            }
            Err(problem) => {
                self.observer.no_primary();
                if self.last_problem.replace(&problem) {
                    warn!(%problem, "waiting for a primary");
                }
            }
        }
    }

    /// Looks for a newer list of members on the known data nodes: the members may have changed
    /// before this program was started, or while it was cut off. The keeper uses the list of the
    /// primary.
    async fn find_members(&self) {
        let asked = self.lab.data_nodes.iter().map(|node| async {
            let mut conn = self.connector.open(node.socket()).await.ok()?;
            conn.member_list().await.ok()?
        });
        let held = join_all(asked).await.into_iter().flatten();
        let newest = held.max_by_key(|held| held.member_list.version);
        let members =
            newest.map(|held| as_in_member_list(&self.membership.stated, &held.member_list));
        if let Some(members) = members.filter(|members| *members != self.lab) {
            info!("the members of the lab have changed");
            // This task is ended while it waits.
            if self.membership.changed.send(members).await.is_ok() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn name(&self, address: SocketAddrV4) -> String {
        self.lab
            .data_node_at(address)
            .map_or_else(|| address.to_string(), |n| n.name.clone())
    }

    /// One round. It ends as soon as the node that a majority names has reported that it is
    /// primary. Otherwise it waits for every node, until its time limit.
    async fn run_round(&mut self) -> Result<WriteTarget, String> {
        let round = self.round;
        let mut probes: FuturesUnordered<_> = self
            .probes
            .iter_mut()
            .map(|probe| async move { (probe.address, probe.role().await) })
            .collect();
        let mut asked = pin!(self.panel.ask());
        let mut primaries = Vec::new();
        let mut reasons: Vec<(SocketAddrV4, String)> = Vec::new();
        let mut elected = None;
        loop {
            if let Some(Ok(named)) = &elected {
                let named: &Elected = named;
                if primaries.contains(&named.address) {
                    return Ok(WriteTarget {
                        address: named.address,
                        status: PrimaryStatus::Elected(named.epoch),
                        round,
                    });
                }
            }
            tokio::select! {
                answers = &mut asked, if elected.is_none() => elected = Some(answers.elect()),
                Some((address, role)) = probes.next() => {
                    match role {
                        Ok(Role::Primary { .. }) => primaries.push(address),
                        Ok(_) => {}
                        Err(why) => reasons.push((address, why)),
                    }
                }
                else => break,
            }
        }
        drop(probes);
        self.stranger_named =
            matches!(&elected, Some(Ok(named)) if self.lab.data_node_at(named.address).is_none());
        match elected {
            Some(Ok(named)) => self.promoted_over(named, &primaries, &reasons),
            Some(Err(why)) => Err(why.to_string()),
            None => Err("no Sentinel was asked".to_owned()),
        }
    }

    /// The target if the named node has not reported that it is primary: another data node that
    /// has. `primaries` are the nodes that have, `reasons` why others did not answer.
    fn promoted_over(
        &self,
        named: Elected,
        primaries: &[SocketAddrV4],
        reasons: &[(SocketAddrV4, String)],
    ) -> Result<WriteTarget, String> {
        let address = named.address;
        if self.lab.data_node_at(address).is_none() {
            // Not even a record that every data node confirms would be safe: the named server may
            // become primary without any data of the lab.
            return Err(format!(
                "the Sentinels name {address}, which is not a data node of this lab; check which \
                 servers run at their addresses"
            ));
        }
        match primaries {
            // Announced or not, it was promoted: the named node is no longer primary.
            [promoted] if self.lab.data_node_at(*promoted).is_some() => Ok(WriteTarget {
                address: *promoted,
                status: PrimaryStatus::Promoted { over: named },
                round: self.round,
            }),
            _ => {
                let why = reasons.iter().find(|(node, _)| *node == address);
                let why = why.map_or(String::new(), |(_, why)| format!(": {why}"));
                Err(format!(
                    "the Sentinels name {}, which does not report that it is primary{why}",
                    self.name(address)
                ))
            }
        }
    }
}
