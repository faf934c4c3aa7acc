//! `prometheus.yml`: scrape targets and labels.
//!
//! Every series has the labels `lab`, `node` and `kind`, with the names of `lab.toml`. A series
//! that refers to another node by its address also gets that name, as `replica` or `primary`.

use std::fmt::Write;
use std::net::SocketAddrV4;

use crate::config::{Lab, Node};

use super::service::{ScrapeContext, Service, WriterDiscovery};

/// The global settings. One second is a short interval for Prometheus, but long compared with a
/// failover.
const HEAD: &str = "\
# Generated from lab.toml by `halab monitor prometheus`; the shipped file by ./lab generate.
global:
  scrape_interval: 1s
  scrape_timeout: 900ms
  evaluation_interval: 1s

rule_files:
  - rules/*.yml

scrape_configs:
";

/// Unused metrics of redis_exporter, half of its series.
const REDIS_DROPPED: &str = "redis_(db_(keys_|avg_).*|config_.*|defrag_.*|tracking_.*|expire.*|io_thread.*|\
                             number_of_.*|cluster_.*|commands_latencies_.*|client_recent_.*|lazyfree.*)";
/// The metrics of cAdvisor that are kept.
const CONTAINER_KEPT: &str = "container_(cpu_(usage|user|system)_seconds_total|cpu_cfs_throttled_seconds_total|\
                              memory_(rss|cache|usage_bytes|working_set_bytes|failcnt)|processes|threads|\
                              file_descriptors|sockets|spec_memory_limit_bytes|start_time_seconds)";

/// The folder beside the configuration in which Prometheus discovers writers.
pub(super) const WRITERS: &str = "writers";

/// The configuration for a lab, on a machine with the services `context.services`; `None` for a lab
/// without monitoring.
pub fn prometheus_yml(lab: &Lab, context: &ScrapeContext) -> Option<String> {
    let monitoring = lab.monitoring.as_ref()?;
    let mut out = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  - job_name: halab-node\n    static_configs:");
    for node in lab.nodes() {
        let at = monitoring.node_socket(node);
        target(&mut out, lab, &at.to_string(), &node.name, node.kind.name());
    }
    let _ = writeln!(out, "  - job_name: halab-writer");
    match context.writers {
        // The target is down while no writer runs; no alert depends on it.
        WriterDiscovery::Static => {
            out.push_str("    static_configs:\n");
            let at = monitoring.writer_socket();
            target(&mut out, lab, &at.to_string(), "writer", "writer");
        }
        WriterDiscovery::ByFile => {
            let _ = writeln!(
                out,
                "    file_sd_configs:\n      - files: [{WRITERS}/*.json]"
            );
        }
    }
    if let Some(at) = proxy(lab) {
        let _ = writeln!(out, "  - job_name: halab-proxy\n    static_configs:");
        target(&mut out, lab, &at.to_string(), "proxy", "proxy");
    }
    if context.services.contains(&Service::RedisExporter) {
        redis(&mut out, lab, Service::RedisExporter.socket(monitoring));
    }
    match context.cadvisors {
        Some([]) => {}
        Some(given) => cadvisor(&mut out, lab, given),
        None if context.services.contains(&Service::Cadvisor) => {
            cadvisor(&mut out, lab, &[Service::Cadvisor.socket(monitoring)]);
        }
        None => {}
    }
    let _ = writeln!(out, "  - job_name: prometheus\n    static_configs:");
    let at = Service::Prometheus.socket(monitoring);
    target(&mut out, lab, &at.to_string(), "prometheus", "monitoring");
    Some(out)
}

/// The address of the proxy's metrics, if Prometheus can reach it. A proxy that serves only the
/// clients of another host listens on a loopback address of that host.
fn proxy(lab: &Lab) -> Option<SocketAddrV4> {
    let (monitoring, _) = (lab.monitoring.as_ref()?, lab.proxy.as_ref()?);
    let is_near = |at: &SocketAddrV4| at.ip().is_loopback() == monitoring.address.is_loopback();
    lab.proxy_metrics().filter(is_near)
}

fn target(out: &mut String, lab: &Lab, at: &str, node: &str, kind: &str) {
    let _ = writeln!(
        out,
        "      - targets: [\"{at}\"]\n        labels: {{ lab: {}, node: {node}, kind: {kind} }}",
        lab.name
    );
}

/// The URL scheme for redis_exporter, with or without TLS.
pub(super) fn scheme(lab: &Lab) -> &'static str {
    if lab.security.tls { "rediss" } else { "redis" }
}

/// One exporter serves all nodes; each scrape specifies the node.
fn redis(out: &mut String, lab: &Lab, exporter: SocketAddrV4) {
    let _ = writeln!(
        out,
        "  - job_name: redis\n    metrics_path: /scrape\n    static_configs:"
    );
    let scheme = scheme(lab);
    for node in lab.nodes() {
        let at = format!("{scheme}://{}", node.socket());
        target(out, lab, &at, &node.name, node.kind.name());
    }
    let _ = write!(
        out,
        "    relabel_configs:
      - source_labels: [__address__]
        target_label: __param_target
      - source_labels: [__address__]
        regex: {scheme}://(.*)
        target_label: instance
      - target_label: __address__
        replacement: \"{exporter}\"
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: {REDIS_DROPPED}
        action: drop
      - source_labels: [db]
        regex: db[1-9][0-9]*
        action: drop
"
    );
    for node in &lab.data_nodes {
        let address = escaped(&node.address.to_string());
        let name = &node.name;
        for (source, regex, label) in [
            ("slave_ip", address.clone(), "replica"),
            (
                "master_address",
                format!("{address}:{}", node.port),
                "primary",
            ),
        ] {
            let _ = writeln!(
                out,
                "      - source_labels: [{source}]\n        regex: {regex}\n        target_label: {label}\n        \
                 replacement: {name}"
            );
        }
    }
}

/// The label of a node's container in `compose.yaml`, as named by cAdvisor.
const NODE_LABEL: &str = "container_label_redis_ha_lab_node";

/// A regular expression for the cgroups of these nodes, matched against the cgroup and the label of
/// a container. Processes and containers are named `NAME@ADDRESS`, systemd units as in
/// nix/lib/units.nix.
fn cgroups(nodes: &[&Node]) -> String {
    let any = |name: &dyn Fn(&Node) -> String| {
        let names: Vec<String> = nodes.iter().map(|node| name(node)).collect();
        names.join("|")
    };
    let placed = any(&|node| format!("{}@{}", node.name, escaped(&node.address.to_string())));
    let named = any(&|node| node.name.clone());
    format!("(.*/halab/|.*;)({placed});?|.*/halab-(data-node|sentinel)@({named})\\.service;?")
}

