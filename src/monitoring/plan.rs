//! The files, command line and environment of each monitoring service.

use std::path::Path;

use crate::access::{Certificates, User};
use crate::config::{Lab, Monitoring};

use super::scraping::{WRITERS, prometheus_yml};
use super::service::{ScrapeContext, Service};

/// The cgroup of all nodes: `halab node --cgroup` creates its own in it.
const CGROUP: &str = "/halab";
/// The prefix of the cgroups of the nodes' units (nix/lib/units.nix).
const UNITS: &str = "/system.slice/halab-";
/// The label of a node's container in `compose.yaml`.
const NODE_LABEL: &str = "redis-ha-lab.node";

const RULES: [(&str, &str); 2] = [
    (
        "rules/alerts.yml",
        include_str!("../../prometheus/rules/alerts.yml"),
    ),
    (
        "rules/recording.yml",
        include_str!("../../prometheus/rules/recording.yml"),
    ),
];
const GRAFANA: [(&str, &str); 5] = [
    (
        "provisioning/datasources/datasource.yml",
        include_str!("../../grafana/provisioning/datasources/datasource.yml"),
    ),
    (
        "provisioning/dashboards/dashboards.yml",
        include_str!("../../grafana/provisioning/dashboards/dashboards.yml"),
    ),
    (
        "dashboards/ha-overview.json",
        include_str!("../../grafana/dashboards/ha-overview.json"),
    ),
    (
        "dashboards/redis-nodes.json",
        include_str!("../../grafana/dashboards/redis-nodes.json"),
    ),
    (
        "dashboards/containers.json",
        include_str!("../../grafana/dashboards/containers.json"),
    ),
];

/// How a service is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Additional environment variables.
    pub environment: Vec<(&'static str, String)>,
    /// Files to write before the start, relative to its folder, each with its content.
    pub files: Vec<(String, String)>,
    /// Folders to create before the start, likewise.
    pub folders: Vec<&'static str>,
}

