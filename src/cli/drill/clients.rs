//! The client applications beside the writer of drills and soak runs.

use anyhow::bail;
use clap::Args;

use crate::drill::report::{ClientSetting, ClientsVia};

use crate::cli::proxy::ReadsName;

/// Records per second beside client applications: the writer only shows when writes go on.
const RATE_BESIDE_CLIENTS: f64 = 2000.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ClientsName {
    /// Through a halab proxy with the policy of the writer
    Proxy,
    /// At the primary that the Sentinels name: what it answers is trusted
    Direct,
}

/// Their arguments.
#[derive(Debug, Args)]
pub(in crate::cli) struct ClientArgs {
    /// Client applications beside the writer, whose answers have to be linearizable [default:
    /// none]
    #[arg(long, value_name = "VIA", value_enum)]
    clients: Option<ClientsName>,
    /// Number of client applications
    #[arg(long, value_name = "N", requires = "clients", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    client_count: u16,
    /// When the proxy of client applications answers a read
    #[arg(long, value_enum, requires = "clients", default_value_t = ReadsName::Linearizable)]
    reads: ReadsName,
}

impl ClientArgs {
    /// The client applications, if there are any.
    ///
    /// # Errors
    /// If they contradict each other.
    pub(in crate::cli) fn setting(&self) -> anyhow::Result<Option<ClientSetting>> {
        let Some(via) = self.clients else {
            return Ok(None);
        };
        let local_reads = self.reads == ReadsName::Local;
        if via == ClientsName::Direct && local_reads {
            bail!("--reads local is an option of the proxy: it needs --clients proxy");
        }
        Ok(Some(ClientSetting {
            via: match via {
                ClientsName::Proxy => ClientsVia::Proxy,
                ClientsName::Direct => ClientsVia::Direct,
            },
            count: usize::from(self.client_count),
            local_reads,
        }))
    }
}

/// The writer's limit of records per second, if `stated` is none.
pub(in crate::cli) fn rate_beside(
    clients: Option<ClientSetting>,
    stated: Option<f64>,
) -> Option<f64> {
    stated.or(clients.map(|_| RATE_BESIDE_CLIENTS))
}
