//! Observes the lab during a run: the Sentinels' events and the data nodes' roles, on one clock.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::access::User;
use crate::client::{Conn, Connector, Role};
use crate::config::{Lab, Node};
use crate::sentinel::{EVENT_CAPACITY, SentinelClients, follow_events};

use crate::drill::judging::{EventLog, LabEvent, LabEventKind, ObservedRole};

/// Interval at which data nodes are polled: the resolution of the roles in the report.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The same while nothing happens, for an observer that spares the lab.
const CALM_INTERVAL: Duration = Duration::from_millis(100);
/// A data node without an answer for this time is reported as silent.
const SILENT_AFTER: Duration = Duration::from_millis(250);
/// Last octet of the observer's source address: of no node, so that no fault cuts it off.
const OBSERVER: u8 = 250;

/// Observes a lab until it is dropped.
#[derive(Debug)]
pub struct LabObserver {
    begun: Instant,
    observed: Arc<Mutex<Observations>>,
    /// Connections to the Sentinels from an address that no fault cuts off.
    pub sentinels: SentinelClients,
    /// Connector with that source address.
    pub connector: Connector,
    lab: Lab,
    tasks: Mutex<JoinSet<()>>,
    calm: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Observations {
    events: Vec<LabEvent>,
    roles: Vec<(String, ObservedRole)>,
}

impl LabObserver {
    /// Starts to observe. Times count from `begun`.
    pub fn start(lab: &Lab, begun: Instant) -> Self {
        Self::start_as(lab, User::Operator, begun)
    }

    /// The same, as another user.
    pub fn start_as(lab: &Lab, user: User, begun: Instant) -> Self {
        let connector = connector_of(lab, user);
        let calm = Arc::new(AtomicBool::new(false));
        let observed = Arc::new(Mutex::new(Observations::default()));
        let mut tasks = JoinSet::new();
        let (to, events) = mpsc::channel(EVENT_CAPACITY);
        follow_events(lab, &connector, &to, &mut tasks);
        tasks.spawn(keep_events(events, observed.clone(), begun));
        for node in &lab.data_nodes {
            let connector = connector_of(lab, user).with_answer_limit(SILENT_AFTER);
            let poller = RolePoller {
                lab: lab.clone(),
                node: node.clone(),
                connector,
                observed: observed.clone(),
                begun,
                calm: calm.clone(),
            };
            tasks.spawn(poller.run());
        }
        LabObserver {
            begun,
            observed,
            sentinels: SentinelClients::new(lab, connector.clone()),
            connector,
            lab: lab.clone(),
            tasks: Mutex::new(tasks),
            calm,
        }
    }

    /// Asks the data nodes less often while nothing happens: the times of roles are then less
    /// exact.
    pub fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    /// Start of the run.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The time, in microseconds of the run.
    pub fn now(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    /// An instant, in microseconds of the run.
    pub fn since_begin(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.begun))
    }

    /// Records an event of the drill itself.
    pub fn record(&self, kind: LabEventKind) {
        self.record_at(self.now(), kind);
    }

    /// The same, at an earlier time.
    pub fn record_at(&self, at: u64, kind: LabEventKind) {
        self.lock().events.push(LabEvent { at, kind });
    }

    /// The events so far that were not taken, in the order of time.
    pub fn events(&self) -> EventLog {
        sorted(self.lock().events.clone())
    }

    /// Takes the events so far: a long run would fill the memory.
    pub fn take_events(&self) -> EventLog {
        sorted(std::mem::take(&mut self.lock().events))
    }

