//! `[proxy]`: where `halab proxy` listens, and the defaults of its flags.

use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::JsonSchema;

use super::{HOUR_MS, left_out, millis, number, port, size};
use crate::config::attributes::{reads_schema, unanswered_schema, without_default};

/// The last octet of the proxy's default address.
const HOST: u8 = 51;

/// `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The address on which it listens for clients. Unique among all addresses of the lab.
    /// Default: that of the first data node with 51 as the last octet, such as 127.0.0.51.
    #[serde(default)]
    #[schemars(with = "Ipv4Addr", transform = without_default, example = "127.0.0.51")]
    pub address: Option<Ipv4Addr>,
    /// The port on which it listens for clients.
    #[serde(default = "port::<6379>")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Clients connect only by TLS; with `mutual_tls` of `[security]` they must also present a
    /// certificate. Requires `tls` of `[security]`, which is also the default.
    #[serde(default)]
    #[schemars(with = "bool", transform = without_default, example = true)]
    pub tls: Option<bool>,
    /// When a read is answered. `linearizable`: when it is certain that the data is current and
    /// will not be lost. `local`: at once; the data may be stale, and a failover may lose it.
    #[serde(default)]
    #[schemars(schema_with = "reads_schema")]
    pub reads: Reads,
    /// How to handle an unanswered write after the loss of its primary. `disconnect`: the client's
    /// connection is closed. `retry`: the write is sent again, so it may be executed more than
    /// once.
    #[serde(default)]
    #[schemars(schema_with = "unanswered_schema")]
    pub unanswered: Unanswered,
    /// Maximum time that a command waits for a primary before it is answered with an error.
    #[serde(
        rename = "patience_ms",
        with = "millis",
        default = "millis::of::<10_000>"
    )]
    #[schemars(with = "u64", range(min = 1, max = HOUR_MS))]
    pub patience: Duration,
    /// Maximum number of clients; fewer if the limit of open files is too low. Each client has its
    /// own connection to the primary, whose `maxclients` all proxies share.
    #[serde(default = "size::<10_000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_clients: usize,
    /// Maximum size of one command.
    #[serde(default = "number::<64>")]
    #[schemars(range(min = 1, max = 512))]
    pub max_command_mib: u64,
}

/// When a read is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// When it is certain that this node was still the primary, and that the data will not be lost.
    #[default]
    Linearizable,
    /// At once: the data may be stale, and a failover may lose it.
    Local,
}

/// How to handle an unanswered write after the loss of its primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unanswered {
    /// The client is disconnected; whether the write was executed is unknown.
    #[default]
    Disconnect,
    /// The write is sent again, so it may be executed more than once.
    Retry,
}

impl Default for Proxy {
    fn default() -> Self {
        left_out()
    }
}

impl Proxy {
    /// Its default address, in the network of the first data node.
    pub(in crate::config) fn usual_address(first_data_node: Ipv4Addr) -> Ipv4Addr {
        let [a, b, c, _] = first_data_node.octets();
        Ipv4Addr::new(a, b, c, HOST)
    }
}
