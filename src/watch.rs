//! `halab status --watch`: the lab on one screen, as it is now: roles, lag, writes, what the Sentinels say.
//!
//! [`View`] is what is shown, and [`draw`] how; around them, one look at all nodes a period, the Sentinels'
//! events as they come, and the keyboard. The terminal is given back as it was, also after a panic.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::Connector;
use crate::config::Lab;
use crate::protocol::sentinel_event::{is_about_failover, subject};
use crate::sentinel::{Event, WAITING, follow_events};
use crate::status::{Reached, Status, gather};

/// Between two looks at all nodes.
const PERIOD: Duration = Duration::from_millis(500);
/// Between two looks at the keyboard.
const KEYS_PERIOD: Duration = Duration::from_millis(50);
/// Limit of a connect to a Sentinel, for its events.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// What is kept of the rate and of the events: more than any screen shows.
const KEPT: usize = 300;

/// An event of a Sentinel.
#[derive(Debug)]
struct Said {
    at: Duration,
    sentinel: String,
    name: String,
    about: String,
    /// It is part of a failover, or of what leads to one.
    matters: bool,
}

impl Said {
    fn line(&self) -> Line<'_> {
        let colour = match self.name.as_str() {
            "+switch-master" => Style::new().green().bold(),
            "+sdown" | "+odown" | "+tilt" => Style::new().red(),
            _ if self.matters => Style::new().magenta(),
            _ => Style::new().dim(),
        };
        let about = if self.matters {
            Style::new()
        } else {
            Style::new().dim()
        };
        Line::from(vec![
            Span::from(format!(
                "{:8.2} s  {:<12}",
                self.at.as_secs_f64(),
                self.sentinel
            ))
            .dim(),
            Span::styled(format!("{:<30}", self.name), colour),
            Span::styled(format!(" {}", self.about), about),
        ])
    }
}

/// What is shown.
#[derive(Debug, Default)]
pub struct View {
    status: Option<Status>,
    /// Bytes a second of the primary's replication stream, the newest last.
    rates: VecDeque<u64>,
    events: VecDeque<Said>,
    /// The primary of the last look, its offset, and when that was.
    last: Option<(String, u64, Duration)>,
}

impl View {
    /// Takes a look at all nodes, that long after the start.
    pub fn looked(&mut self, status: Status, at: Duration) {
        let primary = status.data_nodes.iter().find_map(|node| {
            let state = node.state.up()?;
            (state.role == "primary").then(|| (node.name.clone(), state.offset))
        });
        let rate = match (&primary, &self.last) {
            (Some((name, offset)), Some((before, from, since))) if name == before => {
                let seconds = at.saturating_sub(*since).as_secs_f64().max(0.001);
                (offset.saturating_sub(*from) as f64 / seconds) as u64
            }
            // Another primary, or none: there is no difference to take.
            _ => 0,
        };
        keep(&mut self.rates, rate);
        self.last = primary.map(|(name, offset)| (name, offset, at));
        self.status = Some(status);
    }

    /// Takes an event of a Sentinel.
    pub fn heard(&mut self, lab: &Lab, event: &Event, at: Duration) {
        let named = |ip: &str| {
            let node = lab.nodes().find(|node| node.address.to_string() == ip);
            node.map_or_else(|| ip.to_owned(), |node| node.name.clone())
        };
        let (node, detail) = subject(&event.name, &event.text, &named);
        let about: Vec<String> = [node, detail].into_iter().flatten().collect();
        let said = Said {
            at,
            sentinel: event.sentinel.clone(),
            name: event.name.clone(),
            about: about.join(", "),
            matters: is_about_failover(&event.name, &event.text),
        };
        keep(&mut self.events, said);
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    list.push_back(item);
    if list.len() > KEPT {
        list.pop_front();
    }
}

/// Shows the lab until `q`, Ctrl-C or `stop`. Returns whether it was healthy at the last look.
///
/// # Errors
/// When there is no terminal to draw on.
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
    let begun = Instant::now();
    let mut view = View::default();
    let mut tasks = JoinSet::new();
    let (to, mut events) = mpsc::channel(WAITING);
    let connector = Connector::new(lab, User::Verifier, CONNECT_LIMIT);
    follow_events(lab, &connector, &to, &mut tasks);
    let mut look = interval(PERIOD);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut keys = interval(KEYS_PERIOD);
    keys.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        terminal.draw(|frame| draw(frame, &view))?;
        tokio::select! {
            () = stop.cancelled() => break,
            _ = look.tick() => view.looked(gather(lab).await, begun.elapsed()),
            Some(event) = events.recv() => view.heard(lab, &event, begun.elapsed()),
            _ = keys.tick() => if wants_to_leave()? { break },
        }
    }
    Ok(view.status.is_some_and(|status| status.healthy))
}

