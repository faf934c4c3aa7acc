//! Dashboards, rules and variables against the Prometheus of a running lab, in which a whole node
//! and then a server are lost: what is asked there has an answer, and the alerts that should fire
//! do, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, SystemTime};

use redis_ha_lab::http::{Client, wait_for};
use redis_ha_lab::monitoring::{self, Service};
use rustix::process::Signal;
use serde_json::Value;

use super::lab::{Shape, TestLab, invoked, wait_until};
use super::text;

const DASHBOARDS: [&str; 3] = ["ha-overview", "redis-nodes", "containers"];
/// Queries that rightly return nothing, by panel, and why.
const EMPTY: [(&str, &str); 1] = [("Share of the limit", "no memory limit is set in this lab")];
/// Alerts that three failovers, one of them by the loss of a whole node, cause, and somebody who
/// may not do what they try. No other may fire.
const FIRING: [&str; 9] = [
    "AccessRefused",
    "FailedOver",
    "FailoverFlapping",
    "NoPrimary",
    "ReplicaMissing",
    "ReplicationLinkDown",
    "TargetDown",
    "UnknownWrites",
    "WriterStalled",
];

/// Prometheus' HTTP API.
struct Prometheus(SocketAddrV4);

impl Prometheus {
    /// The `data` of an answer; an error if it is none.
    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let client = Client::new(self.0, Duration::from_secs(10), 64 << 20);
        let path = format!("/api/v1/{path}?{}", query.join("&"));
        let answer = wait_for(client.get(&path)).map_err(|e| e.to_string())?;
        let mut body: Value = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
        match body["status"].as_str() {
            Some("success") => Ok(body["data"].take()),
            _ => Err(body["error"].to_string()),
        }
    }

    /// The series of a query over a span of time, each with its labels.
    fn range(&self, query: &str, span: &(String, String)) -> Vec<BTreeMap<String, String>> {
        let (start, end) = span;
        let parameters = [
            ("query", query),
            ("start", start),
            ("end", end),
            ("step", "1"),
        ];
        let data = self
            .get("query_range", &parameters)
            .unwrap_or_else(|e| panic!("{query}: {e}"));
        let series = data["result"].as_array().unwrap().iter();
        series
            .map(|one| {
                let points = one["values"].as_array().unwrap();
                assert!(!points.is_empty(), "{query}");
                serde_json::from_value(one["metric"].clone()).unwrap()
            })
            .collect()
    }

    /// Whether a query has an answer now.
    fn has(&self, query: &str) -> bool {
        let data = self.get("query", &[("query", query)]).unwrap_or_default();
        data["result"].as_array().is_some_and(|r| !r.is_empty())
    }

    fn firing(&self) -> BTreeSet<String> {
        let data = self.get("alerts", &[]).unwrap_or_default();
        let alerts = data["alerts"].as_array().into_iter().flatten();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing
            .filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned))
            .collect()
    }

    /// Of the targets of a job: whether they are up.
    fn health_of(&self, job: &str) -> Vec<String> {
        let data = self.get("targets", &[]).unwrap_or_default();
        let targets = data["activeTargets"].as_array().into_iter().flatten();
        targets
            .filter(|target| target["labels"]["job"] == job)
            .map(|target| target["health"].as_str().unwrap().to_owned())
            .collect()
    }

    fn targets_down(&self) -> Vec<String> {
        let Ok(data) = self.get("targets", &[]) else {
            return vec!["Prometheus".to_owned()];
        };
        let targets = data["activeTargets"].as_array().into_iter().flatten();
        if targets.clone().count() == 0 {
            return vec!["none known yet".to_owned()];
        }
        targets
            .filter(|target| target["health"] != "up")
            .map(|target| target["labels"].to_string())
            .collect()
    }
}

fn encoded(text: &str) -> String {
    let keep = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~".contains(b);
    text.bytes()
        .map(|b| match keep(&b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}

/// The time, or somewhat later: the steps of a range need not hit its end.
fn time(later: Duration) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    format!("{:.3}", (since.unwrap() + later).as_secs_f64())
}

/// As Grafana does it, for a lab that is scraped once a second.
fn filled_in(query: &str, lab: &str) -> String {
    let filled = query
        .replace("$__rate_interval", "4s")
        .replace("$lab", lab)
        .replace("$node", ".+");
    assert!(!filled.contains('$'), "a variable is left: {filled}");
    filled
}

/// One query, where it stands, and the labels that its legend shows.
struct Query {
    place: String,
    panel: String,
    expr: String,
    labels: Vec<String>,
}

fn queries_of(name: &str, dashboard: &Value) -> Vec<Query> {
    let mut queries = Vec::new();
    let mut add = |panel: &Value, expr: &Value, legends: &[&Value]| {
        let panel = panel.as_str().unwrap().to_owned();
        queries.push(Query {
            place: format!("{name}, {panel}"),
            panel,
            expr: expr.as_str().unwrap().to_owned(),
            labels: legends
                .iter()
                .flat_map(|l| labels_in(l.as_str().unwrap()))
                .collect(),
        });
    };
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            add(&panel["title"], &target["expr"], &[&target["legendFormat"]]);
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        add(
            &annotation["name"],
            &annotation["expr"],
            &[&annotation["titleFormat"]],
        );
    }
    queries
}

