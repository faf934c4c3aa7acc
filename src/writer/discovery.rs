//! Who is primary now, kept fresh for all lanes.
//!
//! A round asks all Sentinels and every data node at once. The node that a majority of the
//! Sentinels names, and that says itself that it is primary, is the target. When the named one is
//! gone or is a replica, another data node that says it is primary is taken as *promoted*: the
//! Sentinels have not announced it yet. There a record counts as acknowledged when every other data
//! node confirms it, which is safe whoever the Sentinels settle on, or when the old primary itself
//! has submitted to the new one.
//!
//! A round is run when a lane reports trouble, when a Sentinel publishes an event that hints at a
//! change, and once in a while.

use std::fmt;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::client::{Connector, ReconnectingConn, Role, as_in_roster};
use crate::config::Lab;
use crate::protocol::vote::Elected;
use crate::sentinel::{Event, Panel, EVENT_CAPACITY, follow_events};

use super::journal::Journal;
use super::keeper::Membership;

/// Pause between two rounds while all is well.
const CALM: Duration = Duration::from_secs(1);
/// Pause between two rounds while there is no target, or it is not announced.
const URGENT: Duration = Duration::from_millis(10);
/// A data node may take so long to say its role in any case. One that hangs must not hold up the
/// others.
const ROLE_LIMIT: Duration = Duration::from_millis(100);
/// So many times what it took before it may take, too: a new connection is two or three round
/// trips.
const SLOWER: u32 = 5;

/// Pause between two hints that are heeded: several rounds fit in, so a Sentinel that publishes
/// without an end keeps none from its end.
const HINT_PAUSE: Duration = Duration::from_millis(5);

/// The node to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddrV4,
    /// Why it is taken for the primary.
    pub(super) standing: Standing,
    /// Number of the round that found it.
    pub(super) round: u64,
}

/// Why a node is taken for the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A majority of the Sentinels names it, at that epoch.
    Elected(u64),
    /// It has been promoted, and the Sentinels have not announced it yet: they name this one still.
    Promoted { over: Elected },
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Elected(epoch) => write!(f, "named by the Sentinels at epoch {epoch}"),
            Standing::Promoted { .. } => write!(f, "promoted, not announced yet"),
        }
    }
}

impl Target {
    /// Whether `now` is another primary than this one, so that connections to this one are of no
    /// use.
    fn is_superseded_by(&self, now: &Target) -> bool {
        match (self.standing, now.standing) {
            _ if self.address != now.address => true,
            (Standing::Elected(mine), Standing::Elected(newer)) => newer > mine,
            // Announced meanwhile, or not yet.
            _ => false,
        }
    }
}

/// A handle on the discovery, for each lane.
#[derive(Debug, Clone)]
pub(super) struct Discovery {
    target: watch::Receiver<Option<Target>>,
    look: Arc<Notify>,
}

/// What the last round lacked, in words.
#[derive(Debug, Clone)]
pub(super) struct Trouble(Arc<Mutex<String>>);

impl Default for Trouble {
    fn default() -> Self {
        Trouble(Arc::new(Mutex::new("the lab was not asked yet".into())))
    }
}

impl Trouble {
    pub(super) fn told(&self) -> String {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Says whether it is another one than before.
    fn is_now(&self, trouble: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = *told != trouble;
        if other {
            trouble.clone_into(&mut told);
        }
        other
    }
}

impl Discovery {
    pub(super) fn start(
        membership: &Membership,
        panel: Arc<Panel>,
        connector: Connector,
        (journal, trouble): (Arc<Journal>, Trouble),
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let lab = &membership.lab;
        let (to, target) = watch::channel(None);
        let (events_to, events) = mpsc::channel(EVENT_CAPACITY);
        follow_events(lab, &connector, &events_to, tasks);
        let look = Arc::new(Notify::new());
        let seeker = Seeker {
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
            journal,
            trouble,
            round: 0,
        };
        tasks.spawn(seeker.run(look.clone(), events));
        Discovery { target, look }
    }

    /// The target, when it was found in a later round than `after`; waits for it.
    pub(super) async fn target_after(&mut self, after: u64) -> Option<Target> {
        let fresh = |t: &Option<Target>| t.is_some_and(|t| t.round > after);
        self.target.wait_for(fresh).await.ok().and_then(|t| *t)
    }

