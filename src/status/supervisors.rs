//! Requests the reports of all supervisors (`halab node`): `/status` beside each node's metrics,
//! all at once, each within a time limit.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;

use crate::config::Lab;
use crate::http::{Answer, Client, HttpError};
use crate::report::NodeReport;

use super::Reached;

/// Longest accepted answer.
const LONGEST: usize = 64 * 1024;

/// The report of each supervisor, by the node's name; empty in a lab without `[monitoring]`, where
/// supervisors serve no reports.
pub(super) async fn ask(lab: &Lab) -> BTreeMap<String, Reached<NodeReport>> {
    let Some(monitoring) = &lab.monitoring else {
        return BTreeMap::new();
    };
    // From the start of the connect to the end of the answer.
    let limit = lab.timing.answer_limit();
    let asked = lab.nodes().map(|node| async {
        let at = monitoring.node_socket(node);
        let report = match get(at, limit).await {
            Ok(report) if report.node == node.name => Reached::Up(report),
            Ok(report) => Reached::Unreachable(format!("the node there is {}", report.node)),
            Err(why) => Reached::Unreachable(why),
        };
        (node.name.clone(), report)
    });
    join_all(asked).await.into_iter().collect()
}

async fn get(at: SocketAddrV4, limit: Duration) -> Result<NodeReport, String> {
    match Client::new(at, limit, LONGEST).get("/status").await {
        Ok(answer) => {
            read(&answer).ok_or_else(|| format!("{at}: no report; it may be an older halab"))
        }
        Err(slow @ HttpError::TooSlow(_)) => Err(format!("{at} {slow}")),
        Err(error) => Err(format!("{at}: {error}")),
    }
}

fn read(answer: &Answer) -> Option<NodeReport> {
    (answer.status == 200).then(|| serde_json::from_slice(&answer.body).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_parsed_and_anything_else_is_not() {
        let parsed = |status, body: &'static str| {
            read(&Answer {
                status,
                body: body.into(),
            })
        };
        let report = parsed(200, "{\"node\":\"redis-a\"}").unwrap();
        assert_eq!(report.node, "redis-a");
        for (status, body) in [
            (404, "metrics are at /metrics\n"),
            (404, "{\"node\":\"redis-a\"}"),
            (200, "[1]"),
            (200, ""),
        ] {
            assert_eq!(parsed(status, body), None);
        }
    }

    #[tokio::test]
    async fn a_silent_supervisor_delays_the_answer_by_no_more_than_the_limit() {
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
        // Its backlog accepts the connection, and nothing answers.
        let _silent = tokio::net::TcpListener::bind(at).await.unwrap();
        let asked = ask(&lab).await;
        let Reached::Unreachable(why) = &asked["redis-a"] else {
            panic!("{asked:?}");
        };
        assert!(why.contains("did not answer within"), "{why}");
    }
}
