//! The metrics of nodes and of the writer, against a lab in which something happens.

use std::net::SocketAddrV4;
use std::time::Duration;

use redis_ha_lab::http::{Client, wait_for};
use rustix::process::Signal;

use super::lab::{TestLab, wait_until};

/// What is served at `address`; nothing when nobody listens.
pub fn scrape(address: SocketAddrV4) -> Option<String> {
    let client = Client::new(address, Duration::from_secs(5), 1 << 20);
    let answer = wait_for(client.get("/metrics")).ok()?;
    String::from_utf8(answer.body.into()).ok()
}

/// The value of one series, such as `halab_node_role{role="primary"}`.
pub fn value(text: &str, series: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

impl TestLab {
    pub fn of_node(&self, node: &str, series: &str) -> Option<f64> {
        let monitoring = self.lab.monitoring.as_ref().unwrap();
        let text = scrape(monitoring.node_socket(self.lab.node(node).unwrap()))?;
        value(&text, series)
    }

    pub(super) fn of_writer(&self, series: &str) -> Option<f64> {
        let text = scrape(self.lab.monitoring.as_ref().unwrap().writer_socket())?;
        value(&text, series)
    }
}

#[test]
fn a_failover_shows_in_the_metrics_of_nodes_and_writer() {
    let lab = TestLab::start();
    let old = lab.primary().unwrap();
    let new = lab.replica();
    let role =
        |node: &str, role: &str| lab.of_node(node, &format!("halab_node_role{{role=\"{role}\"}}"));
    assert_eq!(role(&old, "primary"), Some(1.0));
    assert_eq!(role(&new, "replica"), Some(1.0));
    assert_eq!(lab.of_node(&new, "halab_node_promotable"), Some(1.0));
    assert_eq!(lab.of_node("sentinel-1", "halab_node_server_up"), Some(1.0));

    let writer = lab.start_writer(&["--duration", "30s", "--rate", "500"]);
    let acknowledged = "halab_writer_records_acknowledged_total{acknowledgement=\"replicated\"}";
    wait_until("records acknowledged", || {
        lab.of_writer(acknowledged).is_some_and(|n| n > 100.0)
    });
    let primary = |node: &str| format!("halab_writer_primary{{primary=\"{node}\"}}");
    assert_eq!(lab.of_writer(&primary(&old)), Some(1.0));
    lab.signal_server(&old, Signal::KILL);
    lab.wait_failover_from(&old);
    let called = "halab_node_failover_calls_total{outcome=\"done\"}";
    // All of it is in place before the Sentinels announce the new epoch: its metric comes last.
    wait_until("the metrics of the failover", || {
        role(&new, "primary") == Some(1.0)
            && role(&old, "replica") == Some(1.0)
            && lab.of_node(&old, "halab_node_promotable") == Some(1.0)
            && lab.of_node(&old, called) >= Some(1.0)
            && lab.of_node(&new, "halab_node_epoch") >= Some(1.0)
            && lab.of_writer(&primary(&new)) == Some(1.0)
            && lab.of_writer("halab_writer_longest_gap_seconds") > Some(0.01)
    });
    assert_eq!(
        lab.of_node(&old, "halab_node_server_starts_total"),
        Some(2.0)
    );
    assert_eq!(
        lab.of_node(&old, "halab_node_server_exits_total"),
        Some(1.0)
    );
    assert_eq!(
        lab.of_writer("halab_writer_primary_changes_total"),
        Some(1.0)
    );
    drop(writer);
}