/// The cgroup of a node, or the label of its container, has its name and address, which
/// distinguishes several labs on one machine.
fn cadvisor(out: &mut String, lab: &Lab, at: &[SocketAddrV4]) {
    let _ = writeln!(
        out,
        "  - job_name: cadvisor\n    honor_timestamps: false\n    static_configs:"
    );
    for at in at {
        target(out, lab, &at.to_string(), "cadvisor", "monitoring");
    }
    let _ = write!(
        out,
        "    metric_relabel_configs:
      - source_labels: [__name__]
        regex: {CONTAINER_KEPT}
        action: keep
      - source_labels: [id, {NODE_LABEL}]
        regex: {}
        action: keep
",
        cgroups(&lab.nodes().collect::<Vec<_>>())
    );
    for node in lab.nodes() {
        let cgroup = cgroups(&[node]);
        for (label, value) in [("node", node.name.as_str()), ("kind", node.kind.name())] {
            let _ = writeln!(
                out,
                "      - source_labels: [id, {NODE_LABEL}]\n        regex: {cgroup}\n        target_label: {label}\n        \
                 replacement: {value}"
            );
        }
    }
    let _ = writeln!(
        out,
        "      - regex: id|name|image|container_label_.*\n        action: labeldrop"
    );
}

/// Escapes a text for a regular expression. The dot is the only special character in names and
/// addresses.
fn escaped(text: &str) -> String {
    text.replace('.', "\\.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Proxy;
    use crate::generated;

    fn shipped() -> Lab {
        Lab::parse(include_str!("../../lab.toml"), None).unwrap()
    }

    fn context(services: &[Service]) -> ScrapeContext<'_> {
        ScrapeContext {
            services,
            writers: WriterDiscovery::ByFile,
            cadvisors: None,
            delegated: None,
        }
    }

    fn yml(lab: &Lab, services: &[Service]) -> Option<String> {
        prometheus_yml(lab, &context(services))
    }

    #[test]
    fn a_writer_that_comes_and_goes_is_no_target_of_its_own() {
        let text = yml(&shipped(), Service::ALL).unwrap();
        assert!(text.contains("files: [writers/*.json]"), "{text}");
        assert!(!text.contains("9401"), "{text}");
    }

    #[test]
    fn generated_prometheus_yml_of_the_shipped_lab() {
        let always = ScrapeContext {
            writers: WriterDiscovery::Static,
            ..context(Service::ALL)
        };
        let yml = prometheus_yml(&shipped(), &always).unwrap();
        generated::file("prometheus/prometheus.yml", &yml);
    }

    #[test]
    fn a_lab_elsewhere_names_none_of_the_shipped_addresses() {
        let text = yml(&shipped().relocated([127, 9, 3]), Service::ALL).unwrap();
        assert!(text.contains("127.9.3.11:9400"));
        assert!(text.contains("redis-a@127\\.9\\.3\\.11"));
        assert!(!text.contains("127.0.0."), "{text}");
        assert!(!text.contains("127\\.0\\.0\\."), "{text}");
    }

    #[test]
    fn with_tls_the_exporter_is_told_so_and_instances_keep_their_names() {
        let mut lab = shipped();
        lab.security.tls = true;
        let text = yml(&lab, Service::ALL).unwrap();
        assert_eq!(text.matches("rediss://127.0.0.").count(), 5, "{text}");
        assert!(text.contains("regex: rediss://(.*)"), "{text}");
        assert_eq!(text.matches("redis://").count(), 0, "{text}");
    }

    #[test]
    fn a_proxy_is_a_target_where_there_is_one_that_prometheus_reaches() {
        let mut lab = shipped();
        let target = "targets: [\"127.0.0.51:9402\"]";
        assert!(yml(&lab, &[]).unwrap().contains(target));
        for (monitoring, proxy) in [
            ("192.0.2.31", Some("127.0.0.1")),
            ("127.0.0.31", Some("192.0.2.51")),
            ("127.0.0.31", None),
        ] {
            lab.monitoring.as_mut().unwrap().address = monitoring.parse().unwrap();
            lab.proxy = proxy.map(|address| Proxy {
                address: Some(address.parse().unwrap()),
                ..Proxy::default()
            });
            let text = yml(&lab, &[]).unwrap();
            assert!(!text.contains("halab-proxy"), "{text}");
        }
    }

    #[test]
    fn what_is_not_on_the_machine_is_no_target() {
        let text = yml(&shipped(), &[Service::Prometheus]).unwrap();
        assert!(!text.contains("cadvisor"), "{text}");
        assert!(!text.contains("redis://"), "{text}");
    }

    #[test]
    fn cadvisors_of_several_hosts_are_asked_where_they_are() {
        let given = ["192.0.2.11:8080", "192.0.2.12:8080"].map(|at| at.parse().unwrap());
        let asked = |cadvisors| {
            let context = ScrapeContext {
                cadvisors: Some(cadvisors),
                ..context(Service::ALL)
            };
            prometheus_yml(&shipped(), &context).unwrap()
        };
        let text = asked(&given);
        assert!(text.contains("192.0.2.11:8080") && text.contains("192.0.2.12:8080"));
        assert!(!text.contains("127.0.0.31:8080"), "{text}");
        assert!(!asked(&[]).contains("cadvisor"));
    }

    #[test]
    fn a_lab_without_monitoring_has_no_configuration() {
        let mut lab = shipped();
        lab.monitoring = None;
        assert_eq!(yml(&lab, Service::ALL), None);
    }
}
