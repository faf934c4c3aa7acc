//! Every key of `lab.toml`, as the types that serde reads it into.
//!
//! A field is the one place of its key: the name (which ends in the unit), the type, the limits
//! (`range`), the default, an `example` where there is no default, and the text of the
//! documentation. `schema` has schemars derive a JSON schema from these types; the check, the
//! reference in `docs/configuration.md`, `lab.schema.json`, and the defaults in Nix come from that.
//! Rules that join several keys are in `rules`.

mod proxy;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::value::{Error, MapDeserializer};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::app::App;
use super::attributes::{
    channels_schema, commands_schema, inherited, keys_schema, name_schema, without_default,
};
use super::values::DEFAULT_COMMANDS;
use super::{Node, NodeKind, SecretsFolder};

pub use proxy::{Proxy, Reads, Unanswered};

/// No time limit is longer than an hour: a longer one is a wrong unit, and Sentinel reads its
/// limits by `atoi`, which far larger ones overflow.
const HOUR_MS: u64 = 3_600_000;

/// Sentinel acts in ticks of up to 100 ms (`sentinelTimer`); a limit below one tick has passed
/// before the first look, so that every node would count as down and every failover as failed.
const TICK_MS: u64 = 100;

/// After a switch a Sentinel may wait out its pause between two attempts to connect, 1 s
/// (`SENTINEL_PING_PERIOD`), and a tick, while it counts the silence of the new primary already:
/// with a shorter down-after it calls a healthy primary down, and fails over again.
const RECONNECT_MS: u64 = 1200;

/// The lab: names, addresses, ports, quorum and time limits.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[schemars(title = "lab.toml of redis-ha-lab")]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    /// The lab as a whole.
    pub lab: LabTable,
    /// One Redis server, primary or replica; two or more.
    #[schemars(length(min = super::values::DATA_NODES_MIN))]
    pub data_node: Vec<NodeTable<DataNodeTable>>,
    /// One Sentinel; three or more, an odd number: a fourth one would raise the majority without
    /// letting the lab lose one more.
    #[schemars(length(min = super::values::SENTINELS_MIN))]
    pub sentinel: Vec<NodeTable<SentinelTable>>,
    /// Time limits of nodes and Sentinels. The table may be left out.
    #[serde(default = "left_out::<Timing>")]
    pub timing: Timing,
    /// Time limits that replace those of `[timing]` when the profile is asked for. Every profile
    /// is checked, whether asked for or not. Its name follows the rules of names.
    #[serde(default)]
    #[schemars(transform = inherited)]
    pub profiles: BTreeMap<String, Timing>,
    /// Defaults of `halab write`. The table may be left out.
    #[serde(default = "left_out::<WriterDefaults>")]
    pub writer: WriterDefaults,
    /// Addresses and ports of metrics and of the monitoring services. The table may be left out:
    /// then nothing serves metrics.
    #[serde(default)]
    #[schemars(with = "Monitoring")]
    pub monitoring: Option<Monitoring>,
    /// Access control and encryption. The table may be left out.
    #[serde(default = "left_out::<Security>")]
    pub security: Security,
    /// The address that any Redis client uses as one Redis server ([proxy.md](proxy.md)), and the
    /// defaults of `halab proxy`. The table may be left out: then no lane starts a proxy, and one
    /// that is started by hand has the shipped defaults.
    #[serde(default)]
    #[schemars(with = "Proxy")]
    pub proxy: Option<Proxy>,
    /// One application: a user of its own on every server, with a password, keys and channels
    /// ([applications.md](applications.md)). Any number, also none. Nodes read it at their start.
    #[serde(default)]
    pub app: Vec<AppTable>,
}

