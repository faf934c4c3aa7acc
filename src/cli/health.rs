//! `halab health`.

use std::net::Ipv4Addr;

use clap::Args;

use crate::exit::Exit;
use crate::status;

use super::node::{here, unknown_node};
use super::output::print_text;
use super::{Global, Outcome, Threads, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  halab health redis-a && echo serves\n\n\
    A data node serves as primary, or as a replica whose link is up; a Sentinel when it knows the primary.\n\
    Exit code 0: it serves; 1: it does not.")]
pub(super) struct HealthArgs {
    /// The node's name in lab.toml
    #[arg(env = "HALAB_NODE")]
    name: String,
    /// It listens there: what its node was told by --listen
    #[arg(long, env = "HALAB_LISTEN", value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
}

pub(super) fn run(global: &Global, args: &HealthArgs) -> Outcome {
    let lab = here(global.lab()?, &args.name, args.listen);
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
