//! `[proxy]`: where `halab proxy` listens, and the defaults of its flags.

use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::JsonSchema;

use super::{HOUR_MS, left_out, millis, number, port, size};
use crate::config::attributes::{reads_schema, unanswered_schema, without_default};

/// The last octet of the proxy's address where `lab.toml` does not state one.
const HOST: u8 = 51;

/// `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The address on which it listens for clients: one of its own. By default the first data
    /// node's with 51 at its end, such as 127.0.0.51.
    #[serde(default)]
    #[schemars(with = "Ipv4Addr", transform = without_default, example = "127.0.0.51")]
    pub address: Option<Ipv4Addr>,
    /// The port on which it listens for clients.
    #[serde(default = "port::<6379>")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Clients connect by TLS, and no other way; with `mutual_tls` of `[security]` they show a
    /// certificate, too. Only with `tls` of `[security]`, which is the default.
    #[serde(default)]
    #[schemars(with = "bool", transform = without_default, example = true)]
    pub tls: Option<bool>,
    /// When a read is answered: `linearizable`, when it is certain that the data is current and
    /// kept; `local`, at once, though the data may be older than the request, and a failover may
    /// take it back.
    #[serde(default)]
    #[schemars(schema_with = "reads_schema")]
    pub reads: Reads,
    /// What becomes of a write that was sent to a primary that is lost, and not answered:
    /// `disconnect` ends the client's connection; `retry` sends it again, so that it is executed
    /// one or more times.
    #[serde(default)]
    #[schemars(schema_with = "unanswered_schema")]
    pub unanswered: Unanswered,
    /// How long a command waits for a primary before it is answered with an error.
    #[serde(
        rename = "patience_ms",
        with = "millis",
        default = "millis::of::<10_000>"
    )]
    #[schemars(with = "u64", range(min = 1, max = HOUR_MS))]
    pub patience: Duration,
    /// Maximum number of clients; fewer if the limit of open files is too low. Each has a
    /// connection of its own to the primary, whose `maxclients` all proxies share.
    #[serde(default = "size::<10_000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_clients: usize,
    /// Maximum size of one command.
    #[serde(default = "number::<64>")]
    #[schemars(range(min = 1, max = 512))]
    pub max_command_mib: u64,
}

/// When an answer to a read is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// When it is certain that this node was still the primary, and that what was read is kept.
    #[default]
    Linearizable,
    /// At once: it may be older than the request, and a failover may take it back.
    Local,
}

/// What becomes of a write that was sent to a primary that is lost, and not answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unanswered {
    /// The client is disconnected: it was executed or not.
    #[default]
    Disconnect,
    /// It is sent again: it is executed one or more times.
    Retry,
}

impl Default for Proxy {
    fn default() -> Self {
        left_out()
    }
}

impl Proxy {
    /// Its address where `lab.toml` does not state one, in the network of the first data node.
    pub(in crate::config) fn usual_address(first_data_node: Ipv4Addr) -> Ipv4Addr {
        let [a, b, c, _] = first_data_node.octets();
        Ipv4Addr::new(a, b, c, HOST)
    }
}
