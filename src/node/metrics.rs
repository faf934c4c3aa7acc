//! The metrics of a node, for Prometheus. `docs/metrics.md` has their names and meanings.
//!
//! They are set from the observations and decisions of the node. If a gauge has one series for each
//! state, at most one of them is 1.

pub(super) mod data;
mod resources;

use std::net::SocketAddrV4;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::{info, warn};

use crate::config::{Lab, Node};
use crate::metrics::MetricsServer;

use super::shared_report::SharedReport;

/// The metrics of every node.
#[derive(Debug, Default)]
pub(super) struct NodeMetrics {
    server_up: Gauge,
    server_starts: Counter,
    server_exits: Counter,
    certificate_end: Gauge,
}

/// A registry with the metrics of every node.
fn registry(node: &Node, server_version: &str) -> Registry {
    let mut registry = Registry::with_prefix("halab_node");
    let labels = vec![
        ("kind", node.kind.name().to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("server_version", server_version.to_owned()),
    ];
    // The name of an info metric is that of its registry.
    registry.register("build", "What runs on the node", Info::new(labels));
    registry
}

impl NodeMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "server_up",
            "1 while the node's server process runs",
            self.server_up.clone(),
        );
        registry.register(
            "server_starts",
            "Starts of the server by its node",
            self.server_starts.clone(),
        );
        registry.register(
            "server_exits",
            "Unexpected exits of the server, including kills of a server that hung",
            self.server_exits.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate that the server shows ends, in Unix time; 0 without TLS",
            Unit::Seconds,
            self.certificate_end.clone(),
        );
    }

    /// The metrics of a Sentinel's node, with their registry.
    pub(super) fn of_sentinel(node: &Node, server_version: &str) -> (Self, Registry) {
        let metrics = NodeMetrics::default();
        let mut registry = registry(node, server_version);
        metrics.register(&mut registry);
        (metrics, registry)
    }

    pub(super) fn started(&self) {
        self.server_up.set(1);
        self.server_starts.inc();
    }

    pub(super) fn certificate_ends(&self, at: i64) {
        self.certificate_end.set(at);
    }

    pub(super) fn exited(&self) {
        self.server_up.set(0);
        self.server_exits.inc();
    }
}

/// Serves `registry` at the address of `lab.toml`. A failure is logged, and the node goes on.
pub(super) async fn serve(
    lab: &Lab,
    node: &Node,
    registry: Registry,
    report: &SharedReport,
) -> Option<MetricsServer> {
    let port = lab.monitoring.as_ref()?.node_port;
    let address = SocketAddrV4::new(lab.listens(node), port);
    let report = report.clone();
    let page = Box::new(move || report.page());
    match MetricsServer::start_with(address, registry, page).await {
        Ok(server) => {
            info!(node = %node.name, %address, "metrics served");
            Some(server)
        }
        Err(error) => {
            warn!(node = %node.name, %address, %error, "metrics are not served");
            None
        }
    }
}