/// `[lab]`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LabTable {
    /// The name of the lab, unique among the labs of a machine; a label of metrics and reports.
    #[schemars(schema_with = "name_schema", example = "redis-ha-lab")]
    pub name: String,
    /// The name under which the Sentinels monitor the primary. Give every lab its own: Sentinels
    /// that meet under one name join each other's lab.
    #[schemars(schema_with = "name_schema", example = &"halab")]
    pub primary_name: String,
    /// The data node that is primary when the lab starts for the very first time. After that the
    /// Sentinels decide.
    #[schemars(schema_with = "name_schema", example = "redis-a")]
    pub seed_primary: String,
    /// Sentinels that must agree before the primary counts as objectively down: at least a
    /// majority of them, at most all.
    #[schemars(range(min = 1), example = 2)]
    pub quorum: usize,
}

/// One node.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "")]
#[schemars(bound = "K: NodeTableKind")]
pub(super) struct NodeTable<K: NodeTableKind> {
    /// The node's one name everywhere: state folder, unit, log, metric label, report. Unique among
    /// all nodes, data nodes and Sentinels together; not the name of another folder or process
    /// (`cadvisor`, `closing`, `grafana`, `log`, `monitoring`, `prometheus`, `proxy`,
    /// `redis-exporter`, `secrets`, `writer`).
    #[schemars(schema_with = "name_schema", example = K::NAME)]
    name: String,
    /// The node's own IPv4 address: its server listens there and its outgoing connections come
    /// from there. No other node has it, even at another port, and either all nodes are in
    /// 127.0.0.0/8 or none is.
    #[schemars(example = K::ADDRESS)]
    address: Ipv4Addr,
    /// The TCP port that its server listens on.
    #[serde(default = "K::port")]
    #[schemars(range(min = 1))]
    port: u16,
    #[serde(skip)]
    kind: PhantomData<K>,
}

/// Properties of a kind of node.
pub(super) trait NodeTableKind {
    const KIND: NodeKind;
    /// An example of a name.
    const NAME: &str;
    /// An example of an address.
    const ADDRESS: &str;
    /// The default port.
    fn port() -> u16;
}

/// The kind of `[[data_node]]`.
#[derive(Debug)]
pub(super) enum DataNodeTable {}

/// The kind of `[[sentinel]]`.
#[derive(Debug)]
pub(super) enum SentinelTable {}

impl NodeTableKind for DataNodeTable {
    const KIND: NodeKind = NodeKind::Data;
    const NAME: &str = "redis-a";
    const ADDRESS: &str = "127.0.0.11";

    fn port() -> u16 {
        6379
    }
}

impl NodeTableKind for SentinelTable {
    const KIND: NodeKind = NodeKind::Sentinel;
    const NAME: &str = "sentinel-1";
    const ADDRESS: &str = "127.0.0.21";

    fn port() -> u16 {
        26_379
    }
}

impl<K: NodeTableKind> From<NodeTable<K>> for Node {
    fn from(table: NodeTable<K>) -> Self {
        Node {
            name: table.name,
            kind: K::KIND,
            address: table.address,
            port: table.port,
        }
    }
}

/// Time limits; the profile decides which ones hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Silence after which a Sentinel calls a node subjectively down (`down-after-milliseconds`).
    /// A Sentinel may take 1.1 s to connect to a new primary, so less than 1200 would call
    /// healthy ones down.
    #[serde(
        rename = "down_after_ms",
        with = "millis",
        default = "millis::of::<5000>"
    )]
    #[schemars(with = "u64", range(min = RECONNECT_MS, max = HOUR_MS))]
    pub down_after: Duration,
    /// Limit of a failover's steps (`failover-timeout`); a failed failover is tried again after
    /// twice this. A planned handover waits three fifths of it for the promotion, at
    /// least 3 s.
    #[serde(
        rename = "failover_timeout_ms",
        with = "millis",
        default = "millis::of::<5000>"
    )]
    #[schemars(with = "u64", range(min = TICK_MS, max = HOUR_MS))]
    pub failover_timeout: Duration,
    /// Silence after which a node kills its own server as hung. Below `down_after_ms`, so that a
    /// hung server becomes a certain death before the Sentinels have to guess; well above the
    /// longest pause of a healthy server. A connect, a TLS handshake and an answer may each take
    /// half of it, and at least 500 ms.
    #[serde(
        rename = "hang_timeout_ms",
        with = "millis",
        default = "millis::of::<1000>"
    )]
    #[schemars(with = "u64", range(min = 1, max = HOUR_MS))]
    pub hang_timeout: Duration,
    /// Longest time from asking the primary for its offset to being promotable: a replica that
    /// takes longer stays as it is and tries again. Twice the round trip between the data nodes,
    /// or more. A writer's must not be below a node's: to a writer that can't ask the node
    /// itself, what the Sentinels know of it counts only after this time
    /// ([protocol.md](protocol.md)).
    #[serde(
        rename = "raise_limit_ms",
        with = "millis",
        default = "millis::of::<500>"
    )]
    #[schemars(with = "u64", range(min = 10, max = 60_000))]
    pub raise_limit: Duration,
}

