//! The monitoring's files against each other, and (with `--ignored`, by `./lab test`) against a
//! running lab.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

#[path = "monitoring/fetching.rs"]
mod fetching;
#[path = "live/lab.rs"]
#[allow(dead_code, reason = "shared with the live tests, which use the rest")]
mod lab;
#[path = "monitoring/reality.rs"]
mod reality;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn after<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    let lines = text.lines().map(str::trim_start);
    lines.filter_map(|line| line.strip_prefix(prefix)).collect()
}

fn alerts(rules: &str) -> BTreeSet<&str> {
    after(rules, "- alert: ")
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_no_section_is_without_alert() {
    let (rules, runbook) = (text("prometheus/rules/alerts.yml"), text("docs/runbook.md"));
    assert_eq!(alerts(&rules), after(&runbook, "## "));
    let links: BTreeSet<String> = alerts(&rules)
        .iter()
        .map(|name| format!("docs/runbook.md#{}", name.to_lowercase()))
        .collect();
    let stated = after(&rules, "runbook: ").into_iter().map(str::to_owned);
    assert_eq!(stated.collect::<BTreeSet<_>>(), links);
}

#[test]
fn every_alert_says_what_and_why() {
    let rules = text("prometheus/rules/alerts.yml");
    for rule in rules.split("- alert: ").skip(1) {
        for key in ["expr:", "severity:", "summary:", "description:", "runbook:"] {
            assert_eq!(rule.matches(key).count(), 1, "{key} of {rule}");
        }
    }
}

#[test]
fn every_alert_is_tested_firing_and_not_firing() {
    let (rules, tests) = (
        text("prometheus/rules/alerts.yml"),
        text("prometheus/tests/alerts.yml"),
    );
    let of = |fires: bool| {
        let cases = tests.split("alertname: ").skip(1);
        let cases = cases.filter(move |case| case.contains("exp_alerts: []") != fires);
        cases.filter_map(|case| case.lines().next()).collect()
    };
    assert_eq!(alerts(&rules), of(true), "firing");
    assert_eq!(alerts(&rules), of(false), "not firing");
}