/// Whether `q`, Escape or Ctrl-C was typed: in the raw mode of the terminal it is a key like the others.
fn wants_to_leave() -> io::Result<bool> {
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

/// Draws the view.
pub fn draw(frame: &mut Frame, view: &View) {
    let Some(status) = &view.status else {
        frame.render_widget(Paragraph::new("asking all nodes"), frame.area());
        return;
    };
    let rows = |n: usize| Constraint::Length(u16::try_from(n).unwrap_or(u16::MAX));
    let [head, data, sentinels, rate, events] = Layout::vertical([
        Constraint::Length(2),
        rows(status.data_nodes.len() + 3),
        rows(status.sentinels.len() + 3),
        Constraint::Length(6),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(status)), head);
    frame.render_widget(data_nodes(status), data);
    frame.render_widget(sentinel_table(status), sentinels);
    let width = usize::from(rate.width.saturating_sub(2));
    let newest: Vec<u64> = view.rates.iter().rev().take(width).rev().copied().collect();
    let now = newest.last().copied().unwrap_or_default();
    frame.render_widget(
        Sparkline::default()
            .block(Block::bordered().title(format!(
                " writes, {} KiB/s; highest {} KiB/s; each column {} ms ",
                now / 1024,
                newest.iter().max().unwrap_or(&0) / 1024,
                PERIOD.as_millis()
            )))
            .style(Style::new().blue())
            .data(&newest),
        rate,
    );
    let height = usize::from(events.height.saturating_sub(2));
    let lines = view.events.iter().rev().take(height).rev();
    let lines: Vec<Line> = lines.map(Said::line).collect();
    let block = Block::bordered().title(" what the Sentinels say (q: leave) ");
    frame.render_widget(Paragraph::new(lines).block(block), events);
}

fn headline(status: &Status) -> Vec<Line<'_>> {
    let primary = status.primary.as_ref().map_or_else(
        || "no primary".to_owned(),
        |named| format!("primary {} at epoch {}", named.node, named.epoch),
    );
    let fault = status.problems.iter().find(|problem| problem.is_fault());
    let health = match (fault, status.problems.first()) {
        (Some(problem), _) => Span::from(problem.to_string()).fg(Color::Red),
        (None, Some(warning)) => Span::from(format!("healthy; {warning}")).fg(Color::Yellow),
        (None, None) => Span::from("healthy").fg(Color::Green),
    };
    vec![
        Line::from(vec![
            Span::from(status.lab.as_str()).bold(),
            Span::from(format!(": {primary}")),
        ]),
        Line::from(health),
    ]
}

