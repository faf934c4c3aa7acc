//! The report as one self-contained HTML page: tables, charts and timelines of all drills. Pure.
//!
//! The page has no scripts and loads nothing: styles and images are inline. All text that comes
//! from a report is escaped.

mod chart;
mod story;
#[cfg(test)]
mod tests;

use std::fmt::{Display, Write};

pub use chart::class_of;

use super::{ClientCalls, Drill, DrillReport, DrillSummary, Run, Spread};

/// The style of a chart, in light and dark colours.
pub const CHART_STYLE: &str = include_str!("html/chart.css");
const STYLE: &str = include_str!("html/style.css");

/// The page.
pub fn page(report: &DrillReport) -> String {
    let mut out = String::with_capacity(64 * 1024);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}: {verdict}</title>\n<style>\n{CHART_STYLE}{STYLE}</style>\n</head>\n<body>\n\
         <h1>{title} <span class=\"badge {verdict}\">{verdict}</span></h1>\n\
         <p class=\"soft\">{tool}, {started}, {system}, {processors} processors</p>\n",
        verdict = report.verdict,
        title = title(report),
        tool = escaped(&report.tool),
        started = escaped(started(&report.started)),
        system = escaped(&report.host.system),
        processors = report.host.processors,
    );
    let totals = report.totals;
    facts(
        &mut out,
        &[
            ("acknowledged records", grouped(totals.acknowledged)),
            ("of these lost", grouped(totals.lost)),
            (
                one_or_more(totals.faults, "fault", "faults"),
                totals.faults.to_string(),
            ),
            (
                one_or_more(totals.runs, "run", "runs"),
                totals.runs.to_string(),
            ),
        ],
    );
    overview(&mut out, report);
    for (number, drill) in report.drills.iter().enumerate() {
        self::drill(&mut out, number, drill);
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn facts(out: &mut String, facts: &[(&str, String)]) {
    out.push_str("<ul class=\"facts\">");
    for (what, value) in facts {
        let _ = write!(out, "<li><b>{}</b>{what}</li>", escaped(value));
    }
    out.push_str("</ul>\n");
}

/// The table of all drills: time without an acknowledged write, its parts, and the verdict.
fn overview(out: &mut String, report: &DrillReport) {
    out.push_str(
        "<h2>Time without an acknowledged write</h2>\n<p class=\"soft key\">Medians over the runs, in milliseconds: \
         <span><i class=\"detect\"></i>until a failover begins</span> <span><i class=\"elect\"></i>until a Sentinel is \
         elected</span> <span><i class=\"promote\"></i>until another node is primary</span> <span><i \
         class=\"reconnect\"></i>until a write is acknowledged</span></p>\n\
         <div class=\"scroll\"><table class=\"overview\">\n<tr><th>fault</th><th>setting</th><th class=\"n\">runs</th>\
         <th class=\"n\">min</th><th class=\"n\">median</th><th class=\"n\">max</th><th>spent on</th>\
         <th class=\"n\">acknowledged</th><th class=\"n\">lost</th><th>verdict</th></tr>\n",
    );
    let medians = report.drills.iter().flat_map(|d| split(&d.summary));
    let longest = report
        .drills
        .iter()
        .map(|d| split(&d.summary).iter().map(|(_, ms)| ms).sum::<f64>())
        .fold(0.0, f64::max);
    let any_split = medians.into_iter().any(|(_, ms)| ms > 0.0);
    for (number, drill) in report.drills.iter().enumerate() {
        let summary = &drill.summary;
        let rto =
            |of: fn(&Spread) -> f64| summary.rto_ms.as_ref().map_or_else(dash, |s| whole(of(s)));
        let _ = write!(
            out,
            "<tr><td><a href=\"#drill-{number}\">{}</a></td><td>{}, {}, {}</td><td class=\"n\" data-of=\"runs\">{}</td>\
             <td class=\"n\" data-of=\"min\">{}</td><td class=\"n\" data-of=\"median\">{}</td><td class=\"n\" \
             data-of=\"max\">{}</td><td class=\"spent\">",
            escaped(&drill.fault),
            drill.setting.nodes_and_load(),
            escaped(drill.setting.servers()),
            escaped(&drill.setting.policy),
            summary.runs,
            rto(|s| s.min),
            rto(|s| s.median),
            rto(|s| s.max),
        );
        if any_split {
            bar(out, summary, longest);
        }
        let _ = writeln!(
            out,
            "</td><td class=\"n\" data-of=\"acknowledged\">{}</td><td class=\"n\" data-of=\"lost\">{}</td><td>{}</td></tr>",
            grouped(summary.acknowledged),
            grouped(summary.lost),
            badge(drill.verdict)
        );
    }
    out.push_str("</table></div>\n");
}

/// The parts of the time without a write, in order; 0 for a part that did not occur.
fn split(summary: &DrillSummary) -> [(&'static str, f64); 4] {
    let median = |spread: &Option<Spread>| spread.as_ref().map_or(0.0, |s| s.median.max(0.0));
    [
        ("detect", median(&summary.detect_ms)),
        ("elect", median(&summary.elect_ms)),
        ("promote", median(&summary.promote_ms)),
        ("reconnect", median(&summary.reconnect_ms)),
    ]
}

fn bar(out: &mut String, summary: &DrillSummary, longest: f64) {
    let parts = split(summary);
    if longest <= 0.0 || parts.iter().all(|(_, ms)| *ms <= 0.0) {
        out.push_str(&dash());
        return;
    }
    out.push_str("<span class=\"split\">");
    for (name, ms) in parts {
        let _ = write!(
            out,
            "<i class=\"{name}\" style=\"width:{:.2}%\" title=\"{name} {} ms\"></i>",
            ms / longest * 100.0,
            whole(ms)
        );
    }
    let numbers = parts.map(|(_, ms)| whole(ms)).join(" + ");
    let _ = write!(out, "</span><span class=\"soft\">{numbers}</span>");
}

fn drill(out: &mut String, number: usize, drill: &Drill) {
    let setting = &drill.setting;
    let _ = writeln!(
        out,
        "<h2 id=\"drill-{number}\">{} {}</h2>\n<p class=\"soft\">nodes {}, {}, policy {}, down-after {} ms, \
         {} connections, batches of {}</p>",
        escaped(&drill.fault),
        badge(drill.verdict),
        setting.nodes_and_load(),
        escaped(setting.servers()),
        escaped(&setting.policy),
        setting.down_after_ms,
        setting.connections,
        setting.batch,
    );
    let shown = drill.runs.iter().position(|run| run.samples.is_some());
    if let Some((number, run)) = shown.and_then(|n| Some((n + 1, drill.runs.get(n)?))) {
        if drill.runs.len() > 1 {
            let _ = writeln!(out, "<h3>Run {number}</h3>");
        }
        out.push_str(&story(run));
    }
    // A single run is shown expanded; of several, those that did not hold.
    let whole = drill.runs.len() == 1;
    for (i, run) in drill.runs.iter().enumerate() {
        self::run(out, i + 1, run, whole);
    }
}

/// What happened in a run, in sentences and as a chart.
pub fn story(run: &Run) -> String {
    format!(
        "<p class=\"story\">{}</p>\n{KEY}{}",
        escaped(story::sentences(run)),
        chart::chart(run)
    )
}

/// The legend of a chart.
const KEY: &str = "<p class=\"soft key\"><span><i class=\"fault\"></i>fault</span> <span><i \
                   class=\"sentinel\"></i>a Sentinel</span> <span><i class=\"node\"></i>a node, the writer</span> <span><i \
                   class=\"good\"></i>a write</span></p>\n";

fn run(out: &mut String, number: usize, run: &Run, whole: bool) {
    let longest = run
        .outages
        .iter()
        .filter_map(|o| o.rto_ms)
        .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
    let records = run.records.clone().unwrap_or_default();
    let _ = writeln!(
        out,
        "<details{}><summary>Run {number}: {}, {} ms without a write, {} acknowledged, {} lost</summary>",
        if run.reasons.is_empty() && !whole {
            ""
        } else {
            " open"
        },
        run.verdict,
        longest.map_or_else(dash, self::whole),
        grouped(records.acknowledged),
        grouped(records.lost)
    );
    if !run.reasons.is_empty() {
        out.push_str("<ul>");
        for reason in &run.reasons {
            let _ = write!(out, "<li>{}</li>", escaped(reason));
        }
        out.push_str("</ul>\n");
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"invariants\">\n<tr><th>must hold</th><th></th><th>seen</th></tr>\n",
    );
    for invariant in &run.invariants {
        let (class, word) = match invariant.held {
            Some(true) => ("holds", "held"),
            Some(false) => ("violated", "did not hold"),
            None => ("inconclusive", "not determined"),
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"{class}\">{word}</td><td>{}</td></tr>",
            escaped(&invariant.name),
            escaped(&invariant.detail)
        );
    }
    out.push_str("</table></div>\n");
    if let Some(clients) = &run.clients {
        self::clients(out, clients);
    }
    out.push_str("</details>\n");
}

/// The calls of client applications, and what does not fit.
fn clients(out: &mut String, clients: &ClientCalls) {
    let _ = writeln!(out, "<p>{}.</p>", escaped(clients.sentence()));
    for (key, counterexample) in clients.counterexamples() {
        let _ = writeln!(
            out,
            "<p><code>{}</code> is not linearizable:</p>\n<div class=\"scroll\"><pre>{}</pre></div>",
            escaped(key),
            escaped(counterexample)
        );
    }
}

fn badge(verdict: impl Display) -> String {
    format!("<span class=\"badge {verdict}\">{verdict}</span>")
}

/// The title of the page.
fn title(report: &DrillReport) -> String {
    match &report.drills[..] {
        [drill] => escaped(&drill.fault),
        _ => "Drills".to_owned(),
    }
}

/// A wall-clock time, truncated to seconds; other text is returned unchanged.
fn started(time: &str) -> String {
    match time.split_once('T') {
        Some((date, clock)) if clock.ends_with('Z') && clock.is_ascii() && clock.len() > 8 => {
            format!("{date} {} UTC", &clock[..8])
        }
        _ => time.to_owned(),
    }
}

fn one_or_more(n: usize, one: &'static str, more: &'static str) -> &'static str {
    if n == 1 { one } else { more }
}

/// A number in groups of three digits, separated by non-breaking spaces.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A duration in milliseconds or seconds, whichever is readable.
fn seconds(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{} ms", whole(ms))
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn whole(ms: f64) -> String {
    // Adding 0 removes the sign of a rounded negative zero.
    format!("{:.0}", ms.round() + 0.0)
}

/// The text with HTML's special characters escaped.
fn escaped(text: impl Display) -> String {
    let text = text.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
