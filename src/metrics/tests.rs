//! The pages, and the document that lists all metrics, which must match them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::generated;

const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

async fn server(status: Option<Page>) -> MetricsServer {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc();
    registry.register("looks", "Looks taken", counter);
    let pages = Pages {
        status,
        ..Pages::default()
    };
    let server = MetricsServer::start_pages(LOCAL, registry, pages);
    server.await.unwrap()
}

/// Head and body of the answer to a request.
async fn ask(server: &MetricsServer, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn metrics_are_served_as_openmetrics() {
    let server = server(None).await;
    for request in ["GET /metrics", "GET /metrics?x=1"] {
        let (head, body) = ask(&server, request).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let kind = format!("content-type: {OPENMETRICS}\r\n");
        assert!(head.contains(&kind), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert_eq!(
            body,
            "# HELP looks Looks taken.\n# TYPE looks counter\nlooks_total 1\n# EOF\n"
        );
    }
    let (head, body) = ask(&server, "HEAD /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "");
}

#[tokio::test]
async fn what_a_node_states_is_served_as_json_and_nothing_else_is_there() {
    let page: Page = Box::new(|| "{}".to_owned());
    let (node, writer) = (server(Some(page)).await, server(None).await);
    let (head, body) = ask(&node, "GET /status").await;
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    assert_eq!(body, "{}");
    for (server, request, status) in [
        (&writer, "GET /status", "404 Not Found"),
        (&node, "POST /status", "405 Method Not Allowed"),
        (&node, "DELETE /metrics", "405 Method Not Allowed"),
        (&node, "GET /metricsx", "404 Not Found"),
        (&node, "GET /", "404 Not Found"),
    ] {
        let (head, body) = ask(server, request).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
        assert_eq!(body, HINT, "{request}");
    }
}

#[tokio::test]
async fn a_process_that_does_not_serve_answers_503_with_the_reason() {
    let serves = Arc::new(AtomicBool::new(true));
    let state = serves.clone();
    let health: Health = Box::new(move || match state.load(Ordering::Relaxed) {
        true => Ok("primary redis-a\n".into()),
        false => Err("no primary\n".into()),
    });
    let server = MetricsServer::start_with_health(LOCAL, Registry::default(), health);
    let server = server.await.unwrap();
    let (head, body) = ask(&server, "GET /healthz").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "primary redis-a\n");
    serves.store(false, Ordering::Relaxed);
    let (head, body) = ask(&server, "GET /healthz").await;
    assert!(
        head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{head}"
    );
    assert_eq!(body, "no primary\n");
}

/// The tables of `docs/metrics.md`: what the text of an exposition says of each metric.
fn table(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let mut rows: BTreeMap<&str, (&str, &str, Vec<&str>)> = BTreeMap::new();
    let mut order = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            rows.entry(name).or_default().1 = help;
            order.push(name);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            rows.entry(name).or_default().0 = kind;
        } else if let Some((sample, rest)) = line.split_once('{')
            && let Some(name) = order.iter().rev().find(|name| sample.starts_with(**name))
        {
            let labels = rest.split('}').next().unwrap_or_default().split(',');
            let labels = labels.filter_map(|l| Some(l.split_once('=')?.0));
            let known = &mut rows.get_mut(name).unwrap().2;
            for label in labels.filter(|l| *l != "le") {
                if !known.contains(&label) {
                    known.push(label);
                }
            }
        }
    }
    let mut out = String::from("| metric | type | labels | meaning |\n| -- | -- | -- | -- |\n");
    for name in order {
        let (kind, help, labels) = &rows[name];
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<String> = labels.iter().map(|l| format!("`{l}`")).collect();
        let _ = writeln!(
            out,
            "| `{name}{suffix}` | {kind} | {} | {} |",
            labels.join(", "),
            help.trim_end_matches('.')
        );
    }
    out
}

#[test]
fn generated_metrics_md() {
    for (part, registry) in [
        ("node", crate::node::example_registry()),
        ("writer", crate::writer::example_registry()),
        ("proxy", crate::proxy::example_registry()),
    ] {
        generated::part(
            "docs/metrics.md",
            part,
            &format!("\n{}\n", table(&registry)),
        );
    }
}
