//! What a run tells about itself, for Prometheus. Names and meanings: `docs/metrics.md`.
//!
//! An observer: at each request it reads the counts that the journal keeps anyway. Only what the
//! journal has no count of is noted for it, in [`Live`].

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::{info, warn};

use crate::config::Lab;
use crate::metrics::{MetricsServer, Target};

use super::journal::{Journal, Vitals};
use super::{MetricsAt, Options};

/// From 0.25 ms to 16 s: a quiet lab acknowledges in 1 ms, a failover after down-after takes 6 s.
const LATENCY_BUCKETS: (f64, f64, u16) = (0.000_25, 2.0, 17);

/// What is noted for the metrics alone.
#[derive(Debug, Clone)]
pub(super) struct Live {
    latency: Histogram,
    rounds: Counter,
    primary: Arc<Mutex<Option<String>>>,
}

impl Live {
    pub(super) fn new() -> Self {
        let (start, factor, count) = LATENCY_BUCKETS;
        Live {
            latency: Histogram::new(exponential_buckets(start, factor, count)),
            rounds: Counter::default(),
            primary: Arc::default(),
        }
    }

    /// A batch is acknowledged, that long after it was first sent.
    pub(super) fn acknowledged(&self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
    }

    /// All Sentinels and data nodes are asked who is primary; who is, if that is known.
    pub(super) fn looked(&self, primary: Option<String>) {
        self.rounds.inc();
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = primary;
    }

    fn primary(&self) -> Option<String> {
        self.primary
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Reads the journal when it is asked to.
#[derive(Debug)]
struct Observer {
    journal: Arc<Journal>,
    data_nodes: Vec<String>,
}

impl Collector for Observer {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let Vitals {
            counts,
            quiet_for,
            longest_gap,
        } = self.journal.vitals();
        let live = self.journal.live();
        counter(
            &mut to,
            "records_invoked",
            "Records that may have been sent, those of a resumed run among them",
            counts.invoked,
        )?;
        let name = "records_acknowledged";
        let help = "Records acknowledged: confirmed by every other data node, witnessed by the Sentinels, or on \
                    the primary's word alone (policy none); before: in the run that is resumed";
        let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (kind, count) in [
            ("replicated", counts.replicated),
            ("witnessed", counts.witnessed),
            ("unconfirmed", counts.sent),
            ("before", counts.before),
        ] {
            let labels = [("acknowledgement", kind)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        counter(
            &mut to,
            "records_failed",
            "Records that failed for certain and were given up",
            counts.failed,
        )?;
        counter(
            &mut to,
            "records_sent_again",
            "Records that were sent more than once, since it was unknown what had become of them",
            counts.sent_again,
        )?;
        gauge(
            &mut to,
            "records_open",
            "Records in flight or of unknown fate: neither acknowledged nor failed for certain",
            None,
            counts.unknown() as f64,
        )?;
        counter(
            &mut to,
            "primary_changes",
            "How often another node was taken for the primary",
            counts.primary_changes,
        )?;
        let primary = live.primary();
        let help =
            "1 for the data node that the writer takes for the primary; all 0: it looks for one";
        let mut family = to.encode_descriptor("primary", help, None, MetricType::Gauge)?;
        for node in &self.data_nodes {
            let labels = [("primary", node.as_str())];
            let is = i64::from(primary.as_deref() == Some(node));
            ConstGauge::new(is).encode(family.encode_family(&labels)?)?;
        }
        gauge(
            &mut to,
            "since_acknowledgement",
            "Time since the last acknowledged write, or since the start",
            Some(&Unit::Seconds),
            quiet_for.as_secs_f64(),
        )?;
        gauge(
            &mut to,
            "longest_gap",
            "The longest time between two acknowledged writes so far",
            Some(&Unit::Seconds),
            longest_gap.as_secs_f64(),
        )
    }
}

fn counter(to: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauge(
    to: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(to.encode_descriptor(name, help, unit, MetricType::Gauge)?)
}

/// Everything that a run tells.
pub(super) fn registry(lab: &Lab, options: &Options, journal: Arc<Journal>) -> Registry {
    let mut registry = Registry::with_prefix("halab_writer");
    let labels = vec![
        ("run", journal.run().to_string()),
        ("policy", options.policy.as_str().to_owned()),
    ];
    registry.register("run", "The run that writes", Info::new(labels));
    let live = journal.live().clone();
    registry.register_with_unit(
        "batch_latency",
        "From the first sending of a batch to its acknowledgement",
        Unit::Seconds,
        live.latency,
    );
    registry.register(
        "discovery_rounds",
        "How often all Sentinels and data nodes were asked who is primary",
        live.rounds,
    );
    registry.register_collector(Box::new(Observer {
        journal,
        data_nodes: lab.data_nodes.iter().map(|n| n.name.clone()).collect(),
    }));
    registry
}

/// The labels that Prometheus gives all others.
fn target(lab: &Lab, file: &Path) -> Target {
    let name = "writer".to_owned();
    Target {
        file: file.to_owned(),
        labels: vec![
            ("lab", lab.name.clone()),
            ("node", name.clone()),
            ("kind", name),
        ],
    }
}

/// Serves the metrics of a run where the options say. A run is a run without them: a second writer
/// finds the address taken.
pub(super) async fn serve(
    lab: &Lab,
    options: &Options,
    journal: &Arc<Journal>,
) -> Option<MetricsServer> {
    let MetricsAt { address, file } = options.metrics.as_ref()?;
    match MetricsServer::start(*address, registry(lab, options, journal.clone())).await {
        Ok(mut server) => {
            info!(%address, "metrics served");
            if let Some(file) = file
                && let Err(error) = server.tell(&target(lab, file))
            {
                warn!(file = %file.display(), %error, "Prometheus is not told of the metrics");
            }
            Some(server)
        }
        Err(error) => {
            warn!(%address, %error, "metrics not served");
            None
        }
    }
}