    /// The error of a task that has ended, if any: from then on events are missed.
    pub fn failure(&self) -> Option<String> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = tasks.try_join_next()?;
        let why = ended.err().map(|error| error.to_string());
        let why = why.unwrap_or_else(|| "it has ended".to_owned());
        Some(format!("a task of the observer failed: {why}"))
    }

    /// Whether a Sentinel has published an event of that name since a time.
    pub fn has_published(&self, wanted: &str, since: u64) -> bool {
        self.lock().events.iter().rev().any(|event| {
            event.at >= since
                && matches!(&event.kind, LabEventKind::Sentinel { name, .. } if name == wanted)
        })
    }

    /// The data nodes that currently say that they are primary.
    pub fn primaries(&self) -> Vec<String> {
        self.lock()
            .roles
            .iter()
            .filter(|(_, role)| *role == ObservedRole::Primary)
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// The primary according to a majority of the Sentinels.
    pub async fn named_primary(&self) -> Option<String> {
        let elected = self.sentinels.ask().await.elect().ok()?;
        self.lab
            .data_node_at(elected.address)
            .map(|node| node.name.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Observations> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sorted(mut events: Vec<LabEvent>) -> EventLog {
    events.sort_by_key(|event| event.at);
    EventLog(events)
}

/// A connector with an address that no fault cuts off.
fn connector_of(lab: &Lab, user: User) -> Connector {
    let connector = Connector::new(lab, user);
    match observer_address(lab) {
        Some(address) => connector.from_source(address),
        None => connector,
    }
}

/// An address of the lab's subnet that no node has; only the loopback has all addresses of it.
fn observer_address(lab: &Lab) -> Option<Ipv4Addr> {
    let [a, b, c, _] = lab.data_nodes.first()?.address.octets();
    let address = Ipv4Addr::new(a, b, c, OBSERVER);
    let free = lab.nodes().all(|node| node.address != address);
    (address.is_loopback() && free).then_some(address)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

async fn keep_events(
    mut events: mpsc::Receiver<crate::sentinel::Event>,
    observed: Arc<Mutex<Observations>>,
    begun: Instant,
) {
    while let Some(event) = events.recv().await {
        let event = LabEvent {
            at: micros(event.at.saturating_duration_since(begun)),
            kind: LabEventKind::Sentinel {
                sentinel: event.sentinel,
                name: event.name,
                text: event.text,
            },
        };
        let mut observed = observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.events.push(event);
    }
}

struct RolePoller {
    lab: Lab,
    node: Node,
    /// Not a clone of the observer's: clones share the pauses after connections without an answer.
    connector: Connector,
    observed: Arc<Mutex<Observations>>,
    begun: Instant,
    calm: Arc<AtomicBool>,
}

impl RolePoller {
    async fn run(self) {
        let mut conn: Option<Conn> = None;
        loop {
            let role = self.ask(&mut conn).await;
            self.store(role);
            let is_calm = self.calm.load(Ordering::Relaxed);
            sleep(if is_calm {
                CALM_INTERVAL
            } else {
                POLL_INTERVAL
            })
            .await;
        }
    }

    /// The role, or silence. After an error a new connection is opened at once: a change of role
    /// closes the old one, too.
    async fn ask(&self, slot: &mut Option<Conn>) -> ObservedRole {
        if let Some(conn) = slot.take() {
            let begun = Instant::now();
            match self.ask_on(conn, slot).await {
                ObservedRole::Silent if begun.elapsed() < SILENT_AFTER / 2 => {}
                role => return role,
            }
        }
        // The observer asks at once: its interval is the resolution of the report.
        self.connector.reset_backoff(self.node.socket());
        match self.connector.open(self.node.socket()).await {
            Ok(conn) => self.ask_on(conn, slot).await,
            Err(_) => ObservedRole::Silent,
        }
    }

    async fn ask_on(&self, mut conn: Conn, slot: &mut Option<Conn>) -> ObservedRole {
        let role = match conn.role().await {
            Ok(Role::Primary { .. }) => ObservedRole::Primary,
            Ok(Role::Replica { of, connected, .. }) => ObservedRole::Replica {
                of: self.name(of),
                in_sync: connected,
            },
            // The connection is dropped: a late answer on it would be taken for a new one.
            Ok(Role::Sentinel) | Err(_) => return ObservedRole::Silent,
        };
        *slot = Some(conn);
        role
    }

    fn name(&self, address: SocketAddrV4) -> String {
        match self.lab.data_node_at(address) {
            Some(node) => node.name.clone(),
            // Parked: a replica of an address where nothing listens.
            None if *address.ip() == self.node.address => "nobody".to_owned(),
            None => address.to_string(),
        }
    }

    fn store(&self, role: ObservedRole) {
        let at = micros(self.begun.elapsed());
        let name = &self.node.name;
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        match observed.roles.iter_mut().find(|(node, _)| node == name) {
            Some((_, before)) if *before == role => return,
            Some((_, before)) => *before = role.clone(),
            None => observed.roles.push((name.clone(), role.clone())),
        }
        let kind = LabEventKind::Role {
            node: name.clone(),
            role,
        };
        observed.events.push(LabEvent { at, kind });
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn lab(subnet: [u8; 3]) -> Lab {
        let mut lab = Lab::parse(include_str!("../../../lab.toml"), None)
            .unwrap()
            .relocated(subnet);
        lab.security.acl = false;
        lab
    }

    /// An observer of a lab in a subnet in which nothing listens.
    fn observer() -> LabObserver {
        LabObserver::start(&lab([127, 254, 254]), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_accepts_and_is_silent_is_asked_again_without_a_pause() {
        const ASKED: u32 = 10;
        let lab = lab([127, 254, 253]);
        let node = &lab.data_nodes[0];
        // The system accepts for it, as for a stopped process.
        let _stopped = TcpListener::bind(node.socket()).unwrap();
        let poller = RolePoller {
            lab: lab.clone(),
            node: node.clone(),
            connector: connector_of(&lab, User::Operator).with_answer_limit(SILENT_AFTER),
            observed: Arc::default(),
            begun: Instant::now(),
            calm: Arc::default(),
        };
        for _ in 0..ASKED {
            assert_eq!(poller.ask(&mut None).await, ObservedRole::Silent);
            sleep(POLL_INTERVAL).await;
        }
        let took = poller.begun.elapsed();
        let without_pauses = ASKED * (SILENT_AFTER + POLL_INTERVAL);
        assert!(took >= without_pauses, "{took:?}");
        assert!(took < without_pauses + SILENT_AFTER, "{took:?}");
    }

    #[tokio::test]
    async fn events_that_were_taken_are_not_returned_again() {
        let observer = observer();
        observer.record(LabEventKind::Action("before".into()));
        assert_eq!(observer.take_events().0.len(), 1);
        observer.record(LabEventKind::Action("after".into()));
        assert_eq!(observer.events().0.len(), 1);
        assert_eq!(observer.events().0.len(), 1);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_a_failure() {
        let observer = observer();
        assert_eq!(observer.failure(), None);
        let panics = async { panic!("by the test") };
        let task = observer.tasks.lock().unwrap().spawn(panics);
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
        let why = observer.failure().unwrap();
        assert!(why.contains("by the test"), "{why}");
    }
}
