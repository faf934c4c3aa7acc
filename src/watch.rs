//! `halab status --watch`: the current state of the lab on one screen: roles, lag, writes, events.
//!
//! [`View`] has the shown state, and [`draw`] draws it. All nodes are asked once per period; events
//! of the Sentinels and keys are handled as they come. The terminal is restored at the end, also
//! after a panic.

mod screen;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyModifiers};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::Connector;
use crate::config::Lab;
use crate::protocol::sentinel_event::{is_about_failover, subject};
use crate::sentinel::{EVENT_CAPACITY, Event, follow_events};
use crate::status::{Status, gather};

pub use screen::draw;

/// Time between two rounds of questions to all nodes.
const PERIOD: Duration = Duration::from_millis(500);
/// Time between two checks of the keyboard.
const KEYS_PERIOD: Duration = Duration::from_millis(50);
/// Number of rates and events that are kept: more than a screen shows.
const HISTORY_LENGTH: usize = 300;

/// An event of a Sentinel, as shown.
#[derive(Debug)]
struct EventLine {
    at: Duration,
    sentinel: String,
    name: String,
    about: String,
    /// Whether it is part of a failover or may lead to one.
    is_about_failover: bool,
}

/// The shown state.
#[derive(Debug, Default)]
pub struct View {
    status: Option<Status>,
    /// Bytes per second of the primary's replication stream, the newest last.
    rates: VecDeque<u64>,
    events: VecDeque<EventLine>,
    /// The last known primary, its offset, and the time.
    last: Option<(String, u64, Duration)>,
}

impl View {
    /// Takes the status at a time after the start.
    pub fn set_status(&mut self, status: Status, at: Duration) {
        let primary = status.data_nodes.iter().find_map(|node| {
            let state = node.state.up()?;
            (state.role == "primary").then(|| (node.name.clone(), state.offset))
        });
        let rate = match (&primary, &self.last) {
            (Some((name, offset)), Some((before, from, since))) if name == before => {
                let seconds = at.saturating_sub(*since).as_secs_f64().max(0.001);
                (offset.saturating_sub(*from) as f64 / seconds) as u64
            }
            // The primary has changed, or there is none: there is no difference to compute.
            _ => 0,
        };
        push(&mut self.rates, rate);
        self.last = primary.map(|(name, offset)| (name, offset, at));
        self.status = Some(status);
    }

    /// Adds an event of a Sentinel.
    pub fn add_event(&mut self, lab: &Lab, event: &Event, at: Duration) {
        let named = |ip: &str| {
            let node = lab.nodes().find(|node| node.address.to_string() == ip);
            node.map_or_else(|| ip.to_owned(), |node| node.name.clone())
        };
        let (node, detail) = subject(&event.name, &event.text, &named);
        let about: Vec<String> = [node, detail].into_iter().flatten().collect();
        let line = EventLine {
            at,
            sentinel: event.sentinel.clone(),
            name: event.name.clone(),
            about: about.join(", "),
            is_about_failover: is_about_failover(&event.name, &event.text),
        };
        push(&mut self.events, line);
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T) {
    list.push_back(item);
    if list.len() > HISTORY_LENGTH {
        list.pop_front();
    }
}

/// Shows the lab until `q`, Ctrl-C or `stop`. Returns whether the lab was healthy in the last
/// status.
///
/// # Errors
/// If there is no terminal.
pub async fn run(lab: &Lab, stop: &CancellationToken) -> io::Result<bool> {
    let mut terminal = ratatui::try_init()?;
    let shown = show(lab, stop, &mut terminal).await;
    ratatui::restore();
    shown
}

async fn show(
    lab: &Lab,
    stop: &CancellationToken,
    terminal: &mut ratatui::DefaultTerminal,
) -> io::Result<bool> {
    let start = Instant::now();
    let mut view = View::default();
    let mut tasks = JoinSet::new();
    let (to, mut events) = mpsc::channel(EVENT_CAPACITY);
    let connector = Connector::new(lab, User::Verifier);
    follow_events(lab, &connector, &to, &mut tasks);
    let mut rounds = interval(PERIOD);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut keys = interval(KEYS_PERIOD);
    keys.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        terminal.draw(|frame| draw(frame, &view))?;
        tokio::select! {
            () = stop.cancelled() => break,
            _ = rounds.tick() => view.set_status(gather(lab).await, start.elapsed()),
            Some(event) = events.recv() => view.add_event(lab, &event, start.elapsed()),
            _ = keys.tick() => if quit_requested()? { break },
        }
    }
    Ok(view.status.is_some_and(|status| status.healthy))
}

