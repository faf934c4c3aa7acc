//! `halab move`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{LoadError, load};
use crate::exit::Exit;
use crate::node::{Move, MoveError, Outcome as Became, move_state};

use super::output::{print_json, print_text};
use super::{Failure, Global, Outcome, parse_subnet};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab --config new.toml move                    the state notes of which lab it is\n  \
    halab --config new.toml move --from old.toml    the same, and it has to be of that one\n  \
    halab --subnet 127.0.8 move --from-subnet 127.0.7\n\n\
    For a lab that is stopped, after primary_name or addresses in lab.toml (or --subnet) were changed:\n\
    until then no node starts. Rewrites the addresses and the name in the config file of each node\n\
    under the state folder, and keeps data, epochs and ids. Nodes are matched by their names. A lab on\n\
    several hosts: stop all nodes, then run it on each host. Cut short, it is completed by running it\n\
    again.\n\n\
    Exit code 0: all state here is of the new lab; 2: refused, nothing was touched; 4: a node runs,\n\
    or a file can't be written.")]
pub(super) struct MoveArgs {
    /// The lab.toml that the state is of [default: as noted in the state]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The /24 in which the nodes were, as 127.0.7 [default: as noted in the state; with --from, that of --subnet]
    #[arg(long, value_name = "A.B.C", value_parser = parse_subnet)]
    from_subnet: Option<[u8; 3]>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &MoveArgs) -> Outcome {
    let new = global.lab()?;
    let from = match (&args.from, args.from_subnet) {
        (None, None) => None,
        (Some(file), subnet) => {
            let lab = load(file, None).map_err(|error| match error {
                LoadError::Unreadable { .. } => Failure::from(error),
                _ => Failure::usage(error),
            })?;
            let subnet = subnet.or(global.subnet);
            Some(subnet.map_or(lab.clone(), |subnet| lab.relocated(subnet)))
        }
        (None, Some(subnet)) => Some(new.relocated(subnet)),
    };
    let done =
        move_state(&global.state_root()?, &new, from.as_ref()).map_err(|error| match error {
            MoveError::State(_) => Failure::from(error),
            _ => Failure::usage(error),
        })?;
    if args.json {
        print_json(&done)?;
    } else {
        print_text(told(&done))?;
    }
    Ok(Exit::Holds)
}

fn told(done: &Move) -> String {
    let nodes = done.nodes.iter().map(|node| {
        let outcome = match node.outcome {
            Became::Moved => "moved",
            Became::Already => "is of the new lab already",
            Became::NotHere => "has no state here",
            Became::Empty => "has an empty config file, which it makes anew at its start",
        };
        let changes = node.changes.iter().map(|c| format!("\n  {c}"));
        format!("{} {outcome}{}", node.node, changes.collect::<String>())
    });
    nodes.collect::<Vec<_>>().join("\n")
}
