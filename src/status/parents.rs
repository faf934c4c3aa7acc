//! Asks the parents (`halab node`) what they state: `/status` beside each node's metrics, all at once, each within a limit.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Lab;
use crate::report::Report;

use super::Reached;

/// From the connect to the end of the answer.
const LIMIT: Duration = Duration::from_millis(500);
/// Longest answer that is read.
const LONGEST: u64 = 64 * 1024;
const REQUEST: &[u8] = b"GET /status HTTP/1.1\r\nHost: halab\r\nConnection: close\r\n\r\n";

/// What each parent states, by the node's name; nothing in a lab without `[monitoring]`, where nobody can be asked.
pub(super) async fn ask(lab: &Lab) -> BTreeMap<String, Reached<Report>> {
    let Some(monitoring) = &lab.monitoring else {
        return BTreeMap::new();
    };
    let asked = lab.nodes().map(|node| async {
        let at = monitoring.node_socket(node);
        let report = match timeout(LIMIT, get(at)).await {
            Ok(Ok(report)) if report.node == node.name => Reached::Up(report),
            Ok(Ok(report)) => Reached::Unreachable(format!("the node there is {}", report.node)),
            Ok(Err(error)) => Reached::Unreachable(format!("{at}: {error}")),
            Err(_) => Reached::Unreachable(format!("{at} did not answer within {LIMIT:?}")),
        };
        (node.name.clone(), report)
    });
    join_all(asked).await.into_iter().collect()
}

async fn get(at: SocketAddrV4) -> io::Result<Report> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    read(&answer).ok_or_else(|| io::Error::other("no report: is it an older halab?"))
}

fn read(answer: &[u8]) -> Option<Report> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let ok = answer.starts_with(b"HTTP/1.1 200 ");
    ok.then(|| serde_json::from_slice(&answer[end + 4..]).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_anything_else_is_none() {
        let report = read(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n{\"node\":\"redis-a\"}").unwrap();
        assert_eq!(report.node, "redis-a");
        for other in [
            &b"HTTP/1.1 404 Not Found\r\n\r\nmetrics are at /metrics\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n[1]",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            assert_eq!(read(other), None);
        }
    }

    #[tokio::test]
    async fn a_parent_that_says_nothing_costs_no_more_than_the_limit() {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 254, 253]);
        lab.data_nodes.truncate(1);
        lab.sentinels.clear();
        let at = lab
            .monitoring
            .as_ref()
            .unwrap()
            .node_socket(&lab.data_nodes[0]);
        // Accepts, by its backlog, and never answers.
        let _silent = tokio::net::TcpListener::bind(at).await.unwrap();
        let asked = ask(&lab).await;
        let Reached::Unreachable(why) = &asked["redis-a"] else {
            panic!("{asked:?}");
        };
        assert!(why.contains("did not answer within"), "{why}");
    }
}
