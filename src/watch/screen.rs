//! The screen of `halab status --watch`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use crate::status::{Reached, Status};

use super::{EventLine, PERIOD, View};

/// Draws the view.
pub fn draw(frame: &mut Frame, view: &View) {
    let Some(status) = &view.status else {
        frame.render_widget(Paragraph::new("connecting to all nodes"), frame.area());
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
                " writes, {} KiB/s; maximum {} KiB/s; {} ms per column ",
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
    let lines: Vec<Line> = lines.map(EventLine::line).collect();
    let block = Block::bordered().title(" events of the Sentinels (q: quit) ");
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
            "unreachable".into(),
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
            "unreachable".into(),
            String::new(),
            String::new(),
            why.clone(),
        ])
        .fg(Color::Red),
        Reached::Up(state) => {
            let state_of_primary = match (state.failover_in_progress, state.primary_down) {
                (true, _) => "failover",
                (_, true) => "down",
                _ => "ok",
            };
            Row::new([
                node.name.clone(),
                state.primary.node.clone(),
                state.primary.epoch.to_string(),
                state_of_primary.to_owned(),
                state.promotable.join(", "),
            ])
        }
    });
    table(
        rows,
        ["Sentinel", "primary", "epoch", "state", "promotable"],
    )
}

fn table<'t>(rows: impl Iterator<Item = Row<'t>>, header: [&'static str; 5]) -> Table<'t> {
    let widths = [14, 24, 8, 12, 30].map(Constraint::Max);
    Table::new(rows, widths)
        .header(Row::new(header.map(Cell::from)).bold())
        .block(Block::bordered())
}

impl EventLine {
    fn line(&self) -> Line<'_> {
        let colour = match self.name.as_str() {
            "+switch-master" => Style::new().green().bold(),
            "+sdown" | "+odown" | "+tilt" => Style::new().red(),
            _ if self.is_about_failover => Style::new().magenta(),
            _ => Style::new().dim(),
        };
        let about = if self.is_about_failover {
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
