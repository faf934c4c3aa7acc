//! What `lab.toml` says, value by value, before it is known whether a lab can be built from it.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::keys;
use super::problem::Problem;
use super::reader::{Read, Reader, Table};
use super::{Lab, Monitoring, Node, NodeKind, Security, Timing, WriterDefaults};

/// All values of the file, each good or a problem that is already reported.
pub(super) struct Draft {
    pub name: Read<String>,
    pub primary_name: Read<String>,
    pub seed_primary: Read<String>,
    pub quorum: Read<usize>,
    pub data_nodes: Result<Vec<NodeDraft>, Problem>,
    pub sentinels: Result<Vec<NodeDraft>, Problem>,
    pub timing: TimingDraft,
    pub profiles: Vec<(String, TimingDraft)>,
    pub writer: WriterDraft,
    pub monitoring: Option<MonitoringDraft>,
    acl: Read<bool>,
    pub tls: Read<bool>,
    pub mutual_tls: Read<bool>,
}

/// One node as the file states it.
pub(super) struct NodeDraft {
    /// The path of its table.
    pub path: String,
    kind: NodeKind,
    pub name: Read<String>,
    pub address: Read<Ipv4Addr>,
    pub port: Read<u16>,
}

/// The time limits of `[timing]`, or of a profile with what it inherits.
#[derive(Clone)]
pub(super) struct TimingDraft {
    pub down_after: Read<Duration>,
    failover_timeout: Read<Duration>,
    pub hang_timeout: Read<Duration>,
    raise_limit: Read<Duration>,
}

/// The writer's defaults as the file states them.
pub(super) struct WriterDraft {
    count: Read<u64>,
    connections: Read<usize>,
    in_flight: Read<usize>,
    batch: Read<usize>,
    wait_timeout: Read<Duration>,
}

/// The monitoring as the file states it.
pub(super) struct MonitoringDraft {
    /// The path of its table.
    pub path: String,
    pub address: Read<Ipv4Addr>,
    pub prometheus_port: Read<u16>,
    pub grafana_port: Read<u16>,
    pub redis_exporter_port: Read<u16>,
    pub cadvisor_port: Read<u16>,
    pub node_port: Read<u16>,
    pub writer_address: Read<Ipv4Addr>,
    writer_port: Read<u16>,
}

impl Draft {
    /// Reads all sections; what is wrong with single values is reported to the reader.
    pub fn read(reader: &mut Reader<'_>) -> Draft {
        let lab = reader.table(&keys::LAB);
        let timing_table = reader.table(&keys::TIMING);
        let timing = TimingDraft {
            down_after: timing_table.millis(reader, &keys::DOWN_AFTER),
            failover_timeout: timing_table.millis(reader, &keys::FAILOVER_TIMEOUT),
            hang_timeout: timing_table.millis(reader, &keys::HANG_TIMEOUT),
            raise_limit: timing_table.millis(reader, &keys::RAISE_LIMIT),
        };
        let profiles = reader
            .named(&keys::PROFILES)
            .into_iter()
            .map(|(name, table)| (name, timing.overridden(reader, &table)))
            .collect();
        let writer = reader.table(&keys::WRITER);
        let monitoring = reader.table(&keys::MONITORING);
        let monitoring = monitoring
            .is_stated()
            .then(|| MonitoringDraft::read(reader, monitoring));
        let security = reader.table(&keys::SECURITY);
        Draft {
            name: lab.name(reader, &keys::LAB_NAME),
            primary_name: lab.name(reader, &keys::PRIMARY_NAME),
            seed_primary: lab.name(reader, &keys::SEED_PRIMARY),
            quorum: lab.integer(reader, &keys::QUORUM),
            data_nodes: nodes(reader, &keys::DATA_NODE, NodeKind::Data),
            sentinels: nodes(reader, &keys::SENTINEL, NodeKind::Sentinel),
            timing,
            profiles,
            writer: WriterDraft {
                count: writer.integer(reader, &keys::COUNT),
                connections: writer.integer(reader, &keys::CONNECTIONS),
                in_flight: writer.integer(reader, &keys::IN_FLIGHT),
                batch: writer.integer(reader, &keys::BATCH),
                wait_timeout: writer.millis(reader, &keys::WAIT_TIMEOUT),
            },
            monitoring,
            acl: security.flag(reader, &keys::ACL),
            tls: security.flag(reader, &keys::TLS),
            mutual_tls: security.flag(reader, &keys::MUTUAL_TLS),
        }
    }

