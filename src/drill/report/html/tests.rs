//! The page of a real run of kill-primary-node, from a report written by `halab drill --json`.

use super::*;
use crate::drill::report::{CalledObject, ClientSetting, ClientsVia, DrillVerdict};

fn sample() -> DrillReport {
    serde_json::from_str(include_str!("sample.json")).unwrap()
}

#[test]
fn the_page_tells_the_story_of_the_run() {
    let report = sample();
    let text = page(&report);
    for part in [
        "<title>kill-primary-node: holds</title>",
        "<h1>kill-primary-node <span class=\"badge holds\">holds</span></h1>",
        "SIGKILL to the node redis-a: 6.35 s without an acknowledged write; a failover began after ",
        "acknowledged records none is lost.",
        "class=\"detect\" x=",
        ">6.35 s without an acknowledged write</text>",
        "SIGKILL to the node redis-a",
        "+switch-master",
        "first write acknowledged",
        "6349.4 ms without an acknowledged write",
        "class=\"latency\"",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let run = &report.drills[0].runs[0];
    // Once in the chart for wide screens, once in the list for narrow ones.
    let entries = run.timeline.len();
    assert_eq!(text.matches("<circle").count(), entries, "in the picture");
    assert_eq!(text.matches("<li class=").count(), entries, "in the list");
    assert_eq!(text.matches("<svg class=").count(), 2);
    assert!(text.matches("class=\"bar\"").count() > 10, "bars");
    // A single run is shown expanded.
    assert_eq!(text.matches("<details open>").count(), 1);
    assert_eq!(text.matches("held</td>").count(), run.invariants.len());
}

#[test]
fn the_page_asks_for_nothing_from_outside() {
    let text = page(&sample());
    for part in [
        "http:", "https:", "src=", "<script", "<link", "url(", "@import",
    ] {
        assert!(!text.contains(part), "{part}");
    }
}

#[test]
fn text_from_a_report_stays_text() {
    let mut report = sample();
    let evil = "<script>alert(1)</script>&\"'";
    let drill = &mut report.drills[0];
    drill.setting.server = evil.to_owned();
    let run = &mut drill.runs[0];
    run.reasons = vec![evil.to_owned()];
    run.outages[0].fault = evil.to_owned();
    run.timeline[1].detail = Some(evil.to_owned());
    run.invariants[0].detail = evil.to_owned();
    report.tool = evil.to_owned();
    let text = page(&report);
    assert!(!text.contains("<script"));
    assert!(
        text.matches("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;")
            .count()
            >= 6
    );
}

#[test]
fn what_clients_were_answered_is_on_the_page_with_what_does_not_fit() {
    let mut report = sample();
    let object = |key: &str, counterexample: Option<&str>| CalledObject {
        key: key.to_owned(),
        kind: "register".to_owned(),
        calls: 7,
        verdict: DrillVerdict::Violated,
        counterexample: counterexample.map(str::to_owned),
    };
    report.drills[0].setting.clients = Some(ClientSetting {
        via: ClientsVia::Proxy,
        count: 20,
        local_reads: true,
    });
    report.drills[0].runs[0].clients = Some(ClientCalls {
        calls: 14,
        unknown: 3,
        objects: vec![object("one", Some("get -> 7\n")), object("two", None)],
        ..ClientCalls::default()
    });
    let text = page(&report);
    for part in [
        "20 clients: proxy, local reads",
        "14 calls of clients: 0 answered, 0 not executed, 3 unknown",
        "<code>one</code> is not linearizable",
        "<pre>get -&gt; 7\n</pre>",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("<code>two</code>"));
}

#[test]
fn a_report_with_gaps_is_a_page_too() {
    let mut report = sample();
    let drill = &mut report.drills[0];
    drill.verdict = DrillVerdict::Violated;
    let run = &mut drill.runs[0];
    run.timeline.clear();
    run.outages.clear();
    run.records = None;
    if let Some(samples) = &mut run.samples {
        samples.acknowledged = vec![0; 3];
        samples.latency_max_ms = vec![None; 3];
    }
    let text = page(&report);
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert!(text.contains("badge violated"));
    report.drills[0].runs[0].samples = None;
    assert!(!page(&report).contains("<svg"));
    report.drills.clear();
    assert!(page(&report).ends_with("</html>\n"));
}
