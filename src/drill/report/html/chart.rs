//! The chart of one run: acknowledged writes, latency and events on one time axis. On a narrow
//! screen the events are a list below the chart.

use std::fmt::Write;

use crate::drill::report::{Outage, Run, Samples, TimelineEntry};

use super::{escaped, seconds};

const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
/// Vertical layout: the bars, below them the latency curve, then the events.
const RATE_TOP: f64 = 22.0;
const RATE_HEIGHT: f64 = 130.0;
const LATENCY_TOP: f64 = RATE_TOP + RATE_HEIGHT + 24.0;
const LATENCY_HEIGHT: f64 = 70.0;
const EVENTS_TOP: f64 = LATENCY_TOP + LATENCY_HEIGHT + 34.0;
const EVENT_HEIGHT: f64 = 16.0;
/// Time shown before the first fault and after the last event.
const MARGIN_MS: f64 = 1500.0;
/// Number of events in a chart, at most.
const ENTRIES_MAX: usize = 60;
/// Average width of a character, estimated high.
const SIGN_WIDTH: f64 = 6.5;

/// The screen that a chart is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    /// The events are labelled in the chart.
    Wide,
    /// A smaller chart without events, so that its text stays readable.
    Narrow,
}

impl Screen {
    fn width(self) -> f64 {
        match self {
            Screen::Wide => 960.0,
            Screen::Narrow => 400.0,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Screen::Wide => "wide",
            Screen::Narrow => "narrow",
        }
    }
}

/// The time axis: the interval shown, and its width in pixels.
struct Axis {
    from: f64,
    to: f64,
    width: f64,
}

impl Axis {
    /// From shortly before the first fault to shortly after the last event.
    fn of(run: &Run, samples: &Samples, width: f64) -> Axis {
        let end = samples.first_ms + samples.interval_ms * samples.acknowledged.len() as f64;
        let first_fault = run.outages.iter().map(|o| o.at_ms).fold(0.0, f64::min);
        let entries = run.timeline.iter().map(|m| m.at_ms);
        let gaps = run
            .outages
            .iter()
            .filter_map(|o| Some(o.from_at_ms? + o.rto_ms?));
        let last = entries.chain(gaps).fold(0.0, f64::max);
        let from = samples.first_ms.max(first_fault - MARGIN_MS);
        Axis {
            from,
            to: end.min(last + MARGIN_MS).max(from + samples.interval_ms),
            width,
        }
    }

    fn x(&self, ms: f64) -> f64 {
        let share = (ms - self.from) / (self.to - self.from);
        LEFT + share.clamp(0.0, 1.0) * (self.width - LEFT - RIGHT)
    }

    /// Anchor and position of a text beside `x`: on the right if it fits there.
    fn beside(&self, x: f64, text: &str, distance: f64) -> (&'static str, f64) {
        if x + distance + text.chars().count() as f64 * SIGN_WIDTH < self.width {
            ("start", x + distance)
        } else {
            ("end", x - distance)
        }
    }

    fn shows(&self, ms: f64) -> bool {
        (self.from..=self.to).contains(&ms)
    }

    /// Ticks at round times, one per about 90 pixels.
    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let rough = (self.to - self.from) / (self.width / 90.0);
        let magnitude = 10_f64.powf(rough.max(1.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|n| n * magnitude)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * magnitude);
        let first = (self.from / step).ceil() as i64;
        (first..)
            .map(move |n| n as f64 * step)
            .take_while(|ms| *ms <= self.to)
    }
}

/// The charts of a run, for wide and narrow screens; empty without samples.
pub(super) fn chart(run: &Run) -> String {
    let Some(samples) = &run.samples else {
        return String::new();
    };
    let wide = picture(run, samples, Screen::Wide);
    let narrow = picture(run, samples, Screen::Narrow);
    format!(
        "<div class=\"scroll wide\">{wide}</div>\n{narrow}\n{}",
        list(run)
    )
}

