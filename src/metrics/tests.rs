//! The endpoint against clients as they come: well-behaved, wrong, slow, silent, many. And the document
//! that lists all metrics, against what is served.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use prometheus_client::metrics::counter::Counter;

use super::*;

const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
/// A limit for a whole test; nothing here takes longer than a slow client may.
const TEST_LIMIT: Duration = Duration::from_secs(20);

async fn server() -> MetricsServer {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc();
    registry.register("looks", "Looks taken", counter);
    MetricsServer::start(LOCAL, registry).await.unwrap()
}

/// Sends `request` and reads until the server closes the connection.
async fn ask(server: &MetricsServer, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // One that is turned away may be closed already.
    let _ = stream.write_all(request).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn metrics_are_served_as_openmetrics() {
    let answer = ask(&server().await, b"GET /metrics HTTP/1.1\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(CONTENT_TYPE), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    assert_eq!(
        body,
        "# HELP looks Looks taken.\n# TYPE looks counter\nlooks_total 1\n# EOF\n"
    );
}

#[tokio::test]
async fn anything_else_is_refused() {
    let server = server().await;
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(REQUEST_MAX));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\u{1}\u{2}\r\n\r\n", "400"),
        (long.as_str(), "431"),
    ] {
        let answer = ask(&server, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_silent_client_is_cut_off_and_holds_up_nobody() {
    let server = server().await;
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    silent.write_all(b"GET /metrics").await.unwrap();
    let answer = ask(&server, b"GET /metrics HTTP/1.1\r\n\r\n").await;
    assert!(answer.contains("looks_total 1"), "{answer}");
    let mut rest = Vec::new();
    let cut = timeout(TEST_LIMIT, silent.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "cut off");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn beyond_the_most_at_once_clients_are_turned_away_until_others_are_done() {
    let server = server().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let turned_away = ask(&server, b"GET /metrics HTTP/1.1\r\n\r\n").await;
    assert_eq!(turned_away, "");
    drop(silent);
    let served = timeout(TEST_LIMIT, async {
        loop {
            if !ask(&server, b"GET /metrics HTTP/1.1\r\n\r\n")
                .await
                .is_empty()
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    served.await.expect("served again");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let mut registry = Registry::default();
    // More than the buffers of a connection hold.
    let help = "x".repeat(64 << 20);
    registry.register("looks", help, Counter::<u64>::default());
    let server = MetricsServer::start(LOCAL, registry).await.unwrap();
    let mut deaf = TcpStream::connect(server.address()).await.unwrap();
    deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    sleep(CONNECTION_LIMIT * 2).await;
    let mut rest = Vec::new();
    let ended = timeout(TEST_LIMIT, deaf.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "cut off");
    assert!(rest.len() < 64 << 20, "not the whole answer");
}

#[tokio::test]
async fn it_ends_when_it_is_dropped() {
    let server = server().await;
    let address = server.address();
    drop(server);
    let closed = timeout(TEST_LIMIT, async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    closed.await.expect("closed");
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
    let mut out = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
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
fn metrics_document_lists_every_metric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut wanted = document.clone();
    for (part, registry) in [
        ("node", crate::node::example_registry()),
        ("writer", crate::writer::example_registry()),
    ] {
        let mark = format!("<!-- {part} -->\n");
        let parts: Vec<&str> = wanted.split(&mark).collect();
        let [before, _, after] = parts[..] else {
            panic!("{mark} stands twice in docs/metrics.md");
        };
        wanted = format!("{before}{mark}\n{}\n{mark}{after}", table(&registry));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, wanted).unwrap();
    } else {
        assert_eq!(
            document, wanted,
            "UPDATE_DOCS=1 cargo test --lib metrics rewrites it"
        );
    }
}
