//! All keys of `lab.toml`, as the types that serde reads.
//!
//! A field defines its key: the name (which ends in the unit), the type, the limits (`range`), the
//! default, an `example` if there is no default, and the documentation. In `schema`, schemars
//! derives a JSON schema from these types, on which the check, the reference in
//! `docs/configuration.md`, `lab.schema.json` and the defaults in Nix are based. Rules on several
//! keys are in `rules`.

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

/// Maximum of all time limits: a longer one is most likely a wrong unit, and Sentinel parses its
/// limits with `atoi`, which overflows.
const HOUR_MS: u64 = 3_600_000;

/// Sentinel acts in ticks of up to 100 ms (`sentinelTimer`). A limit below one tick would expire
/// before the first check, so every failover would count as failed.
const TICK_MS: u64 = 100;

/// After a switch, a Sentinel may wait 1 s (`SENTINEL_PING_PERIOD`) and a tick until it connects
/// again, while the new primary's down-after already runs. With a shorter down-after it considers a
/// healthy primary down, and fails over again.
const RECONNECT_MS: u64 = 1200;

/// The lab: names, addresses, ports, quorum and time limits.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[schemars(title = "lab.toml of redis-ha-lab")]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    /// The lab as a whole.
    pub lab: LabTable,
    /// A Redis server, primary or replica. Two or more.
    #[schemars(length(min = super::values::DATA_NODES_MIN))]
    pub data_node: Vec<NodeTable<DataNodeTable>>,
    /// A Sentinel. Three or more, an odd number: a fourth one would raise the majority, but not
    /// the number of tolerated failures.
    #[schemars(length(min = super::values::SENTINELS_MIN))]
    pub sentinel: Vec<NodeTable<SentinelTable>>,
    /// Time limits of nodes and Sentinels. The table may be left out.
    #[serde(default = "left_out::<Timing>")]
    pub timing: Timing,
    /// Time limits that replace those of `[timing]` if the profile is selected. Every profile is
    /// checked, selected or not. Its name follows the rules of names.
    #[serde(default)]
    #[schemars(transform = inherited)]
    pub profiles: BTreeMap<String, Timing>,
    /// Defaults of `halab write`. The table may be left out.
    #[serde(default = "left_out::<WriterDefaults>")]
    pub writer: WriterDefaults,
    /// Addresses and ports of metrics and of the monitoring services. If the table is left out,
    /// nothing serves metrics.
    #[serde(default)]
    #[schemars(with = "Monitoring")]
    pub monitoring: Option<Monitoring>,
    /// Access control and encryption. The table may be left out.
    #[serde(default = "left_out::<Security>")]
    pub security: Security,
    /// The address that any Redis client uses as a single Redis server ([proxy.md](proxy.md)), and
    /// the defaults of `halab proxy`. If the table is left out, no lane starts a proxy, and one
    /// that is started by hand has the shipped defaults.
    #[serde(default)]
    #[schemars(with = "Proxy")]
    pub proxy: Option<Proxy>,
    /// An application: a user on every server, with a password, keys and channels
    /// ([applications.md](applications.md)). Any number, including none. Nodes read it at their
    /// start.
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
    /// The name under which the Sentinels monitor the primary. It must be unique for each lab:
    /// Sentinels of two labs with the same name can join each other.
    #[schemars(schema_with = "name_schema", example = &"halab")]
    pub primary_name: String,
    /// The data node that is primary at the first start of the lab. After that, the Sentinels
    /// decide.
    #[schemars(schema_with = "name_schema", example = "redis-a")]
    pub seed_primary: String,
    /// Number of Sentinels that must agree that the primary is down (*objectively down*): at least
    /// a majority, at most all.
    #[schemars(range(min = 1), example = 2)]
    pub quorum: usize,
}