fn data_nodes(status: &Status) -> Table<'_> {
    let rows = status.data_nodes.iter().map(|node| match &node.state {
        Reached::Unreachable(why) => Row::new([
            node.name.clone(),
            "gone".into(),
            String::new(),
            String::new(),
            why.clone(),
        ])
        .fg(Color::Red),
        Reached::Up(state) => {
            let of = state.replica_of.as_deref().unwrap_or_default();
            let role = match (state.role, state.replicas) {
                ("replica", _) => format!("replica of {of}"),
                ("primary", Some(n)) => format!("primary, {n} in sync"),
                (role, _) => role.to_owned(),
            };
            let link = match state.link_up {
                Some(true) => "up",
                Some(false) => "down",
                None => "",
            };
            let lag = state.lag_bytes.map_or(String::new(), |n| format!("{n} B"));
            let row = Row::new([
                node.name.clone(),
                role,
                link.to_owned(),
                lag,
                state.offset.to_string(),
            ]);
            if state.role == "primary" {
                row.fg(Color::Green)
            } else {
                row
            }
        }
    });
    table(rows, ["data node", "role", "link", "lag", "offset"])
}

fn sentinel_table(status: &Status) -> Table<'_> {
    let rows = status.sentinels.iter().map(|node| match &node.state {
        Reached::Unreachable(why) => Row::new([
            node.name.clone(),
            "gone".into(),
            String::new(),
            String::new(),
            why.clone(),
        ])
        .fg(Color::Red),
        Reached::Up(state) => {
            let opinion = match (state.failover_in_progress, state.primary_down) {
                (true, _) => "failover",
                (_, true) => "down",
                _ => "ok",
            };
            Row::new([
                node.name.clone(),
                state.primary.node.clone(),
                state.primary.epoch.to_string(),
                opinion.to_owned(),
                state.promotable.join(", "),
            ])
        }
    });
    table(
        rows,
        ["Sentinel", "primary", "epoch", "it is", "promotable"],
    )
}

fn table<'t>(rows: impl Iterator<Item = Row<'t>>, header: [&'static str; 5]) -> Table<'t> {
    let widths = [14, 24, 8, 12, 30].map(Constraint::Max);
    Table::new(rows, widths)
        .header(Row::new(header.map(Cell::from)).bold())
        .block(Block::bordered())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Code, DataNodeState, DataNodeStatus, NamedPrimary, Problem};
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
                    state: Reached::Up(state),
                },
                DataNodeStatus {
                    name: "redis-z".into(),
                    address: "127.0.0.12:6379".parse().unwrap(),
                    holds: None,
                    state: Reached::Unreachable("refused".into()),
                },
            ],
            sentinels: vec![],
            strangers: vec![],
            members: None,
            healthy: false,
            stakes: vec![],
            problems: vec![
                Problem::of_node(Code::Unreachable, "redis-z", "redis-z is not reachable")
                    .because(Some("refused".into())),
            ],
            parents: std::collections::BTreeMap::new(),
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
        assert!(screen(&view).contains("asking all nodes"));
        view.looked(status("redis-a", 1000), Duration::from_secs(1));
        view.looked(status("redis-a", 1000 + 4096), Duration::from_secs(2));
        let event = Event {
            sentinel: "sentinel-1".into(),
            at: Instant::now(),
            name: "+switch-master".into(),
            text: "halab 127.0.0.11 6379 127.0.0.12 6379".into(),
        };
        let lab = Lab::parse(include_str!("../lab.toml"), None).unwrap();
        view.heard(&lab, &event, Duration::from_secs(2));
        let screen = screen(&view);
        for part in [
            "redis-ha-lab: primary redis-a at epoch 3",
            "redis-z is not reachable: refused",
            "primary",
            "gone",
            "writes, 4 KiB/s; highest 4 KiB/s",
            "sentinel-1  +switch-master                 redis-b, instead of redis-a",
        ] {
            assert!(screen.contains(part), "{part} in\n{screen}");
        }
    }

    #[test]
    fn another_primary_begins_a_rate_anew() {
        let mut view = View::default();
        view.looked(status("redis-a", 1000), Duration::from_secs(1));
        view.looked(status("redis-b", 9_000_000), Duration::from_secs(2));
        view.looked(status("redis-b", 9_000_500), Duration::from_secs(3));
        assert_eq!(view.rates, [0, 0, 500]);
    }
}