/// Defaults of `halab write`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriterDefaults {
    /// Records that one run of `halab write` writes.
    #[serde(default = "number::<1000>")]
    #[schemars(range(min = 1))]
    pub count: u64,
    /// Connections to the primary that write.
    #[serde(default = "size::<4>")]
    #[schemars(range(min = 1, max = 1000))]
    pub connections: usize,
    /// Batches on each connection that may wait to be acknowledged.
    #[serde(default = "size::<16>")]
    #[schemars(range(min = 1, max = 1000))]
    pub in_flight: usize,
    /// Records that are sent, and acknowledged, together.
    #[serde(default = "size::<100>")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch: usize,
    /// How long one `WAIT` waits for the replicas before the batch is looked at otherwise: a
    /// healthy replica should confirm well within it.
    #[serde(
        rename = "wait_timeout_ms",
        with = "millis",
        default = "millis::of::<50>"
    )]
    #[schemars(with = "u64", range(min = 50, max = HOUR_MS))]
    pub wait_timeout: Duration,
}

/// Addresses and ports of metrics and of the monitoring services.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    /// The address on which Prometheus, Grafana, redis_exporter and cAdvisor listen: one of its
    /// own, as on a separate host.
    #[schemars(example = "127.0.0.31")]
    pub address: Ipv4Addr,
    /// The port of Prometheus.
    #[serde(default = "port::<9090>")]
    #[schemars(range(min = 1))]
    pub prometheus_port: u16,
    /// How long Prometheus keeps samples.
    #[serde(default = "number::<2>")]
    #[schemars(range(min = 1, max = 3650))]
    pub prometheus_retention_days: u64,
    /// The disk that samples may take in Prometheus. Beyond it, the oldest ones go before their
    /// time.
    #[serde(default = "number::<512>")]
    #[schemars(range(min = 64, max = 1_048_576))]
    pub prometheus_retention_mib: u64,
    /// The port of Grafana.
    #[serde(default = "port::<3000>")]
    #[schemars(range(min = 1))]
    pub grafana_port: u16,
    /// The port of redis_exporter.
    #[serde(default = "port::<9121>")]
    #[schemars(range(min = 1))]
    pub redis_exporter_port: u16,
    /// The port of cAdvisor.
    #[serde(default = "port::<8080>")]
    #[schemars(range(min = 1))]
    pub cadvisor_port: u16,
    /// The port on which each node serves its own metrics, at its own address. No node's server
    /// listens on it.
    #[serde(default = "port::<9400>")]
    #[schemars(range(min = 1))]
    pub node_port: u16,
    /// The address on which `halab write` serves its metrics while it runs: one of its own.
    #[schemars(example = "127.0.0.41")]
    pub writer_address: Ipv4Addr,
    /// The port on which `halab write` serves its metrics.
    #[serde(default = "port::<9401>")]
    #[schemars(range(min = 1))]
    pub writer_port: u16,
    /// The port on which `halab proxy` serves its metrics, at its own address.
    #[serde(default = "port::<9402>")]
    #[schemars(range(min = 1))]
    pub proxy_port: u16,
}

