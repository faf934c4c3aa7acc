//! The metrics of a run, for Prometheus. `docs/metrics.md` lists their names and meanings.
//!
//! At each request a collector reads the counts of the journal. [`super::live`] has the values that
//! the journal does not count.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::{info, warn};

use crate::config::Lab;
use crate::metrics::{MetricsServer, Target};

use super::journal::{Journal, MetricsSample};
use super::{MetricsAt, WriteOptions};

/// Reads the journal at each request.
#[derive(Debug)]
struct JournalCollector {
    journal: Arc<Journal>,
    data_nodes: Vec<String>,
}

impl Collector for JournalCollector {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let MetricsSample {
            counts,
            quiet_for,
            longest_gap,
        } = self.journal.sample();
        let live = self.journal.live_metrics();
        counter(
            &mut to,
            "records_invoked",
            "Records that may have been sent, including those before the run was resumed",
            counts.invoked,
        )?;
        let name = "records_acknowledged";
        let help = "Records acknowledged: replicated, witnessed, or unconfirmed (policy none); \
                    before: acknowledged before the run was resumed";
        let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (kind, count) in [
            ("replicated", counts.replicated),
            ("witnessed", counts.witnessed),
            ("unconfirmed", counts.unconfirmed),
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
            "Records that were sent more than once, because their outcome was unknown",
            counts.sent_again,
        )?;
        gauge(
            &mut to,
            "records_open",
            "Records in flight or of unknown outcome: neither acknowledged nor failed for certain",
            None,
            counts.unknown() as f64,
        )?;
        counter(
            &mut to,
            "primary_changes",
            "Number of changes of the primary",
            counts.primary_changes,
        )?;
        let primary = live.primary();
        let help =
            "1 for the data node that the writer uses as the primary; all 0 while it has none";
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
            "Longest time between two acknowledged writes so far",
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

/// All metrics of a run.
pub(super) fn registry(lab: &Lab, options: &WriteOptions, journal: Arc<Journal>) -> Registry {
    let mut registry = Registry::with_prefix("halab_writer");
    let labels = vec![
        ("run", journal.run().to_string()),
        ("policy", options.policy.as_str().to_owned()),
    ];
    registry.register("run", "The current run", Info::new(labels));
    let live = journal.live_metrics().clone();
    registry.register_with_unit(
        "batch_latency",
        "From the first sending of a batch to its acknowledgement",
        Unit::Seconds,
        live.latency,
    );
    registry.register(
        "discovery_rounds",
        "Rounds in which all Sentinels and data nodes were asked for the primary",
        live.rounds,
    );
    registry.register(
        "refused_connections",
        "Write connections that a primary which answers does not accept; they are tried again",
        live.refused_connections,
    );
    registry.register_collector(Box::new(JournalCollector {
        journal,
        data_nodes: lab.data_nodes.iter().map(|n| n.name.clone()).collect(),
    }));
    registry
}

/// The target file's content, with the labels of all other targets of the lab.
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

/// Serves the metrics of a run, if the options request it. A failure does not end the run: a second
/// writer finds the address in use.
pub(super) async fn serve(
    lab: &Lab,
    options: &WriteOptions,
    journal: &Arc<Journal>,
) -> Option<MetricsServer> {
    let MetricsAt { address, file } = options.metrics.as_ref()?;
    match MetricsServer::start(*address, registry(lab, options, journal.clone())).await {
        Ok(mut server) => {
            info!(%address, "metrics served");
            if let Some(file) = file
                && let Err(error) = server.write_target_file(&target(lab, file))
            {
                let file = file.display();
                warn!(%file, %error, "cannot write the target file for Prometheus");
            }
            Some(server)
        }
        Err(error) => {
            warn!(%address, %error, "metrics not served");
            None
        }
    }
}
