//! `halab move`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{LoadError, load};
use crate::exit::Exit;
use crate::node::{Move, MoveError, MoveOutcome, StateError, move_state};

use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global, parse_subnet};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab --config new.toml move                  Take the old addresses from the state itself\n  \
    halab --config new.toml move --from old.toml  Also check that the state is of old.toml\n  \
    halab --subnet 127.0.8 move --from-subnet 127.0.7\n\n\
    After a change of primary_name or of addresses in lab.toml (or --subnet), no node starts until its \
    state has been moved. This command rewrites names and addresses in the config file of each node \
    under the state folder. It keeps data, epochs and ids, and matches nodes by name. Stop all nodes \
    first. If the lab has several hosts, run the command on each. If it was interrupted, run it again.\n\n\
    Exit codes:\n  \
    0  all state on this host belongs to the new lab\n  \
    2  there is no state of a node in the folder\n  \
    4  a file cannot be written\n  \
    5  refused, for example because a node is running; nothing was changed")]
pub(super) struct MoveArgs {
    /// lab.toml of the state before the move [default: as recorded in the state]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Network of the nodes before the move, for example 127.0.7 [default: as recorded in the
    /// state; with --from, the value of --subnet]
    #[arg(long, value_name = "A.B.C", value_parser = parse_subnet)]
    from_subnet: Option<[u8; 3]>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, args: &MoveArgs) -> CommandResult {
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
            MoveError::NothingHere(_) => Failure::usage(error),
            MoveError::Refused { .. } | MoveError::State(StateError::InUse(_)) => {
                Failure::refused(error)
            }
            MoveError::State(_) => Failure::from(error),
        })?;
    if args.json {
        print_json(&done)?;
    } else {
        print_text(render(&done))?;
    }
    Ok(Exit::Holds)
}

fn render(done: &Move) -> String {
    let nodes = done.nodes.iter().map(|node| {
        let outcome = match node.outcome {
            MoveOutcome::Moved => "moved",
            MoveOutcome::Already => "already belongs to the new lab",
            MoveOutcome::NotHere => "has no state on this host",
            MoveOutcome::Empty => "has an empty config file, which it recreates at its next start",
        };
        let changes = node.changes.iter().map(|c| format!("\n  {c}"));
        format!("{} {outcome}{}", node.node, changes.collect::<String>())
    });
    nodes.collect::<Vec<_>>().join("\n")
}