    /// All nodes that could be read, data nodes first.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeDraft> {
        self.data_nodes.iter().chain(&self.sentinels).flatten()
    }

    /// The time limits of the profile, or of `[timing]` without one; nothing for an unknown one.
    pub fn timing(&self, profile: Option<&str>) -> Option<&TimingDraft> {
        match profile {
            None => Some(&self.timing),
            Some(name) => self
                .profiles
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, timing)| timing),
        }
    }

    /// The lab with these time limits; the problem in the way when a value is no good.
    pub fn build(&self, timing: &TimingDraft) -> Result<Lab, Problem> {
        Ok(Lab {
            here: None,
            name: value(&self.name)?,
            primary_name: value(&self.primary_name)?,
            quorum: value(&self.quorum)?,
            seed_primary: value(&self.seed_primary)?,
            data_nodes: build_nodes(&self.data_nodes)?,
            sentinels: build_nodes(&self.sentinels)?,
            timing: Timing {
                down_after: value(&timing.down_after)?,
                failover_timeout: value(&timing.failover_timeout)?,
                hang_timeout: value(&timing.hang_timeout)?,
                raise_limit: value(&timing.raise_limit)?,
            },
            writer: WriterDefaults {
                count: value(&self.writer.count)?,
                connections: value(&self.writer.connections)?,
                in_flight: value(&self.writer.in_flight)?,
                batch: value(&self.writer.batch)?,
                wait_timeout: value(&self.writer.wait_timeout)?,
            },
            monitoring: self
                .monitoring
                .as_ref()
                .map(MonitoringDraft::build)
                .transpose()?,
            security: Security {
                acl: value(&self.acl)?,
                tls: value(&self.tls)?,
                mutual_tls: value(&self.mutual_tls)?,
                secrets: None,
            },
        })
    }
}

impl MonitoringDraft {
    fn read<'t>(reader: &mut Reader<'t>, table: Table<'t>) -> MonitoringDraft {
        MonitoringDraft {
            address: table.address(reader, &keys::MONITORING_ADDRESS),
            prometheus_port: table.integer(reader, &keys::PROMETHEUS_PORT),
            grafana_port: table.integer(reader, &keys::GRAFANA_PORT),
            redis_exporter_port: table.integer(reader, &keys::REDIS_EXPORTER_PORT),
            cadvisor_port: table.integer(reader, &keys::CADVISOR_PORT),
            node_port: table.integer(reader, &keys::NODE_METRICS_PORT),
            writer_address: table.address(reader, &keys::WRITER_ADDRESS),
            writer_port: table.integer(reader, &keys::WRITER_METRICS_PORT),
            path: table.path,
        }
    }

    fn build(&self) -> Result<Monitoring, Problem> {
        Ok(Monitoring {
            address: value(&self.address)?,
            prometheus_port: value(&self.prometheus_port)?,
            grafana_port: value(&self.grafana_port)?,
            redis_exporter_port: value(&self.redis_exporter_port)?,
            cadvisor_port: value(&self.cadvisor_port)?,
            node_port: value(&self.node_port)?,
            writer_address: value(&self.writer_address)?,
            writer_port: value(&self.writer_port)?,
        })
    }
}

impl TimingDraft {
    /// These time limits with those that the table of a profile states instead.
    fn overridden<'t>(&self, reader: &mut Reader<'t>, table: &Table<'t>) -> TimingDraft {
        let mut or = |base: &Read<Duration>, key| {
            table
                .stated_millis(reader, key)
                .unwrap_or_else(|| base.clone())
        };
        TimingDraft {
            down_after: or(&self.down_after, &keys::DOWN_AFTER),
            failover_timeout: or(&self.failover_timeout, &keys::FAILOVER_TIMEOUT),
            hang_timeout: or(&self.hang_timeout, &keys::HANG_TIMEOUT),
            raise_limit: or(&self.raise_limit, &keys::RAISE_LIMIT),
        }
    }
}

fn nodes(
    reader: &mut Reader<'_>,
    section: &'static keys::Section,
    kind: NodeKind,
) -> Result<Vec<NodeDraft>, Problem> {
    let tables = reader.list(section)?;
    Ok(tables
        .into_iter()
        .map(|table| NodeDraft {
            kind,
            name: table.name(reader, &keys::NODE_NAME),
            address: table.address(reader, &keys::NODE_ADDRESS),
            port: table.integer(reader, &keys::PORT),
            path: table.path,
        })
        .collect())
}

fn build_nodes(drafts: &Result<Vec<NodeDraft>, Problem>) -> Result<Vec<Node>, Problem> {
    let drafts = drafts.as_ref().map_err(Clone::clone)?;
    let build = |draft: &NodeDraft| {
        Ok(Node {
            name: value(&draft.name)?,
            kind: draft.kind,
            address: value(&draft.address)?,
            port: value(&draft.port)?,
        })
    };
    drafts.iter().map(build).collect()
}

fn value<T: Clone>(read: &Read<T>) -> Result<T, Problem> {
    match read {
        Ok(located) => Ok(located.value.clone()),
        Err(problem) => Err(problem.clone()),
    }
}
