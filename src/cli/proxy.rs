//! `halab proxy`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::client::{ensure_open_files, most_connections};
use crate::config::Lab;
use crate::proxy::{self, ProxyOptions, Reads, Unanswered};

use super::write::PolicyName;
use super::{CommandResult, Exit, Failure, Global, Threads, parse_span, with_signals};

/// The host part of the default address.
const HOST: u8 = 51;
const PORT: u16 = 6379;
/// Maximum number of clients, where the limit of open files permits it.
const CLIENTS: usize = 10_000;
/// A client's connection, and the one to the primary on its behalf.
const FILES_A_CLIENT: usize = 2;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab proxy                                   Serve clients at the lab's address for it\n  \
    halab proxy --listen 127.0.0.1:6390           Serve clients at another address\n  \
    halab proxy --reads local                     Answer reads at once, though perhaps with old data\n  \
    redis-cli -h 127.0.0.51 --user NAME           Connect to it as to one Redis server\n\n\
    SIGTERM and Ctrl-C stop it in order: commands that were sent are answered first.\n\n\
    Exit codes:\n  \
    0  stopped by a signal\n  \
    4  it could not listen, or failed")]
pub(super) struct ProxyArgs {
    /// Address and port for clients [default: the lab's network, 51, port 6379]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    listen: Option<SocketAddrV4>,
    /// When a read is answered
    #[arg(long, value_enum, default_value_t = ReadsName::Linearizable)]
    reads: ReadsName,
    /// What becomes of a write that was sent to a primary that is lost, and not answered
    #[arg(long, value_enum, default_value_t = UnansweredName::Disconnect)]
    unanswered: UnansweredName,
    /// How long a command waits for a primary before it is answered with an error
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "10s")]
    patience: Duration,
    /// Maximum number of clients [default: 10000, or fewer if the limit of open files is too low]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: Option<u32>,
    /// Maximum size of one command, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=512))]
    max_command_mib: u32,
    /// When a write counts as acknowledged
    #[arg(long, value_enum, default_value_t = PolicyName::Available)]
    policy: PolicyName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReadsName {
    /// When it is certain that the data is current and kept
    Linearizable,
    /// At once: it may be older than the request, and a failover may take it back
    Local,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UnansweredName {
    /// Disconnect the client: the write was executed or not
    Disconnect,
    /// Send it again: the write is executed once or twice
    Retry,
}

fn parse_address(text: &str) -> Result<SocketAddrV4, String> {
    text.parse()
        .map_err(|_| "expected an IPv4 address and a port, for example 127.0.0.51:6379".into())
}

impl ProxyArgs {
    fn options(&self, lab: &Lab) -> ProxyOptions {
        let in_the_labs_network = || {
            let first = lab
                .nodes()
                .next()
                .map_or(Ipv4Addr::LOCALHOST, |node| node.address);
            let [a, b, c, _] = first.octets();
            SocketAddrV4::new([a, b, c, HOST].into(), PORT)
        };
        ProxyOptions {
            listen: self.listen.unwrap_or_else(in_the_labs_network),
            reads: match self.reads {
                ReadsName::Linearizable => Reads::Linearizable,
                ReadsName::Local => Reads::Local,
            },
            unanswered: match self.unanswered {
                UnansweredName::Disconnect => Unanswered::Disconnect,
                UnansweredName::Retry => Unanswered::Retry,
            },
            patience: self.patience,
            clients: match self.max_clients {
                Some(clients) => clients as usize,
                None => CLIENTS.min(most_connections() / FILES_A_CLIENT).max(1),
            },
            longest_command: (self.max_command_mib as usize) << 20,
            policy: self.policy.into(),
            wait_timeout: lab.writer.wait_timeout,
        }
    }
}

pub(super) fn run(global: &Global, args: &ProxyArgs) -> CommandResult {
    let lab = global.lab()?;
    let options = args.options(&lab);
    ensure_open_files(options.clients.saturating_mul(FILES_A_CLIENT))
        .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    with_signals(Threads::One, |stop| async move {
        let clients = options.clients;
        let listening = |address| tracing::info!(%address, clients, "clients can connect");
        proxy::run(&lab, options, stop, listening)
            .await
            .map_err(Failure::from)
    })?;
    Ok(Exit::Holds)
}
