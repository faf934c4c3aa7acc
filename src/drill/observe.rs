//! What happens in the lab while a drill runs: the Sentinels' events, the data nodes' roles, on one clock.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::access::User;
use crate::client::{Conn, Connector, Role};
use crate::config::{Lab, Node};
use crate::sentinel::{Panel, WAITING, follow_events};

use super::timeline::{RoleSeen, Seen, Seens, What};

/// Pause between two questions to a data node: the resolution of what the report says about roles.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A data node that gives no answer for so long is called silent.
const SILENT_AFTER: Duration = Duration::from_millis(250);
/// Last octet of the address that the observer asks from: of no node, so that no fault cuts it off.
const OBSERVER: u8 = 250;

/// Watches a lab until it is dropped.
#[derive(Debug)]
pub struct Observer {
    begun: Instant,
    inner: Arc<Mutex<Inner>>,
    /// Asks the Sentinels from an address that no fault cuts off.
    pub panel: Panel,
    /// The connector of that address.
    pub connector: Connector,
    lab: Lab,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Inner {
    seens: Vec<Seen>,
    roles: Vec<(String, RoleSeen)>,
}

impl Observer {
    /// Begins to watch. Times count from `begun`.
    pub fn start(lab: &Lab, begun: Instant) -> Self {
        let mut connector = Connector::new(lab, User::Operator);
        if let Some(address) = observer_address(lab) {
            connector = connector.from_source(address);
        }
        let inner = Arc::new(Mutex::new(Inner::default()));
        let mut tasks = JoinSet::new();
        let (to, events) = mpsc::channel(WAITING);
        follow_events(lab, &connector, &to, &mut tasks);
        tasks.spawn(keep_events(events, inner.clone(), begun));
        for node in &lab.data_nodes {
            let watch = RoleWatch {
                lab: lab.clone(),
                node: node.clone(),
                connector: connector.clone().with_answer_limit(SILENT_AFTER),
                inner: inner.clone(),
                begun,
            };
            tasks.spawn(watch.run());
        }
        Observer {
            begun,
            inner,
            panel: Panel::new(lab, connector.clone()),
            connector,
            lab: lab.clone(),
            tasks: Mutex::new(tasks),
        }
    }

    /// Now, in microseconds of the run.
    pub fn now(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    /// A moment, in microseconds of the run.
    pub fn since_begin(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.begun))
    }

    /// Notes something that the drill did.
    pub fn note(&self, what: What) {
        let at = self.now();
        self.lock().seens.push(Seen { at, what });
    }

    /// What was seen so far, and not taken yet, in the order of time.
    pub fn seens(&self) -> Seens {
        sorted(self.lock().seens.clone())
    }

    /// The same, which is not kept here any more: a long run would fill the memory.
    pub fn take_seens(&self) -> Seens {
        sorted(std::mem::take(&mut self.lock().seens))
    }

    /// Why a part of it has ended, if one has: from then on it misses what happens.
    pub fn failure(&self) -> Option<String> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = tasks.try_join_next()?;
        let why = ended.err().map(|error| error.to_string());
        let why = why.unwrap_or_else(|| "it has ended".to_owned());
        Some(format!("a part of the observer failed: {why}"))
    }

    /// Whether a Sentinel has published that event since a time.
    pub fn saw(&self, event: &str, since: u64) -> bool {
        self.lock().seens.iter().rev().any(|seen| {
            seen.at >= since && matches!(&seen.what, What::Event { name, .. } if name == event)
        })
    }

    /// The data nodes that say now that they are primary.
    pub fn primaries(&self) -> Vec<String> {
        self.lock()
            .roles
            .iter()
            .filter(|(_, role)| *role == RoleSeen::Primary)
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// The node that a majority of the Sentinels names now.
    pub async fn named(&self) -> Option<String> {
        let elected = self.panel.ask().await.elect().ok()?;
        self.lab
            .data_node_at(elected.address)
            .map(|node| node.name.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sorted(mut seens: Vec<Seen>) -> Seens {
    seens.sort_by_key(|seen| seen.at);
    Seens(seens)
}

/// An address of the lab's network that no node has; only the loopback has all of a network.
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
    inner: Arc<Mutex<Inner>>,
    begun: Instant,
) {
    while let Some(event) = events.recv().await {
        let seen = Seen {
            at: micros(event.at.saturating_duration_since(begun)),
            what: What::Event {
                sentinel: event.sentinel,
                name: event.name,
                text: event.text,
            },
        };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seens.push(seen);
    }
}

struct RoleWatch {
    lab: Lab,
    node: Node,
    connector: Connector,
    inner: Arc<Mutex<Inner>>,
    begun: Instant,
}

impl RoleWatch {
    async fn run(self) {
        let mut conn: Option<Conn> = None;
        loop {
            let role = self.ask(&mut conn).await;
            self.keep(role);
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The role, or silence. A connection that breaks is made anew at once: a change of role breaks it too.
    async fn ask(&self, slot: &mut Option<Conn>) -> RoleSeen {
        if let Some(conn) = slot.take() {
            let begun = Instant::now();
            match self.ask_on(conn, slot).await {
                RoleSeen::Silent if begun.elapsed() < SILENT_AFTER / 2 => {}
                role => return role,
            }
        }
        match self.connector.open(self.node.socket()).await {
            Ok(conn) => self.ask_on(conn, slot).await,
            Err(_) => RoleSeen::Silent,
        }
    }

    async fn ask_on(&self, mut conn: Conn, slot: &mut Option<Conn>) -> RoleSeen {
        let role = match conn.role().await {
            Ok(Role::Primary { .. }) => RoleSeen::Primary,
            Ok(Role::Replica { of, connected, .. }) => RoleSeen::Replica {
                of: self.name(of),
                in_sync: connected,
            },
            // The connection goes: what was asked on it may still be answered.
            Ok(Role::Sentinel) | Err(_) => return RoleSeen::Silent,
        };
        *slot = Some(conn);
        role
    }

    fn name(&self, address: SocketAddrV4) -> String {
        match self.lab.data_node_at(address) {
            Some(node) => node.name.clone(),
            // Parked: of its own address, where nothing listens.
            None if *address.ip() == self.node.address => "nobody".to_owned(),
            None => address.to_string(),
        }
    }

    fn keep(&self, role: RoleSeen) {
        let at = micros(self.begun.elapsed());
        let name = &self.node.name;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.roles.iter_mut().find(|(node, _)| node == name) {
            Some((_, before)) if *before == role => return,
            Some((_, before)) => *before = role.clone(),
            None => inner.roles.push((name.clone(), role.clone())),
        }
        let what = What::Role {
            node: name.clone(),
            role,
        };
        inner.seens.push(Seen { at, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a lab in a network in which nothing listens.
    fn observer() -> Observer {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 254]);
        lab.security.acl = false;
        Observer::start(&lab, Instant::now())
    }

    #[tokio::test]
    async fn what_was_taken_is_kept_no_more() {
        let observer = observer();
        observer.note(What::Did("before".into()));
        assert_eq!(observer.take_seens().0.len(), 1);
        observer.note(What::Did("after".into()));
        assert_eq!(observer.seens().0.len(), 1);
        assert_eq!(observer.seens().0.len(), 1);
    }

    #[tokio::test]
    async fn a_part_that_panics_is_a_failure() {
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