fn picture(run: &Run, samples: &Samples, screen: Screen) -> String {
    let axis = Axis::of(run, samples, screen.width());
    let entries: Vec<&TimelineEntry> = match screen {
        Screen::Wide => run
            .timeline
            .iter()
            .filter(|m| axis.shows(m.at_ms))
            .take(ENTRIES_MAX)
            .collect(),
        Screen::Narrow => Vec::new(),
    };
    let bottom = EVENTS_TOP - 26.0
        + match entries.len() {
            0 => 0.0,
            some => 26.0 + EVENT_HEIGHT * some as f64,
        };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg class=\"{}\" viewBox=\"0 0 {} {:.0}\" role=\"img\" aria-label=\"Acknowledged writes, latency and events \
         over time\">",
        screen.class(),
        axis.width,
        bottom.max(EVENTS_TOP) + 10.0
    );
    for outage in &run.outages {
        gap(&mut out, &axis, outage, bottom);
    }
    grid(&mut out, &axis, bottom);
    rate(&mut out, &axis, samples);
    latency(&mut out, &axis, samples);
    for outage in run.outages.iter().filter(|o| axis.shows(o.at_ms)) {
        spent(&mut out, &axis, outage);
        let x = axis.x(outage.at_ms);
        let (anchor, at) = axis.beside(x, &outage.fault, 4.0);
        let _ = write!(
            out,
            "<line class=\"fault\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{RATE_TOP}\" y2=\"{bottom:.1}\"/>\
             <text class=\"fault\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            RATE_TOP - 8.0,
            escaped(&outage.fault)
        );
    }
    for (i, entry) in entries.into_iter().enumerate() {
        event(&mut out, &axis, entry, EVENTS_TOP + EVENT_HEIGHT * i as f64);
    }
    out.push_str("</svg>");
    out
}

/// The time without an acknowledged write, with its duration if that fits.
fn gap(out: &mut String, axis: &Axis, outage: &Outage, bottom: f64) {
    let (Some(from), Some(rto)) = (outage.from_at_ms, outage.rto_ms) else {
        return;
    };
    let (left, right) = (axis.x(from), axis.x(from + rto));
    let _ = write!(
        out,
        "<rect class=\"gap\" x=\"{left:.1}\" y=\"{RATE_TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{rto} ms \
         without an acknowledged write</title></rect>",
        (right - left).max(1.0),
        bottom - RATE_TOP
    );
    let length = seconds(rto);
    let whole = format!("{length} without an acknowledged write");
    let room = |text: &str| text.chars().count() as f64 * SIGN_WIDTH * 1.3 < right - left;
    if let Some(text) = [whole, length].into_iter().find(|text| room(text)) {
        let _ = write!(
            out,
            "<text class=\"length\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            (left + right) / 2.0,
            RATE_TOP + RATE_HEIGHT / 2.0
        );
    }
}

/// The parts of that time, as a band below the bars.
fn spent(out: &mut String, axis: &Axis, outage: &Outage) {
    let mut at = outage.at_ms;
    for (name, part) in [
        ("detect", outage.detect_ms),
        ("elect", outage.elect_ms),
        ("promote", outage.promote_ms),
        ("reconnect", outage.reconnect_ms),
    ] {
        // The position of a part is unknown if the one before did not occur.
        let Some(ms) = part else { return };
        let (left, right) = (axis.x(at), axis.x(at + ms.max(0.0)));
        let _ = write!(
            out,
            "<rect class=\"{name}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"7\"><title>{name} {ms} \
             ms</title></rect>",
            RATE_TOP + RATE_HEIGHT + 5.0,
            (right - left).max(0.5)
        );
        at += ms;
    }
}

fn grid(out: &mut String, axis: &Axis, bottom: f64) {
    for ms in axis.ticks() {
        let x = axis.x(ms);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{RATE_TOP}\" y2=\"{bottom:.1}\"/>\
             <text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            EVENTS_TOP - 14.0,
            ms / 1000.0
        );
    }
}

fn rate(out: &mut String, axis: &Axis, samples: &Samples) {
    let most = samples
        .acknowledged
        .iter()
        .copied()
        .max()
        .unwrap_or(0)
        .max(1);
    let per_second = most as f64 * 1000.0 / samples.interval_ms.max(1.0);
    label(out, RATE_TOP, "writes/s", &thousands(per_second));
    for (at, count) in placed(samples, &samples.acknowledged) {
        if *count == 0 || !axis.shows(at) {
            continue;
        }
        let height = *count as f64 / most as f64 * RATE_HEIGHT;
        let (left, right) = (axis.x(at), axis.x(at + samples.interval_ms));
        let _ = write!(
            out,
            "<rect class=\"bar\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            RATE_TOP + RATE_HEIGHT - height,
            (right - left - 0.5).max(0.5)
        );
    }
}

