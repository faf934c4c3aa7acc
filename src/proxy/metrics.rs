//! The metrics of a proxy, for Prometheus. `docs/metrics.md` lists their names and meanings.
//!
//! Nothing here takes a lock for a command: what a client's task answers in one pass is counted in
//! a [`Tally`] of its own, and added once at the end of the pass.

mod tally;

use std::fmt;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{Lab, Reads};
use crate::confirmation::Session;
use crate::metrics::{Health, MetricsServer};

use super::ProxyOptions;
use tally::TalliedTotals;

pub(super) use tally::Tally;

/// The session in which the proxy is, if there is a primary.
type SessionWatch = watch::Receiver<Option<Arc<Session>>>;

/// The counts of a proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct ProxyMetrics {
    /// Clients that were disconnected because a command may or may not have been executed.
    pub(super) unknown: Counter,
    /// Commands that were sent again to another primary.
    pub(super) sent_again: Counter,
    /// Commands that were answered with an error for want of a primary.
    pub(super) no_primary: Counter,
    /// Changes of the primary.
    pub(super) primary_changes: Counter,
    /// Clients that were refused because there is no room for them.
    pub(super) clients_refused: Counter,
    /// Clients that were refused because their TLS handshake failed.
    pub(super) handshakes_failed: Counter,
    clients: Gauge,
    certificate_end: Gauge,
    answers_held: Gauge,
    totals: Arc<TalliedTotals>,
    refusal: Arc<Mutex<Option<String>>>,
}

impl ProxyMetrics {
    /// Notes that the primary refuses the proxy. Returns whether the reason is new.
    pub(super) fn is_new_refusal(&self, why: &str) -> bool {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.replace(why.to_owned()).as_deref() != Some(why)
    }

    /// Notes when the certificate that clients are shown ends, as a Unix time in seconds.
    pub(super) fn certificate_ends(&self, at: i64) {
        self.certificate_end.set(at);
    }

    /// Counts a client until the result is dropped.
    pub(super) fn client(&self) -> ClientCount {
        self.clients.inc();
        ClientCount {
            metrics: self.clone(),
            held: 0,
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "clients",
            "Clients that are connected",
            self.clients.clone(),
        );
        registry.register(
            "clients_refused",
            "Clients that were refused because the maximum number of clients was reached",
            self.clients_refused.clone(),
        );
        registry.register(
            "handshakes_failed",
            "Clients that were refused because they did not connect by TLS, or showed no valid \
             certificate where they have to",
            self.handshakes_failed.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate that clients are shown ends, in Unix time; 0 without TLS",
            Unit::Seconds,
            self.certificate_end.clone(),
        );
        registry.register(
            "answers_held",
            "Commands whose answers the proxy has, and has not given yet: they wait for a \
             confirmation, or for an earlier command of their client",
            self.answers_held.clone(),
        );
        registry.register(
            "primary_changes",
            "Number of changes of the primary",
            self.primary_changes.clone(),
        );
        registry.register(
            "sent_again",
            "Commands that were sent again after the primary or the connection to it was lost, \
             because they were not executed before, or with --unanswered retry may have been",
            self.sent_again.clone(),
        );
        registry.register(
            "without_primary",
            "Commands that were answered with the error NOPRIMARY: they were not executed",
            self.no_primary.clone(),
        );
        registry.register(
            "unknown",
            "Clients that were disconnected because a command may or may not have been executed",
            self.unknown.clone(),
        );
    }
}

/// One client in the metrics.
#[derive(Debug)]
pub(super) struct ClientCount {
    metrics: ProxyMetrics,
    held: i64,
}

impl ClientCount {
    /// The client has so many answers that are not passed on.
    pub(super) fn holds(&mut self, answers: usize) {
        let now = i64::try_from(answers).unwrap_or(i64::MAX);
        if now != self.held {
            self.metrics.answers_held.inc_by(now - self.held);
            self.held = now;
        }
    }

    /// Adds what was answered.
    pub(super) fn answered(&self, tally: &Tally) {
        self.metrics.totals.add(tally);
    }
}