/// Access control, encryption, and the folder of passwords and certificates.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Each part of the lab is a user of its own on every server, with the least rights and a
    /// password; every other login is refused ([security.md](security.md)). `false`: any client
    /// that reaches an address has all rights.
    #[serde(default = "flag::<true>")]
    pub acl: bool,
    /// All connections to servers use TLS, and the plain ports are closed
    /// ([security.md](security.md)).
    #[serde(default)]
    #[schemars(example = true)]
    pub tls: bool,
    /// Clients, too, must present a certificate of the lab's CA. Only with `tls`.
    #[serde(default)]
    #[schemars(example = true)]
    pub mutual_tls: bool,
    /// The folder of passwords and certificates, which `lab.toml` does not state: whoever reads it
    /// adds this. `None`: there are none.
    #[serde(skip)]
    pub secrets: Option<SecretsFolder>,
}

/// `[[app]]`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    /// The application's name, and that of its user. No other application has it, and no part of
    /// the lab: not `default`, `writer`, `proxy`, `verifier`, `replication`, `sentinel`,
    /// `exporter`, `node`, `operator`, `halab`, nor one that begins with `halab-`.
    #[schemars(schema_with = "name_schema", example = &"shop")]
    name: String,
    /// Patterns of the keys that it may read and write, as in `KEYS` of Redis. By default all that
    /// begin with its name and a colon. None may match a key that begins with `halab:` or
    /// `halab-`, which are the lab's.
    #[serde(default)]
    #[schemars(schema_with = "keys_schema", transform = without_default)]
    keys: Option<Vec<String>>,
    /// Patterns of the channels to which it may publish and subscribe, likewise. Subscriptions to
    /// patterns need the same pattern here. None may match a channel that begins with `halab:`,
    /// `halab-` or `__sentinel__:`.
    #[serde(default)]
    #[schemars(schema_with = "channels_schema", transform = without_default)]
    channels: Option<Vec<String>>,
    /// The commands that it may use, as ACL rules: `+COMMAND`, `-COMMAND`, `+COMMAND|SUBCOMMAND`,
    /// `+@CATEGORY`, `-@CATEGORY`; the last one that concerns a command holds. Whatever they say,
    /// it has `wait`, `role` and `publish`, and neither `flushall`, `flushdb`, `swapdb` nor, but
    /// for `role`, the category `admin`. A server does not start with a command that it does not
    /// know.
    #[serde(default = "default_commands")]
    #[schemars(schema_with = "commands_schema")]
    commands: Vec<String>,
}

impl From<AppTable> for App {
    fn from(table: AppTable) -> Self {
        let own = || vec![format!("{}:*", table.name)];
        App {
            keys: table.keys.unwrap_or_else(own),
            channels: table.channels.unwrap_or_else(own),
            commands: table.commands,
            name: table.name,
        }
    }
}

fn default_commands() -> Vec<String> {
    DEFAULT_COMMANDS.map(str::to_owned).to_vec()
}

/// Defaults of integers.
fn number<const N: u64>() -> u64 {
    N
}

fn size<const N: usize>() -> usize {
    N
}

fn port<const N: u16>() -> u16 {
    N
}

/// The default of a flag.
fn flag<const B: bool>() -> bool {
    B
}

/// Durations, which the file states in milliseconds.
mod millis {
    use super::*;
    use serde::Serializer;

    /// A default.
    pub fn of<const MS: u64>() -> Duration {
        Duration::from_millis(MS)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    /// For schemars, which states a default by it.
    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u128(time.as_millis())
    }
}

/// A table that the file leaves out: every key of it has its default.
#[expect(clippy::expect_used, reason = "an empty file is read by a test")]
fn left_out<T: DeserializeOwned>() -> T {
    let nothing = std::iter::empty::<(&str, &str)>();
    T::deserialize(MapDeserializer::<_, Error>::new(nothing)).expect("every key has a default")
}