/// A node.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "")]
#[schemars(bound = "K: NodeTableKind")]
pub(super) struct NodeTable<K: NodeTableKind> {
    /// The name of the node, also of its state folder, unit, log and metric label. Unique among
    /// all nodes, data nodes and Sentinels. Reserved: `cadvisor`, `closing`, `grafana`, `log`,
    /// `monitoring`, `prometheus`, `proxy`, `redis-exporter`, `secrets`, `writer`.
    #[schemars(schema_with = "name_schema", example = K::NAME)]
    name: String,
    /// The node's IPv4 address: its server listens there, and its outgoing connections come from
    /// there. Unique among all addresses of the lab, even with another port. Either all nodes are
    /// in 127.0.0.0/8 or none is.
    #[schemars(example = K::ADDRESS)]
    address: Ipv4Addr,
    /// The TCP port on which its server listens.
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

/// Time limits, those of the selected profile.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Time without an answer after which a Sentinel considers a node subjectively down
    /// (`down-after-milliseconds`). A Sentinel may take 1.1 s to connect to a new primary, so with
    /// less than 1200 it would consider a healthy one down.
    #[serde(
        rename = "down_after_ms",
        with = "millis",
        default = "millis::of::<5000>"
    )]
    #[schemars(with = "u64", range(min = RECONNECT_MS, max = HOUR_MS))]
    pub down_after: Duration,
    /// Time limit of the steps of a failover (`failover-timeout`). A failed failover is tried
    /// again after twice this time. A planned handover waits three fifths of it for the
    /// promotion, at least 3 s.
    #[serde(
        rename = "failover_timeout_ms",
        with = "millis",
        default = "millis::of::<5000>"
    )]
    #[schemars(with = "u64", range(min = TICK_MS, max = HOUR_MS))]
    pub failover_timeout: Duration,
    /// Time without an answer after which a node kills its own server as hung. Below
    /// `down_after_ms`, so that a hung server is killed before the Sentinels consider it down;
    /// well above the longest pause of a healthy server. A connect, a TLS handshake and an
    /// answer may each take half of it, and at least 500 ms.
    #[serde(
        rename = "hang_timeout_ms",
        with = "millis",
        default = "millis::of::<1000>"
    )]
    #[schemars(with = "u64", range(min = 1, max = HOUR_MS))]
    pub hang_timeout: Duration,
    /// Maximum time from the request for the primary's offset until a replica is promotable. A
    /// replica that takes longer stays as it is and tries again. At least twice the round trip
    /// between the data nodes. A writer's value must not be below a node's: a writer that cannot
    /// ask the node itself relies on what the Sentinels know of it only after this time
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
    /// Connections for writes to the primary.
    #[serde(default = "size::<4>")]
    #[schemars(range(min = 1, max = 1000))]
    pub connections: usize,
    /// Maximum number of unacknowledged batches per connection.
    #[serde(default = "size::<16>")]
    #[schemars(range(min = 1, max = 1000))]
    pub in_flight: usize,
    /// Records per batch, which are sent and acknowledged together.
    #[serde(default = "size::<100>")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch: usize,
    /// Time limit of a `WAIT` for the replicas. After that, the batch is checked by other means. A
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
    /// The address on which Prometheus, Grafana, redis_exporter and cAdvisor listen. Unique among
    /// all addresses of the lab.
    #[schemars(example = "127.0.0.31")]
    pub address: Ipv4Addr,
    /// The port of Prometheus.
    #[serde(default = "port::<9090>")]
    #[schemars(range(min = 1))]
    pub prometheus_port: u16,
    /// Retention time of samples in Prometheus.
    #[serde(default = "number::<2>")]
    #[schemars(range(min = 1, max = 3650))]
    pub prometheus_retention_days: u64,
    /// Maximum disk space for samples in Prometheus. If it is exceeded, the oldest ones are
    /// deleted early.
    #[serde(default = "number::<512>")]
    #[schemars(range(min = 64, max = 1_048_576))]
    pub prometheus_retention_mib: u64,
    /// The port of Grafana.
    #[serde(default = "port::<3000>")]
    #[schemars(range(min = 1))]
    pub grafana_port: u16,
    /// The port of `halab web`, the lab in a browser.
    #[serde(default = "port::<8000>")]
    #[schemars(range(min = 1))]
    pub web_port: u16,
    /// The port of redis_exporter.
    #[serde(default = "port::<9121>")]
    #[schemars(range(min = 1))]
    pub redis_exporter_port: u16,
    /// The port of cAdvisor.
    #[serde(default = "port::<8080>")]
    #[schemars(range(min = 1))]
    pub cadvisor_port: u16,
    /// The port on which each node serves its metrics, at its own address. It is not the port of a
    /// server.
    #[serde(default = "port::<9400>")]
    #[schemars(range(min = 1))]
    pub node_port: u16,
    /// The address on which `halab write` serves its metrics while it runs. Unique among all
    /// addresses of the lab.
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
    /// Each part of the lab has its own user on every server, with a password and minimal rights;
    /// every other login is refused ([security.md](security.md)). `false`: any client that reaches
    /// an address has all rights.
    #[serde(default = "flag::<true>")]
    pub acl: bool,
    /// All connections to servers use TLS, and the plaintext ports are closed
    /// ([security.md](security.md)).
    #[serde(default)]
    #[schemars(example = true)]
    pub tls: bool,
    /// Clients must also present a certificate of the lab's CA. Requires `tls`.
    #[serde(default)]
    #[schemars(example = true)]
    pub mutual_tls: bool,
    /// The folder of passwords and certificates. It is not part of `lab.toml`; the program that
    /// reads the file adds it. `None`: there are none.
    #[serde(skip)]
    pub secrets: Option<SecretsFolder>,
}

/// `[[app]]`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    /// The name of the application and of its user. Unique among all applications, and not
    /// reserved: not `default`, `writer`, `proxy`, `verifier`, `replication`, `sentinel`,
    /// `exporter`, `node`, `operator`, `halab`, nor one that begins with `halab-`.
    #[schemars(schema_with = "name_schema", example = &"shop")]
    name: String,
    /// Patterns of the keys that it may read and write, as in the Redis command `KEYS`. Default:
    /// all keys that begin with its name and a colon. No pattern may match a key that begins with
    /// `halab:` or `halab-`, which are reserved for the lab.
    #[serde(default)]
    #[schemars(schema_with = "keys_schema", transform = without_default)]
    keys: Option<Vec<String>>,
    /// Patterns of the channels to which it may publish and subscribe, with the same default. A
    /// subscription to a pattern requires the same pattern here. No pattern may match a channel
    /// that begins with `halab:`, `halab-` or `__sentinel__:`.
    #[serde(default)]
    #[schemars(schema_with = "channels_schema", transform = without_default)]
    channels: Option<Vec<String>>,
    /// The commands that it may use, as ACL rules: `+COMMAND`, `-COMMAND`, `+COMMAND|SUBCOMMAND`,
    /// `+@CATEGORY`, `-@CATEGORY`. The last rule for a command applies. Regardless of the rules,
    /// `wait`, `role` and `publish` are allowed, and `flushall`, `flushdb`, `swapdb` and the
    /// category `admin` (except `role`) are not. A server does not start with a rule for an
    /// unknown command.
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

/// Durations, in milliseconds in the file.
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

    /// For schemars, which serializes defaults.
    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u128(time.as_millis())
    }
}

/// An absent table: each of its keys has its default.
#[expect(clippy::expect_used, reason = "an empty file is read by a test")]
fn left_out<T: DeserializeOwned>() -> T {
    let nothing = std::iter::empty::<(&str, &str)>();
    T::deserialize(MapDeserializer::<_, Error>::new(nothing)).expect("every key has a default")
}
