//! The monitoring services and their programs.

use std::net::SocketAddrV4;

use crate::config::Monitoring;

/// A monitoring service.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Service {
    /// Scrapes metrics and evaluates alerts.
    Prometheus,
    /// Shows the dashboards.
    Grafana,
    /// Exports the metrics of the Redis servers and the Sentinels.
    RedisExporter,
    /// Reports the resource usage of each cgroup.
    Cadvisor,
}

impl Service {
    /// All services, in the order of lists.
    pub const ALL: &'static [Service] = <Service as strum::VariantArray>::VARIANTS;

    /// Its name in commands, logs and folders.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The service of that name.
    pub fn named(name: &str) -> Option<Service> {
        name.parse().ok()
    }

    /// The possible names of its program.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Service::Prometheus => &["prometheus"],
            Service::Grafana => &["grafana"],
            Service::RedisExporter => &["redis_exporter", "prometheus-redis-exporter"],
            Service::Cadvisor => &["cadvisor"],
        }
    }

    /// The address on which it listens.
    pub fn socket(self, monitoring: &Monitoring) -> SocketAddrV4 {
        let port = match self {
            Service::Prometheus => monitoring.prometheus_port,
            Service::Grafana => monitoring.grafana_port,
            Service::RedisExporter => monitoring.redis_exporter_port,
            Service::Cadvisor => monitoring.cadvisor_port,
        };
        SocketAddrV4::new(monitoring.address, port)
    }
}

/// How Prometheus discovers a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterDiscovery {
    /// A static target (`static_configs`), which is down while no writer runs.
    Static,
    /// A target file (`file_sd_configs`), which a writer creates while it runs.
    ByFile,
}

/// What the configuration of a service depends on besides the lab.
#[derive(Debug, Clone, Copy)]
pub struct ScrapeContext<'a> {
    /// The services that are installed on this machine.
    pub services: &'a [Service],
    /// How Prometheus discovers a writer.
    pub writers: WriterDiscovery,
    /// The addresses of the cAdvisors of the lab's hosts; `None`: one, on this machine.
    pub cadvisors: Option<&'a [SocketAddrV4]>,
    /// Another place of the nodes' cgroups: with cgroup v2, a cgroup delegated to this user.
    pub delegated: Option<&'a str>,
}