/// Whether `q`, Escape or Ctrl-C was pressed. In raw mode, Ctrl-C is a key and sends no signal.
fn quit_requested() -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        if let Input::Key(key) = event::read()? {
            let ctrl_c =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{
        DataNodeState, DataNodeStatus, NamedPrimary, Problem, ProblemCode, Reached,
    };
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn status(primary: &str, offset: u64) -> Status {
        let state = DataNodeState {
            pid: 1,
            role: "primary",
            replica_of: None,
            link_up: None,
            promotable: None,
            offset,
            lag_bytes: None,
            replicas: Some(0),
            version: "7.0.15".into(),
            members_unusable: None,
        };
        Status {
            lab: "redis-ha-lab".into(),
            primary: Some(NamedPrimary {
                node: primary.into(),
                epoch: 3,
            }),
            data_nodes: vec![
                DataNodeStatus {
                    name: primary.into(),
                    address: "127.0.0.11:6379".parse().unwrap(),
                    holds: None,
                    closed: false,
                    state: Reached::Up(state),
                },
                DataNodeStatus {
                    name: "redis-z".into(),
                    address: "127.0.0.12:6379".parse().unwrap(),
                    holds: None,
                    closed: false,
                    state: Reached::Unreachable("refused".into()),
                },
            ],
            sentinels: vec![],
            strangers: vec![],
            members: None,
            healthy: false,
            stakes: vec![],
            problems: vec![
                Problem::of_node(
                    ProblemCode::Unreachable,
                    "redis-z",
                    "redis-z is not reachable",
                )
                .because(Some("refused".into())),
            ],
            supervisors: std::collections::BTreeMap::new(),
            description: crate::report::Description::default(),
            stated: vec![],
        }
    }

    fn screen(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(90, 24)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_roles_problem_rate_and_events() {
        let mut view = View::default();
        assert!(screen(&view).contains("connecting to all nodes"));
        view.set_status(status("redis-a", 1000), Duration::from_secs(1));
        view.set_status(status("redis-a", 1000 + 4096), Duration::from_secs(2));
        let event = Event {
            sentinel: "sentinel-1".into(),
            at: Instant::now(),
            name: "+switch-master".into(),
            text: "halab 127.0.0.11 6379 127.0.0.12 6379".into(),
        };
        let lab = Lab::parse(include_str!("../lab.toml"), None).unwrap();
        view.add_event(&lab, &event, Duration::from_secs(2));
        let screen = screen(&view);
        for part in [
            "redis-ha-lab: primary redis-a at epoch 3",
            "redis-z is not reachable: refused",
            "primary",
            "unreachable",
            "writes, 4 KiB/s; maximum 4 KiB/s",
            "sentinel-1  +switch-master                 redis-b, instead of redis-a",
        ] {
            assert!(screen.contains(part), "{part} in\n{screen}");
        }
    }

    #[test]
    fn the_rate_restarts_when_the_primary_changes() {
        let mut view = View::default();
        view.set_status(status("redis-a", 1000), Duration::from_secs(1));
        view.set_status(status("redis-b", 9_000_000), Duration::from_secs(2));
        view.set_status(status("redis-b", 9_000_500), Duration::from_secs(3));
        assert_eq!(view.rates, [0, 0, 500]);
    }
}
