//! Questions to a data node: its server by `INFO`, and by `CONFIG GET` if the operator's password
//! is available; its supervisor by its metrics.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::capacity::NodeFacts;
use crate::client::Connector;
use crate::config::{Lab, Node};
use crate::http::Client;

use super::facts::NodeAnswers;

/// Maximum length of the metrics that is read. A node has about 10 KiB.
const METRICS_MAX: usize = 1 << 20;

/// The facts of one data node.
///
/// # Errors
/// The reason why its server does not answer.
pub(super) async fn node(
    lab: &Lab,
    node: &Node,
    reader: &Connector,
    operator: &Connector,
) -> Result<NodeFacts, String> {
    let metrics = async {
        let at = lab.monitoring.as_ref()?.node_socket(node);
        let supervisor = Client::new(at, lab.timing.answer_limit(), METRICS_MAX);
        let answer = supervisor.get("/metrics").await.ok()?;
        String::from_utf8(answer.body.into()).ok()
    };
    let (info, buffers, metrics) =
        tokio::join!(info(node, reader), buffers(node, operator), metrics);
    let (info, asked) = info?;
    let answers = NodeAnswers {
        info: &info,
        metrics: metrics.as_deref(),
        buffers: buffers.as_deref(),
        asked,
    };
    let hang_timeout = u64::try_from(lab.timing.hang_timeout.as_millis()).unwrap_or(u64::MAX);
    Ok(answers.facts(&node.name, hang_timeout))
}

/// `INFO`, and the local time before and after.
async fn info(node: &Node, reader: &Connector) -> Result<(String, (u64, u64)), String> {
    let mut conn = reader
        .open(node.socket())
        .await
        .map_err(|e| e.to_string())?;
    let before = now();
    let info: String = conn
        .query(&redis::cmd("INFO"))
        .await
        .map_err(|e| e.to_string())?;
    Ok((info, (before, now())))
}

async fn buffers(node: &Node, operator: &Connector) -> Option<String> {
    const KEY: &str = "client-output-buffer-limit";
    let mut conn = operator.open(node.socket()).await.ok()?;
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg(KEY);
    let mut values: HashMap<String, String> = conn.query(&get).await.ok()?;
    values.remove(KEY)
}

/// Microseconds since 1970, like `server_time_usec`.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