/// The longest latency of each interval, on a scale of powers of ten.
fn latency(out: &mut String, axis: &Axis, samples: &Samples) {
    let values = samples.latency_max_ms.iter().flatten();
    let most = values.copied().fold(10.0, f64::max);
    label(out, LATENCY_TOP, "latency", &format!("{most:.0} ms"));
    let height = |ms: f64| (ms.max(0.1) * 10.0).log10() / (most * 10.0).log10() * LATENCY_HEIGHT;
    let mut path = String::new();
    let mut pen = 'M';
    for (at, value) in placed(samples, &samples.latency_max_ms) {
        let middle = at + samples.interval_ms / 2.0;
        match value {
            Some(ms) if axis.shows(middle) => {
                let y = LATENCY_TOP + LATENCY_HEIGHT - height(*ms);
                let _ = write!(path, "{pen}{:.1} {y:.1}", axis.x(middle));
                pen = 'L';
            }
            // Nothing was acknowledged there: a gap in the curve.
            _ => pen = 'M',
        }
    }
    let _ = write!(out, "<path class=\"latency\" d=\"{path}\"/>");
}

fn placed<'s, T>(samples: &'s Samples, values: &'s [T]) -> impl Iterator<Item = (f64, &'s T)> {
    let at = |i| samples.first_ms + samples.interval_ms * i as f64;
    values
        .iter()
        .enumerate()
        .map(move |(i, value)| (at(i), value))
}

fn label(out: &mut String, top: f64, what: &str, most: &str) {
    let x = LEFT - 6.0;
    let _ = write!(
        out,
        "<text x=\"{x}\" y=\"{:.1}\" text-anchor=\"end\">{most}</text>\
         <text class=\"soft\" x=\"{x}\" y=\"{:.1}\" text-anchor=\"end\">{what}</text>",
        top + 9.0,
        top + 22.0
    );
}

/// The event with its node and details.
fn description(entry: &TimelineEntry) -> String {
    let who: Vec<&str> = [&entry.node, &entry.detail]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let by = entry
        .by
        .as_ref()
        .map_or(String::new(), |by| format!(" (by {by})"));
    format!("{} {}{by}", entry.what, who.join(", "))
}

fn event(out: &mut String, axis: &Axis, entry: &TimelineEntry, y: f64) {
    let x = axis.x(entry.at_ms);
    let text = format!("{:.0} ms  {}", entry.at_ms, description(entry));
    // The side depends on the position alone, so that the texts of a failover are aligned.
    let (anchor, at) = if x < axis.width * 0.55 {
        ("start", x + 8.0)
    } else {
        ("end", x - 8.0)
    };
    let _ = write!(
        out,
        "<line class=\"thread\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>\
         <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        axis.width - RIGHT,
        class_of(entry),
        y + 4.0,
        escaped(text)
    );
}

/// The events as a list, for narrow screens.
fn list(run: &Run) -> String {
    let mut out = String::from("<ol class=\"moments\">");
    for entry in run.timeline.iter().take(ENTRIES_MAX) {
        let _ = write!(
            out,
            "<li class=\"{}\"><span>{:.0} ms</span>{}</li>",
            class_of(entry),
            entry.at_ms,
            escaped(description(entry))
        );
    }
    out.push_str("</ol>");
    out
}

/// The CSS class of an event, for its colour.
pub fn class_of(entry: &TimelineEntry) -> &'static str {
    if entry.what.starts_with(['+', '-']) {
        "sentinel"
    } else if entry.what.contains("fault") || entry.what.contains("error") {
        "fault"
    } else if entry.what.contains("acknowledged") {
        "good"
    } else {
        "node"
    }
}

/// A number with a `k` for thousands: 12345.6 as 12k.
fn thousands(number: f64) -> String {
    if number >= 10_000.0 {
        format!("{:.0}k", number / 1000.0)
    } else if number >= 1000.0 {
        format!("{:.1}k", number / 1000.0)
    } else {
        format!("{number:.0}")
    }
}
