//! `halab member`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::membership::{
    ChangeOptions, ChangeReport, Listing, MemberChange, MemberError, change, list,
};

use super::output::{print_json, print_note, print_text};
use super::{CommandResult, Failure, Global, Threads, parse_duration, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab member list                           Show the members and the lab.toml of each node\n  \
    halab --config new.toml member add redis-c  Add a running node of new.toml\n  \
    halab member remove redis-b --dry-run\n  \
    halab member replace sentinel-3 sentinel-4\n\n\
    The members of the lab are in a list within the replicated data. A data node that is not in the \
    list is never promotable, and a Sentinel that is not in it leads no failover. Writers read the \
    list from the primary and need no restart. Nodes read lab.toml only at their start: before you \
    add a node, put it into lab.toml on every host and restart the nodes one at a time.\n\n\
    Each step begins when the one before is complete on all nodes. A change after which one more \
    loss could lose records is refused, with what to do first. If the command was interrupted, run \
    it again.\n\n\
    Exit codes:\n  \
    0  done\n  \
    4  timed out, or no primary serves\n  \
    5  refused, with the reason")]
pub(super) struct MemberArgs {
    #[command(subcommand)]
    command: MemberSubcommand,
}

#[derive(Debug, Subcommand)]
enum MemberSubcommand {
    /// List the members, and nodes that run with another lab.toml
    List(ListArgs),
    /// Make a running node of lab.toml a member
    Add(SingleArgs),
    /// Remove a member; stop its node when the command asks for it
    Remove(SingleArgs),
    /// Add the second node, then remove the first one
    Replace(ReplaceArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// Check and show the change without making it
    #[arg(long)]
    dry_run: bool,
    /// Time limit for each step (a copy, a node to be stopped)
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SingleArgs {
    /// Name of the node
    name: String,
    #[command(flatten)]
    options: ChangeArgs,
}

#[derive(Debug, Args)]
struct ReplaceArgs {
    /// Node to remove
    old: String,
    /// Node to add, with another name and address
    new: String,
    #[command(flatten)]
    options: ChangeArgs,
}

pub(super) fn run(global: &Global, args: &MemberArgs) -> CommandResult {
    let lab = global.lab()?;
    let (what, args) = match &args.command {
        MemberSubcommand::List(args) => {
            let listed = with_signals(Threads::One, |_| async move { Ok(list(&lab).await) })?;
            let listing = listed.map_err(failure)?;
            if args.json {
                print_json(&listing)?;
            } else {
                print_text(render_list(&listing))?;
            }
            return Ok(Exit::Holds);
        }
        MemberSubcommand::Add(args) => (MemberChange::Add(args.name.clone()), &args.options),
        MemberSubcommand::Remove(args) => (MemberChange::Remove(args.name.clone()), &args.options),
        MemberSubcommand::Replace(args) => (
            MemberChange::Replace(args.old.clone(), args.new.clone()),
            &args.options,
        ),
    };
    let result = with_signals(Threads::One, |token| async move {
        let options = ChangeOptions {
            dry_run: args.dry_run,
            step_limit: args.timeout,
            stop: &token,
            on_step: &|step| print_note(step),
        };
        Ok(change(&lab, &what, &options).await)
    })?;
    let done = result.map_err(failure)?;
    if args.json {
        print_json(&done)?;
    } else {
        print_text(render_change(&done))?;
    }
    Ok(Exit::Holds)
}

fn failure(error: MemberError) -> Failure {
    Failure {
        exit: match error {
            MemberError::Refused(_) => Exit::Refused,
            _ => Exit::Failed,
        },
        error: error.into(),
    }
}

fn render_change(done: &ChangeReport) -> String {
    let mut lines = Vec::new();
    if done.dry_run {
        lines.push("nothing was changed".to_owned());
    }
    lines.push(format!("data nodes: {}", done.data_nodes.join(", ")));
    lines.push(format!("Sentinels: {}", done.sentinels.join(", ")));
    lines.extend(done.next.iter().map(|what| format!("next: {what}")));
    lines.join("\n")
}

fn render_list(listing: &Listing) -> String {
    let mut lines = vec![format!("members, version {}", listing.version)];
    for row in &listing.nodes {
        let lab_toml = match &row.differs {
            None => "its lab.toml is not known".to_owned(),
            Some(none) if none.is_empty() => "runs with this lab.toml".to_owned(),
            Some(some) => format!("runs with another lab.toml: {}", some.join(", ")),
        };
        let member = match (row.member, row.stated) {
            ("none", _) => "not a member",
            ("counted", _) => "being added or removed",
            (_, false) => "member, not in this lab.toml",
            _ => "member",
        };
        lines.push(format!(
            "{:<14} {:<21} {member:<28} {lab_toml}",
            row.name, row.address
        ));
    }
    lines.join("\n")
}
