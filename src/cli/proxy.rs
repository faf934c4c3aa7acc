//! `halab proxy`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::client::{ensure_open_files, most_connections};
use crate::config::{Lab, Monitoring, Reads, Unanswered};
use crate::proxy::{self, ClientCertificate, ProxyOptions};

use super::write::{MetricsFlag, PolicyName, parse_metrics};
use super::{CommandResult, Exit, Failure, Global, Threads, parse_duration, with_signals};

/// A client's connection, and the one to the primary on its behalf.
const FILES_A_CLIENT: usize = 2;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab proxy                                   Serve clients at the address of lab.toml\n  \
    halab proxy --listen 127.0.0.1:6390           Serve clients at another address\n  \
    halab proxy --reads local                     Answer reads at once, even if the data may be stale\n  \
    redis-cli -h 127.0.0.51 --user NAME           Connect to it as to one Redis server\n\n\
    Options that are not given are as in the table [proxy] of lab.toml. SIGTERM and Ctrl-C stop it \
    in order: commands that were sent are answered first.\n\n\
    Exit codes:\n  \
    0  stopped by a signal\n  \
    4  it could not listen, or failed")]
pub(super) struct ProxyArgs {
    /// Address, and port, for clients [default: from lab.toml]
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS[:PORT]")]
    listen: Option<Listen>,
    /// When a read is answered [default: from lab.toml]
    #[arg(long, value_enum)]
    reads: Option<ReadsName>,
    /// How to handle an unanswered write after the loss of its primary [default: from lab.toml]
    #[arg(long, value_enum)]
    unanswered: Option<UnansweredName>,
    /// Maximum time that a command waits for a primary before it is answered with an error
    /// [default: from lab.toml]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    patience: Option<Duration>,
    /// Maximum number of clients [default: from lab.toml, or fewer if the limit of open files is
    /// too low]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: Option<u32>,
    /// Maximum size of one command, in MiB [default: from lab.toml]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=512))]
    max_command_mib: Option<u64>,
    /// Private key and certificate for clients, who then connect by TLS [default: with TLS, the
    /// lab's proxy.pem]
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// When a write counts as acknowledged
    #[arg(long, value_enum, default_value_t = PolicyName::Available)]
    policy: PolicyName,
    /// End at once if lab.toml has no table [proxy] (for services)
    #[arg(long)]
    if_configured: bool,
    /// Serve metrics and health at this address, or "off" [default: from lab.toml]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_metrics)]
    metrics: Option<MetricsFlag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReadsName {
    /// When it is certain that the data is current and will not be lost
    Linearizable,
    /// At once: the data may be stale, and a failover may lose it
    Local,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UnansweredName {
    /// Disconnect the client; whether the write was executed is unknown
    Disconnect,
    /// Send the write again, so it may be executed more than once
    Retry,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listen {
    address: Ipv4Addr,
    /// `None`: that of `lab.toml`.
    port: Option<u16>,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alone = text.parse().map(|address| Listen {
            address,
            port: None,
        });
        let with_port = |at: SocketAddrV4| Listen {
            address: *at.ip(),
            port: Some(at.port()),
        };
        alone.or_else(|_| text.parse().map(with_port)).map_err(|_| {
            "expected an IPv4 address, for example 127.0.0.51 or 127.0.0.51:6379".into()
        })
    }
}

impl ProxyArgs {
    fn listen(&self, lab: &Lab) -> SocketAddrV4 {
        let usual = lab.proxy_socket();
        match self.listen {
            None => usual,
            Some(at) => SocketAddrV4::new(at.address, at.port.unwrap_or(usual.port())),
        }
    }

    fn options(&self, lab: &Lab) -> ProxyOptions {
        let stated = lab.proxy_settings();
        let listen = self.listen(lab);
        let beside = |m: &Monitoring| SocketAddrV4::new(*listen.ip(), m.proxy_port);
        ProxyOptions {
            listen,
            reads: match self.reads {
                None => stated.reads,
                Some(ReadsName::Linearizable) => Reads::Linearizable,
                Some(ReadsName::Local) => Reads::Local,
            },
            unanswered: match self.unanswered {
                None => stated.unanswered,
                Some(UnansweredName::Disconnect) => Unanswered::Disconnect,
                Some(UnansweredName::Retry) => Unanswered::Retry,
            },
            patience: self.patience.unwrap_or(stated.patience),
            clients: match self.max_clients {
                Some(clients) => clients as usize,
                None => fewer_clients(stated.max_clients),
            },
            longest_command: (self.max_command_mib.unwrap_or(stated.max_command_mib) as usize)
                << 20,
            policy: self.policy.into(),
            wait_timeout: lab.writer.wait_timeout,
            metrics: match self.metrics {
                Some(MetricsFlag::Off) => None,
                Some(MetricsFlag::At(address)) => Some(address),
                None => lab.monitoring.as_ref().map(beside),
            },
            certificate: match &self.certificate {
                Some(path) => Some(ClientCertificate::File(path.clone())),
                None => lab.proxy_uses_tls().then_some(ClientCertificate::OfLab),
            },
        }
    }
}

/// The number of clients that the limit of open files permits, at most `wanted`.
fn fewer_clients(wanted: usize) -> usize {
    let clients = wanted.min(most_connections() / FILES_A_CLIENT).max(1);
    if clients < wanted {
        tracing::warn!(
            clients,
            wanted,
            "fewer clients: the limit of open files is too low; raise it by ulimit -Hn, or LimitNOFILE"
        );
    }
    clients
}

pub(super) fn run(global: &Global, args: &ProxyArgs) -> CommandResult {
    let lab = global.lab()?;
    if args.if_configured && lab.proxy.is_none() {
        tracing::info!("lab.toml has no table [proxy]; the lab runs without a proxy");
        return Ok(Exit::Holds);
    }
    let options = args.options(&lab);
    ensure_open_files(options.clients.saturating_mul(FILES_A_CLIENT))
        .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    with_signals(Threads::One, |stop| async move {
        let (clients, tls) = (options.clients, options.certificate.is_some());
        let listening = |address| tracing::info!(%address, clients, tls, "clients can connect");
        proxy::run(&lab, options, stop, listening)
            .await
            .map_err(Failure::from)
    })?;
    Ok(Exit::Holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_or_that_of_the_lab() {
        let port = |text: &str| text.parse::<Listen>().map(|at| at.port);
        assert_eq!(port("127.0.0.1"), Ok(None));
        assert_eq!(port("127.0.0.1:7000"), Ok(Some(7000)));
        for wrong in ["", "localhost", "127.0.0.1:", "::1", "127.0.0.1:70000"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }
}
