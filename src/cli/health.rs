//! `halab health`.

use std::net::Ipv4Addr;

use clap::Args;

use crate::exit::Exit;
use crate::status;

use super::node::{listening_at, unknown_node};
use super::output::print_text;
use super::{CommandResult, Global, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  halab health redis-a && echo serves\n\n\
    A data node serves if it is primary, or a replica with its link up. A Sentinel serves if it knows \
    the primary.\n\n\
    Exit codes:\n  \
    0  the node serves\n  \
    1  it does not")]
pub(super) struct HealthArgs {
    /// Name of the node in lab.toml
    #[arg(env = "HALAB_NODE")]
    name: String,
    /// Address at which the node listens (--listen of halab node)
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
}

pub(super) fn run(global: &Global, args: &HealthArgs) -> CommandResult {
    let lab = listening_at(global.lab()?, &args.name, args.listen);
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
            Ok(Exit::Violated)
        }
    }
}