fn labels_in(legend: &str) -> Vec<String> {
    let parts = legend.split("{{").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("}}")?.0.trim().to_owned()))
        .collect()
}

/// The names of metrics that a text mentions, by the families that there are.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c: char| !is_name(c))
        // The program, its port in lab.toml, the library: not metrics.
        .filter(|word| !["redis_exporter", "redis_exporter_port", "redis_ha_lab"].contains(word))
        .filter(|word| {
            ["halab_", "redis_", "container_", "lab:", "replica:"]
                .iter()
                .any(|family| word.starts_with(family) && word.len() > family.len())
        })
        .map(str::to_owned)
        .collect()
}

/// The documents, and the scripts that ask Prometheus.
fn naming_metrics() -> Vec<String> {
    let mut found = vec![
        "README.md".to_owned(),
        "scripts/containers-test.sh".to_owned(),
        "nix/tests/failover/test.py".to_owned(),
    ];
    let documents = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let documents = documents.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    found.extend(
        documents
            .filter(|name| name.ends_with(".md"))
            .map(|name| format!("docs/{name}")),
    );
    found
}

#[test]
#[ignore = "needs Prometheus and the exporters; ./lab test runs it"]
fn every_query_has_an_answer_and_the_right_alerts_fire_when_the_primary_is_lost() {
    let mut lab = TestLab::start_as(Shape {
        profile: None,
        ..Shape::default()
    });
    for service in [Service::Prometheus, Service::RedisExporter] {
        assert!(
            monitoring::find(service).is_some(),
            "{service:?} is on PATH"
        );
    }
    let here = Service::ALL
        .iter()
        .copied()
        .filter(|s| monitoring::find(*s).is_some());
    for service in here {
        lab.runner.start_monitor(service.name()).unwrap();
    }
    lab.runner.start_proxy(&[]).unwrap();
    let with_containers = monitoring::find(Service::Cadvisor).is_some()
        && lab.log("redis-a").contains("running in its own cgroup");
    if !with_containers {
        println!("left out: container_ metrics; there is no cAdvisor, or no cgroup may be made");
    }
    let listens = Service::Prometheus.socket(lab.lab.monitoring.as_ref().unwrap());
    let prometheus = Prometheus(listens);

    wait_until("all targets up", || prometheus.targets_down().is_empty());
    assert!(prometheus.health_of("halab-writer").is_empty());
    let writer = lab.start_writer(&["--duration", "120s", "--rate", "2000"]);
    wait_until("the writer among them", || {
        prometheus.health_of("halab-writer") == ["up"]
    });
    wait_until("rules evaluated", || {
        prometheus.has("lab:primaries:sum == 1")
    });
    let begun = time(Duration::ZERO);
    wait_until("no alert", || prometheus.firing().is_empty());

    // The whole node: nobody calls the failover for it, so the Sentinels need down-after.
    let old = lab.primary().unwrap();
    // It stands still first, so that writes are on their way to it when it is killed, and have to
    // be sent again.
    lab.runner.signal_node(&old, Signal::STOP);
    lab.signal_server(&old, Signal::STOP);
    writer.wait_invoked(invoked(&writer.ledger) + 400);
    lab.runner.kill_node(&old);
    wait_until("the alert that there is no primary", || {
        prometheus.firing().contains("NoPrimary")
    });
    let new = lab.wait_failover_from(&old);
    wait_until("that alert cleared", || {
        !prometheus.firing().contains("NoPrimary")
    });
    wait_until("the alerts that the node is lost", || {
        let firing = prometheus.firing();
        firing.contains("TargetDown") && firing.contains("ReplicaMissing")
    });
    lab.runner.start_node(&old).unwrap();
    lab.wait_healthy();
    // The server alone: its node calls the failover. By a drill, whose writer tells Prometheus of
    // itself in place of one that was killed, and of its end.
    drop(writer);
    let begun_drill = time(Duration::ZERO);
    let drill = lab.halab(&["drill", "kill-primary", "--attach", "--rate", "2000"]);
    assert!(drill.status.success(), "{drill:?}");
    let drilled = (begun_drill, time(Duration::ZERO));
    assert_eq!(
        lab.primary().as_deref(),
        Some(old.as_str()),
        "{new} was primary"
    );
    wait_until("no writer any more", || {
        prometheus.health_of("halab-writer").is_empty()
    });
    lab.runner.stop_node(&old);
    lab.runner.start_node(&old).unwrap();
    lab.wait_healthy();
    // These two are about the last minutes.
    let lasting = ["FailoverFlapping", "FailedOver", "UnknownWrites"];
    wait_until("alerts cleared", || {
        let firing = prometheus.firing();
        firing.iter().all(|name| lasting.contains(&name.as_str())) && firing.contains(lasting[0])
    });
    // Failovers and starts, and nobody was refused; until somebody is.
    let failed_over = prometheus.range("ALERTS{alertname=\"FailedOver\"}", &drilled);
    assert_eq!(failed_over.len(), 1, "{failed_over:?}");
    let so_far = (begun.clone(), time(Duration::ZERO));
    let refusals = prometheus.range("ALERTS{alertname=\"AccessRefused\"}", &so_far);
    assert!(refusals.is_empty(), "{refusals:?}");
    let node = lab.primary().unwrap();
    lab.halab(&["cli", "--user", "exporter", &node, "GET", "halab:x"]);
    wait_until("the alert that somebody was refused", || {
        // Two looks at it: the panel shows a rate.
        prometheus.firing().contains("AccessRefused")
            && prometheus.has("rate(redis_errors_total{err=\"NOPERM\"}[4s])")
    });
    let span = (begun, time(Duration::from_secs(1)));

    let wanted: BTreeSet<String> = FIRING.map(str::to_owned).into();
    let fired = prometheus.range("ALERTS{alertstate=\"firing\"}", &span);
    let fired: BTreeSet<String> = fired.iter().map(|a| a["alertname"].clone()).collect();
    assert_eq!(fired, wanted, "alerts that fired");

    let known = prometheus
        .get("label/__name__/values", &[])
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect::<BTreeSet<_>>();
    let exists = |name: &String| {
        known.contains(name) || (name.starts_with("container_") && !with_containers)
    };

    let mut problems = Vec::new();
    let mut asked = 0;
    for name in DASHBOARDS {
        let dashboard: Value =
            serde_json::from_str(&text(&format!("grafana/dashboards/{name}.json"))).unwrap();
        for query in queries_of(name, &dashboard) {
            asked += 1;
            let missing = metrics_in(&query.expr).into_iter().filter(|m| !exists(m));
            problems.extend(missing.map(|m| format!("{}: there is no {m}", query.place)));
            let series = prometheus.range(&filled_in(&query.expr, &lab.lab.name), &span);
            let may_be_empty = EMPTY.iter().any(|(panel, _)| *panel == query.panel)
                || (query.expr.contains("container_") && !with_containers);
            if series.is_empty() != may_be_empty {
                problems.push(format!(
                    "{}: {} series: {}",
                    query.place,
                    series.len(),
                    query.expr
                ));
            }
            // The overview shows all of the drill.
            if name == DASHBOARDS[0]
                && prometheus
                    .range(&filled_in(&query.expr, &lab.lab.name), &drilled)
                    .is_empty()
            {
                problems.push(format!(
                    "{}: nothing of the drill: {}",
                    query.place, query.expr
                ));
            }
            for label in &query.labels {
                if series.iter().any(|s| !s.contains_key(label)) {
                    problems.push(format!("{}: a series without {label}", query.place));
                }
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            if variable["type"] != "query" {
                continue;
            }
            let query = filled_in(variable["query"]["query"].as_str().unwrap(), &lab.lab.name);
            let inner = query
                .strip_prefix("label_values(")
                .unwrap()
                .strip_suffix(')')
                .unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let values = prometheus
                .get(&format!("label/{label}/values"), &[("match[]", selector)])
                .unwrap();
            let wanted: Vec<&str> = match label {
                "lab" => vec![&lab.lab.name],
                _ => lab.lab.nodes().map(|n| n.name.as_str()).collect(),
            };
            if values != serde_json::json!(wanted) {
                problems.push(format!("{name}, variable {label}: {values}"));
            }
        }
    }
    assert!(asked > 80, "only {asked} queries found");

    let rules = prometheus.get("rules", &[]).unwrap();
    let mut judged = 0;
    for rule in rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|g| g["rules"].as_array().unwrap())
    {
        judged += 1;
        let (name, expr) = (
            rule["name"].as_str().unwrap(),
            rule["query"].as_str().unwrap(),
        );
        if rule["health"] != "ok" {
            problems.push(format!("rule {name}: {}", rule["lastError"]));
        }
        let missing = metrics_in(expr).into_iter().filter(|m| !exists(m));
        problems.extend(missing.map(|m| format!("rule {name}: there is no {m}")));
        if rule["type"] == "recording" && prometheus.range(expr, &span).is_empty() {
            problems.push(format!("rule {name}: nothing recorded"));
        }
    }
    let stated: usize = ["alerts", "recording"]
        .map(|file| text(&format!("prometheus/rules/{file}.yml")))
        .iter()
        .map(|rules| rules.matches("- alert: ").count() + rules.matches("- record: ").count())
        .sum();
    assert_eq!(judged, stated, "rules loaded");

    for document in naming_metrics() {
        let named = text(&document);
        // In the list of metrics an info or a counter stands with its suffix, as Prometheus has it.
        let missing = metrics_in(&named)
            .into_iter()
            .filter(|m| !exists(m) && !known.contains(&format!("{m}_bucket")));
        problems.extend(missing.map(|m| format!("{document}: there is no {m}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
