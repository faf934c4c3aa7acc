//! `halab health`.

use std::net::{Ipv4Addr, SocketAddrV4};

use clap::Args;

use crate::config::Lab;
use crate::exit::Exit;
use crate::status;

use super::node::{listening_at, unknown_node};
use super::output::print_text;
use super::{CommandResult, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab health redis-a && echo serves\n  \
    halab health proxy      Whether clients of halab proxy are answered\n\n\
    A data node serves if it is primary, or a replica with its link up. A Sentinel serves if it knows \
    the primary. The proxy serves if it answers a command from the primary within 2 s.\n\n\
    Exit codes:\n  \
    0  it serves\n  \
    1  it does not")]
pub(super) struct HealthArgs {
    /// Name of the node in lab.toml, or "proxy"
    #[arg(env = "HALAB_NODE")]
    name: String,
    /// Address at which it listens (--listen of halab node and halab proxy)
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
}

/// The name of the proxy, which no node has.
const PROXY: &str = "proxy";

pub(super) fn run(global: &Global, args: &HealthArgs) -> CommandResult {
    let lab = global.lab()?;
    if args.name == PROXY {
        return of_proxy(&lab, args.listen);
    }
    let lab = listening_at(lab, &args.name, args.listen);
    let node = lab
        .node(&args.name)
        .ok_or_else(|| unknown_node(&lab, &args.name))?;
    let health = with_signals(Threads::One, |_| async {
        Ok(status::node_serves(&lab, node).await)
    })?;
    match health {
        Ok(role) => {
            print_text(format_args!("{} serves as {role}", node.name))?;
            Ok(Exit::Holds)
        }
        Err(why) => {
            print_text(format_args!("{} does not serve: {why}", node.name))?;
            Ok(Exit::Negative)
        }
    }
}

fn of_proxy(lab: &Lab, listens: Option<Ipv4Addr>) -> CommandResult {
    let stated = lab.proxy_socket();
    let listens = SocketAddrV4::new(listens.unwrap_or(*stated.ip()), stated.port());
    let health = with_signals(Threads::One, |_| async {
        Ok(status::proxy_serves(lab, listens).await)
    })?;
    match health {
        Ok(()) => {
            print_text(format_args!("the proxy at {listens} serves"))?;
            Ok(Exit::Holds)
        }
        Err(why) => {
            print_text(format_args!("the proxy at {listens} does not serve: {why}"))?;
            Ok(Exit::Negative)
        }
    }
}