impl Drop for ClientCount {
    fn drop(&mut self) {
        self.holds(0);
        self.metrics.clients.dec();
    }
}

/// Reads the totals and the session at each request.
#[derive(Debug)]
struct TotalsCollector {
    totals: Arc<TalliedTotals>,
    sessions: SessionWatch,
    /// Name and address of each data node.
    data_nodes: Vec<(String, SocketAddrV4)>,
    max_clients: usize,
}

impl Collector for TotalsCollector {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let help = "Maximum number of clients";
        let max = ConstGauge::new(i64::try_from(self.max_clients).unwrap_or(i64::MAX));
        max.encode(to.encode_descriptor("max_clients", help, None, MetricType::Gauge)?)?;

        let help = "Commands answered: read: it only reads; write: it may write, also EXEC; other: \
                    it concerns the connection, was queued in a transaction, or was refused by the \
                    proxy";
        let mut family = to.encode_descriptor("commands", help, None, MetricType::Counter)?;
        for (kind, count) in self.totals.commands() {
            let labels = [("kind", kind)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }

        let help = "From the primary's answer to its confirmation: how long an answer was held";
        let unit = Some(&Unit::Seconds);
        let (sum, count, buckets) = self.totals.confirmation();
        to.encode_descriptor("confirmation", help, unit, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;

        let primary = primary(&self.sessions);
        let help =
            "1 for the data node that the proxy uses as the primary; all 0 while it has none";
        let mut family = to.encode_descriptor("primary", help, None, MetricType::Gauge)?;
        for (node, address) in &self.data_nodes {
            let labels = [("primary", node.as_str())];
            let is = i64::from(primary == Some(*address));
            ConstGauge::new(is).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The primary of the current session.
fn primary(sessions: &SessionWatch) -> Option<SocketAddrV4> {
    let session = sessions.borrow();
    let session = session.as_ref().filter(|session| !session.is_over())?;
    Some(session.primary)
}

/// All metrics of a proxy.
pub(super) fn registry(
    lab: &Lab,
    options: &ProxyOptions,
    metrics: &ProxyMetrics,
    sessions: SessionWatch,
) -> Registry {
    let mut registry = Registry::with_prefix("halab_proxy");
    let reads = match options.reads {
        Reads::Linearizable => "linearizable",
        Reads::Local => "local",
    };
    let labels = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("policy", options.policy.as_str().to_owned()),
        ("reads", reads.to_owned()),
    ];
    registry.register("build", "What runs, with its settings", Info::new(labels));
    metrics.register(&mut registry);
    let data_nodes = lab.data_nodes.iter();
    registry.register_collector(Box::new(TotalsCollector {
        totals: metrics.totals.clone(),
        sessions,
        data_nodes: data_nodes.map(|n| (n.name.clone(), n.socket())).collect(),
        max_clients: options.clients,
    }));
    registry
}

/// Whether the proxy serves: whether it has a primary.
fn health(lab: &Lab, sessions: SessionWatch) -> Health {
    let lab = lab.clone();
    Box::new(move || match primary(&sessions) {
        None => Err("no primary\n".to_owned()),
        Some(address) => {
            let node = lab.data_node_at(address);
            let name = node.map_or_else(|| address.to_string(), |node| node.name.clone());
            Ok(format!("primary {name}\n"))
        }
    })
}

/// Serves the metrics at the address in the options. A failure does not end the proxy: a second one
/// may find the address in use.
pub(super) async fn serve(
    lab: &Lab,
    options: &ProxyOptions,
    metrics: &ProxyMetrics,
    sessions: SessionWatch,
) -> Option<MetricsServer> {
    let address = options.metrics?;
    let registry = registry(lab, options, metrics, sessions.clone());
    let health = health(lab, sessions);
    match MetricsServer::start_with_health(address, registry, health).await {
        Ok(server) => {
            info!(%address, "metrics served");
            Some(server)
        }
        Err(error) => {
            warn!(%address, %error, "metrics not served");
            None
        }
    }
}