    /// Ends when `current` is no longer the node to write to.
    pub(super) async fn superseded(&mut self, current: Target) {
        let other = |t: &Option<Target>| t.is_some_and(|now| current.is_superseded_by(&now));
        if self.target.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends when `current` is known to be the node to write to for another reason.
    pub(super) async fn announced(&mut self, current: Target) {
        let other = |t: &Option<Target>| {
            t.is_some_and(|now| now.address == current.address && now.standing != current.standing)
        };
        if self.target.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The target, as known now.
    pub(super) fn now(&self) -> Option<Target> {
        *self.target.borrow()
    }

    /// Asks for a round now: something is wrong with the target.
    pub(super) fn report(&self) {
        self.look.notify_one();
    }
}

struct Seeker {
    lab: Lab,
    membership: Membership,
    /// In the last round the Sentinels named a node that is not a member here.
    stranger_named: bool,
    panel: Arc<Panel>,
    connector: Connector,
    probes: Vec<Probe>,
    to: watch::Sender<Option<Target>>,
    journal: Arc<Journal>,
    trouble: Trouble,
    round: u64,
}

impl Seeker {
    async fn run(mut self, look: Arc<Notify>, events: mpsc::Receiver<Event>) {
        let mut hints = Hints {
            events,
            from: Instant::now(),
        };
        loop {
            self.round += 1;
            let found = tokio::select! {
                biased;
                found = self.seek() => found,
                // A round under way may have asked before the change; a node that is lost would prolong it.
                hint = hints.next() => match hint {
                    Some(()) => continue,
                    None => return,
                },
            };
            if self.stranger_named {
                self.look_for_members().await;
            }
            let primary = found.as_ref().ok().map(|t| self.name(t.address));
            self.journal.live().looked(primary);
            let settled = found
                .as_ref()
                .is_ok_and(|t| matches!(t.standing, Standing::Elected(_)));
            self.publish(found);
            let pause = sleep(if settled { CALM } else { URGENT });
            tokio::select! {
                () = pause => {}
                () = look.notified() => {}
                hint = hints.next() => if hint.is_none() {
                    return;
                },
            }
        }
    }

    fn publish(&self, found: Result<Target, String>) {
        match found {
            Ok(target) => {
                let before = *self.to.borrow();
                if before.is_none_or(|b| b.address != target.address) {
                    let name = self.name(target.address);
                    info!(primary = %name, standing = %target.standing, "primary found");
                    if before.is_some() {
                        self.journal.primary_changed(&name);
                    }
                }
                self.to.send_replace(Some(target));
            }
            Err(trouble) => {
                if self.trouble.is_now(&trouble) {
                    warn!(%trouble, "waiting for a primary");
                }
            }
        }
    }

    /// The members may have changed while this writer was cut off, or before it was started: then a
    /// data node that is known here has the list. The keeper goes by that of the primary
    /// itself.
    async fn look_for_members(&self) {
        let asked = self.lab.data_nodes.iter().map(|node| async {
            let mut conn = self.connector.open(node.socket()).await.ok()?;
            conn.roster().await.ok()?
        });
        let held = join_all(asked).await.into_iter().flatten();
        let newest = held.max_by_key(|held| held.roster.version);
        let members = newest.map(|held| as_in_roster(&self.membership.stated, &held.roster));
        if let Some(members) = members.filter(|members| *members != self.lab) {
            info!("the members of the lab are others now");
            // This task ends while it waits.
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

    /// One round. It ends as soon as the node that a majority names has said that it is primary; a
    /// node that is lost is waited for only without that.
    async fn seek(&mut self) -> Result<Target, String> {
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
                    return Ok(Target {
                        address: named.address,
                        standing: Standing::Elected(named.epoch),
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
            // Not even what every data node confirms: whoever that is, it may be promoted, and it
            // has nothing.
            Some(Ok(named)) if self.lab.data_node_at(named.address).is_none() => Err(format!(
                "the Sentinels name {}, which is no data node of this lab: see who answers at their addresses",
                named.address
            )),
            Some(Ok(named)) => match primaries.as_slice() {
                // Announced or not, it was promoted: the named one is not primary any more.
                [promoted] if self.lab.data_node_at(*promoted).is_some() => Ok(Target {
                    address: *promoted,
                    standing: Standing::Promoted { over: named },
                    round,
                }),
                _ => {
                    let why = reasons
                        .iter()
                        .find(|(address, _)| *address == named.address);
                    let why = why.map_or(String::new(), |(_, why)| format!(": {why}"));
                    Err(format!(
                        "the Sentinels name {}, which does not say that it is primary{why}",
                        self.name(named.address)
                    ))
                }
            },
            Some(Err(why)) => Err(why.to_string()),
            None => Err("no Sentinel was asked".to_owned()),
        }
    }
}

/// One data node, asked for its role again and again.
struct Probe {
    address: SocketAddrV4,
    line: ReconnectingConn,
    /// Limit of an answer on any connection.
    most: Duration,
    /// How long its answers take; one that was slow once is given time for a while.
    usual: Option<Duration>,
    /// The first of the last rounds that had no answer in time.
    silent_since: Option<Instant>,
}

impl Probe {
    fn new(address: SocketAddrV4, connector: &Connector) -> Self {
        Probe {
            address,
            line: ReconnectingConn::new(address, connector.clone()),
            most: connector.answer_limit(),
            usual: None,
            silent_since: None,
        }
    }

    /// How long a round waits for it: it may be far away, and it may hang.
    fn limit(&self) -> Duration {
        let most = self.most * 2;
        self.usual
            .map_or(most, |usual| (usual * SLOWER).clamp(ROLE_LIMIT, most))
    }

    async fn role(&mut self) -> Result<Role, String> {
        let (limit, begun) = (self.limit(), Instant::now());
        let asked = timeout(limit, self.ask(limit)).await;
        if let Ok(answer) = asked {
            self.silent_since = None;
            return answer.inspect_err(|_| drop(self.line.take()));
        }
        // The round goes on without it. Its connection is left, or is made anew, only when its time
        // is over.
        let since = *self.silent_since.get_or_insert(begun);
        if since.elapsed() >= self.most {
            self.silent_since = None;
            drop(self.line.take());
        }
        Err(format!("no answer within {limit:?}"))
    }

    async fn ask(&mut self, limit: Duration) -> Result<Role, String> {
        let begun = Instant::now();
        if let Some(warm) = self.line.opened() {
            match warm.role().await {
                Ok(role) => {
                    self.took(begun.elapsed());
                    return Ok(role);
                }
                // A warm connection that has been cut meanwhile is worth one more try.
                Err(_) if begun.elapsed() < limit / 2 => drop(self.line.take()),
                Err(error) => return Err(error.to_string()),
            }
        }
        let conn = self.line.conn().await.map_err(|e| e.to_string())?;
        let asked = Instant::now();
        let role = conn.role().await.map_err(|e| e.to_string())?;
        self.took(asked.elapsed());
        Ok(role)
    }

    fn took(&mut self, time: Duration) {
        let before = self.usual.unwrap_or_default();
        self.usual = Some(time.max(before * 3 / 4));
    }
}

/// The events that hint at a change.
struct Hints {
    events: mpsc::Receiver<Event>,
    /// Until then what comes in waits.
    from: Instant,
}

impl Hints {
    /// Waits for a hint; `None` when there will be none. What is there beside it is answered by the
    /// same round.
    async fn next(&mut self) -> Option<()> {
        sleep_until(self.from).await;
        loop {
            let event = self.events.recv().await?;
            if hints_at_a_change(&event) {
                debug!(sentinel = %event.sentinel, event = %event.name, text = %event.text, "a hint");
                while self.events.try_recv().is_ok() {}
                self.from = Instant::now() + HINT_PAUSE;
                return Some(());
            }
        }
    }
}

/// Events after which the primary may be another one; everything else would only cost rounds.
fn hints_at_a_change(event: &Event) -> bool {
    matches!(
        event.name.as_str(),
        "+switch-master" | "+promoted-slave" | "+failover-end" | "+config-update-from" | "+odown"
    )
}