impl Plan {
    /// The plan for a service with its files in `folder`; `None` for a lab without monitoring.
    pub fn new(
        lab: &Lab,
        service: Service,
        folder: &Path,
        context: &ScrapeContext,
    ) -> Option<Plan> {
        let monitoring = lab.monitoring.as_ref()?;
        match service {
            Service::Prometheus => prometheus(lab, monitoring, folder, context),
            Service::RedisExporter => Some(redis_exporter(lab, monitoring, folder)),
            Service::Cadvisor => Some(cadvisor(monitoring, context)),
            Service::Grafana => Some(grafana(monitoring, folder)),
        }
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    files.iter().map(own).collect()
}

fn prometheus(
    lab: &Lab,
    monitoring: &Monitoring,
    folder: &Path,
    context: &ScrapeContext,
) -> Option<Plan> {
    let socket = Service::Prometheus.socket(monitoring);
    let mut files = owned(&RULES);
    let config = prometheus_yml(lab, context)?;
    files.push(("prometheus.yml".to_owned(), config));
    let days = monitoring.prometheus_retention_days;
    // In Prometheus, MB means MiB.
    let mib = monitoring.prometheus_retention_mib;
    Some(Plan {
        arguments: vec![
            format!("--config.file={}", path(folder, "prometheus.yml")),
            format!("--storage.tsdb.retention.time={days}d"),
            format!("--storage.tsdb.retention.size={mib}MB"),
            format!("--storage.tsdb.path={}", path(folder, "data")),
            format!("--web.listen-address={socket}"),
            "--log.level=warn".to_owned(),
        ],
        files,
        folders: vec![WRITERS],
        ..Plan::default()
    })
}

fn redis_exporter(lab: &Lab, monitoring: &Monitoring, folder: &Path) -> Plan {
    let socket = Service::RedisExporter.socket(monitoring);
    // It has no default target: each scrape specifies one. The timeout is shorter than that of a
    // scrape, so a hung node does not delay it.
    let mut arguments = vec![
        "-redis.addr=".to_owned(),
        format!("-web.listen-address={socket}"),
        "-connection-timeout=800ms".to_owned(),
        // CONFIG GET reveals passwords, so its user may not use it; the dashboards do not need it.
        "-config-command=-".to_owned(),
    ];
    if lab.security.acl {
        arguments.push(format!("-redis.user={}", User::Exporter.name()));
        let passwords = path(folder, super::PASSWORDS);
        arguments.push(format!("-redis.password-file={passwords}"));
    }
    if let Some(certificates) = Certificates::of(lab) {
        let (ca, own) = (certificates.ca(), certificates.client());
        let mut flag = |name: &str, file: &Path| {
            arguments.push(format!("-{name}={}", file.display()));
        };
        flag("tls-ca-cert-file", &ca);
        if lab.security.mutual_tls {
            flag("tls-client-cert-file", &own);
            flag("tls-client-key-file", &own);
        }
    }
    Plan {
        arguments,
        ..Plan::default()
    }
}

fn cadvisor(monitoring: &Monitoring, context: &ScrapeContext) -> Plan {
    let socket = Service::Cadvisor.socket(monitoring);
    let cgroups = match context.delegated {
        Some(place) => format!("{CGROUP},{UNITS},{place}{CGROUP}"),
        None => format!("{CGROUP},{UNITS}"),
    };
    Plan {
        arguments: vec![
            format!("-listen_ip={}", socket.ip()),
            format!("-port={}", socket.port()),
            "-logtostderr".to_owned(),
            // Limits the cgroups to those of the nodes, Docker's containers and the machine.
            "-docker_only".to_owned(),
            format!("-raw_cgroup_prefix_whitelist={cgroups}"),
            // Of a container's labels, only the one with the name of the node.
            "-store_container_labels=false".to_owned(),
            format!("-whitelisted_container_labels={NODE_LABEL}"),
            "-housekeeping_interval=1s".to_owned(),
            "-disable_metrics=percpu,disk,diskIO".to_owned(),
        ],
        ..Plan::default()
    }
}

fn grafana(monitoring: &Monitoring, folder: &Path) -> Plan {
    let socket = Service::Grafana.socket(monitoring);
    let prometheus = Service::Prometheus.socket(monitoring);
    let home = path(folder, "dashboards/ha-overview.json");
    let mut environment = vec![
        ("HALAB_PROMETHEUS_URL", format!("http://{prometheus}")),
        ("HALAB_DASHBOARDS", path(folder, "dashboards")),
        ("GF_SERVER_HTTP_ADDR", socket.ip().to_string()),
        ("GF_SERVER_HTTP_PORT", socket.port().to_string()),
        ("GF_PATHS_DATA", path(folder, "data")),
        ("GF_PATHS_LOGS", path(folder, "logs")),
        ("GF_PATHS_PLUGINS", path(folder, "plugins")),
        ("GF_PATHS_PROVISIONING", path(folder, "provisioning")),
        ("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", home),
    ];
    environment.extend(GRAFANA_SETTINGS.map(|(name, value)| (name, value.to_owned())));
    Plan {
        arguments: vec!["server".to_owned()],
        environment,
        files: owned(&GRAFANA),
        ..Plan::default()
    }
}

/// Anonymous read-only access, so no password is needed; no outgoing connections.
const GRAFANA_SETTINGS: [(&str, &str); 10] = [
    ("GF_AUTH_ANONYMOUS_ENABLED", "true"),
    ("GF_AUTH_ANONYMOUS_ORG_ROLE", "Viewer"),
    ("GF_AUTH_BASIC_ENABLED", "false"),
    ("GF_AUTH_DISABLE_LOGIN_FORM", "true"),
    ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "true"),
    ("GF_ANALYTICS_REPORTING_ENABLED", "false"),
    ("GF_ANALYTICS_CHECK_FOR_UPDATES", "false"),
    ("GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false"),
    ("GF_NEWS_NEWS_FEED_ENABLED", "false"),
    ("GF_LOG_LEVEL", "warn"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::service::WriterDiscovery;

    const CONTEXT: ScrapeContext = ScrapeContext {
        services: Service::ALL,
        writers: WriterDiscovery::Static,
        cadvisors: None,
        delegated: None,
    };

    #[test]
    fn cadvisor_also_looks_where_a_user_without_rights_may_have_made_the_cgroups() {
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        let prefixes = |delegated| {
            let context = ScrapeContext {
                delegated,
                ..CONTEXT
            };
            let plan = Plan::new(&lab, Service::Cadvisor, Path::new("/x"), &context).unwrap();
            let flags = plan.arguments.into_iter();
            let flag = flags
                .filter_map(|f| Some(f.strip_prefix("-raw_cgroup_prefix_whitelist=")?.to_owned()));
            flag.collect::<Vec<_>>()
        };
        assert_eq!(prefixes(None), ["/halab,/system.slice/halab-"]);
        assert_eq!(
            prefixes(Some("/user.slice")),
            ["/halab,/system.slice/halab-,/user.slice/halab"]
        );
    }

    #[test]
    fn prometheus_keeps_samples_as_long_as_lab_toml_says() {
        let text = include_str!("../../lab.toml")
            .replace("retention_days = 2", "retention_days = 30")
            .replace("retention_mib = 512", "retention_mib = 4096");
        let lab = Lab::parse(&text, None).unwrap();
        let plan = Plan::new(&lab, Service::Prometheus, Path::new("/x"), &CONTEXT).unwrap();
        let flags = plan.arguments.iter();
        let retention: Vec<&str> = flags
            .filter_map(|flag| flag.strip_prefix("--storage.tsdb.retention."))
            .collect();
        assert_eq!(retention, ["time=30d", "size=4096MB"]);
    }

    #[test]
    fn with_tls_the_exporter_knows_the_ca_and_shows_a_certificate_where_one_is_wanted() {
        let mut lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.security = lab.security.for_state(Path::new("/state"));
        let tls = |lab: &Lab| -> Vec<String> {
            let plan = Plan::new(lab, Service::RedisExporter, Path::new("/x"), &CONTEXT).unwrap();
            let flags = plan.arguments.into_iter();
            flags.filter(|flag| flag.starts_with("-tls")).collect()
        };
        assert_eq!(tls(&lab), [] as [&str; 0]);
        lab.security.tls = true;
        let ca = "-tls-ca-cert-file=/state/secrets/ca.pem";
        assert_eq!(tls(&lab), [ca]);
        lab.security.mutual_tls = true;
        let own =
            ["cert", "key"].map(|of| format!("-tls-client-{of}-file=/state/secrets/client.pem"));
        assert_eq!(tls(&lab), [ca, &own[0], &own[1]]);
    }

    #[test]
    fn every_rule_file_and_dashboard_is_built_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (folder, built_in) in [("prometheus", &RULES[..]), ("grafana", &GRAFANA[..])] {
            let mut left = vec![root.join(folder)];
            let mut found = Vec::new();
            while let Some(path) = left.pop() {
                if path.is_dir() {
                    left.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
                } else {
                    let name = path.strip_prefix(root.join(folder)).unwrap();
                    found.push(name.display().to_string());
                }
            }
            // Tests of the rules and the generated files of the shipped lab are not needed in a
            // running lab.
            found.retain(|name| {
                !name.starts_with("tests/") && name != "prometheus.yml" && name != ".lint"
            });
            found.sort();
            let mut names: Vec<&str> = built_in.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            assert_eq!(found, names);
        }
    }

    #[test]
    fn every_service_listens_where_the_lab_says() {
        let lab = Lab::parse(include_str!("../../lab.toml"), None)
            .unwrap()
            .relocated([127, 9, 3]);
        for &service in Service::ALL {
            let plan = Plan::new(&lab, service, Path::new("/s"), &CONTEXT).unwrap();
            let text = format!("{:?}{:?}", plan.arguments, plan.environment);
            assert!(text.contains("127.9.3.31"), "{text}");
            assert!(!text.contains("127.0.0."), "{text}");
        }
    }
}
